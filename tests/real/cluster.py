"""Run a cluster: ejabberd nodes on this machine, each with its own warmside."""

import itertools
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from private_cluster import PrivateCluster
from private_ejabberd import answers, free_port

from tests.real.boshclient import BoshClient, Terminated
from tests.real.parts import Server, until


class Node(Server):
    """One node: ejabberd and warmside.

    :param cluster: epmd and the cookie.
    :param number: from 1.
    :param options: further arguments of `Server`.
    """

    def __init__(self, cluster: PrivateCluster, number: int, *yml: tuple[str, str], **options: Any) -> None:
        self.number = number
        self._cluster = cluster
        folder = cluster.folder / f"node{number}"
        folder.mkdir(parents=True)
        super().__init__(folder, *yml, erl=cluster.options(number, folder / "ejabberd"), **options)

    @property
    def environ(self) -> dict[str, str]:
        """The environment of the node's processes."""
        return super().environ | self._cluster.environ

    def has_joined(self, nodes: int) -> bool:
        """Return True if the node is up again after its join, in a cluster of this size."""
        try:
            return len(self.command("list_cluster")) == nodes and answers(self.bosh)
        except OSError:
            return False

    def attach(self, reply: dict[str, Any]) -> BoshClient:
        """Attach at this node to a session with the reply of ``POST /warm``, whatever node warmed it."""
        client = BoshClient(self.bosh, reply["jid"].partition("@")[2].partition("/")[0])

        def pings() -> bool:
            """Return False while Mnesia has not brought a new session to this node."""
            with suppress(Terminated):
                return client.attach(reply).ping()
            return False

        until(pings)
        return client


class Cluster:
    """Joined nodes, and what they share.

    :param folder: all files.
    :param yml: replacements in ``etc/ejabberd.yml`` of every node, see `Server`.
    :param toml: returns the text that is appended to the ``warmside.toml`` of a node, by its number.
    :param nodes: how many nodes.
    :param options: further arguments of `Server` for every node.
    """

    def __init__(
        self,
        folder: Path,
        *yml: tuple[str, str],
        toml: Callable[[int], str] = lambda number: "",
        nodes: int = 2,
        **options: Any,
    ) -> None:
        self.common = PrivateCluster(folder)
        self.nodes = [Node(self.common, number, *yml, toml=toml(number), **options) for number in range(1, nodes + 1)]

    def start(self) -> "Cluster":
        """Start the nodes and join them; wait for every warmside."""
        try:
            self.common.start()
            for node in self.nodes:
                node.start(serving=False)
            for node in self.nodes[1:]:
                self.common.join(node.ejabberd, node.number, 1)
            for node in self.nodes:
                until(partial(node.has_joined, len(self.nodes)))
                until(node.serves)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop all nodes. The one that stops last has to start first."""
        for node in reversed(self.nodes):
            node.stop()
        self.common.stop()


class Balancer:
    """A TCP balancer: each connection goes to the next target. Each process of the tests may run several.

    :param ports: the targets, on 127.0.0.1.
    :ivar url: the value of ``bosh.url`` that leads here.
    :param host: the address on which it listens.
    :param port: its port; by default a free one.
    :param path: a unix socket on which it listens instead.
    """

    def __init__(self, *ports: int, host: str = "127.0.0.1", port: int | None = None, path: Path | None = None) -> None:
        if path is None:
            port = port or free_port()
            self.url = f"http://{host}:{port}/bosh"
            self._listener = socket.create_server((host, port))
        else:
            self.url = f"http+unix://{path}:/bosh"
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen()
        self._targets = itertools.cycle(ports)
        self._sockets: list[socket.socket] = [self._listener]
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def stop(self) -> None:
        """Close all connections."""
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        pumps = []
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                target = socket.create_connection(("127.0.0.1", next(self._targets)))
                self._sockets += [client, target]
                for one, other in ((client, target), (target, client)):
                    pumps.append(threading.Thread(target=_pump, args=(one, other)))
                    pumps[-1].start()
        for pump in pumps:
            pump.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Forward what one side of a connection sends, until it ends."""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
