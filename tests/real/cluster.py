"""Run a cluster: ejabberd nodes on this machine, each with its own warmside."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from private_cluster import PrivateCluster

from tests.real.boshclient import BoshClient
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

    def attach(self, reply: dict[str, Any]) -> BoshClient:
        """Attach at this node to a session with the reply of ``POST /warm``, whatever node warmed it.

        Over Mnesia a new session may be unknown at the other nodes for a moment: `Cluster` waits for it.
        """
        return BoshClient(self.bosh, reply["jid"].partition("@")[2].partition("/")[0]).attach(reply)


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
                self.common.join(node.number, 1)
            for node in self.nodes:
                until(node.serves)
                until(lambda node=node: len(node.command("list_cluster")) == len(self.nodes))  # type: ignore[misc]
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop all nodes. The one that stops last has to start first."""
        for node in reversed(self.nodes):
            node.stop()
        self.common.stop()
