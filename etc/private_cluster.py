"""Join private ejabberd nodes to a cluster: on this machine, with an epmd of their own, on loopback alone.

``etc/cluster`` and the tests use it. Standard library only.
"""

import os
import secrets
import shutil
import subprocess
import time
from pathlib import Path

from private_ejabberd import EjabberdFailed, PrivateEjabberd, answers, free_port, library_folder

JOIN_TIMEOUT = 60.0
"""Seconds for the join of a node."""


class PrivateCluster:
    """What the nodes of one cluster have in common: the port mapper (epmd) and the cookie.

    :param folder: files of the cluster; created if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port = free_port()
        self._cookie = secrets.token_hex(16)
        self._epmd: subprocess.Popen[bytes] | None = None

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables that a node needs to find epmd."""
        return {"ERL_EPMD_PORT": str(self._port), "ERL_EPMD_ADDRESS": "127.0.0.1"}

    def start(self, within: float = 10) -> None:
        """Start epmd.

        :raises EjabberdFailed: it is not installed, or does not listen in time.
        """
        epmd = shutil.which("epmd")
        if epmd is None:
            raise EjabberdFailed("epmd is not installed: Erlang's package has it")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._epmd = subprocess.Popen(
            [epmd, "-port", str(self._port), "-address", "127.0.0.1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + within
        while not answers(self._port):
            if self._epmd.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise EjabberdFailed(f"epmd does not listen on port {self._port}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop epmd. Stop the nodes first."""
        if self._epmd is not None and self._epmd.poll() is None:
            self._epmd.kill()  # it ignores SIGTERM while a node is registered
            self._epmd.wait()

    def options(self, number: int, home: Path) -> tuple[str, ...]:
        """Return the arguments of ``erl`` for a node, and write the cookie into its home.

        :param number: the node's number, from 1.
        :param home: the node's folder; created if it is missing.
        """
        return ("-name", name(number), *self._distribution(home))

    def join(self, node: PrivateEjabberd, number: int, other: int, within: float = JOIN_TIMEOUT) -> None:
        """Join a running node to the cluster of another one. The node's own data is deleted, and it starts again.

        Return when its extauth programs of before have exited, and it listens again.

        :param number: the node's number.
        :param other: the other node's number.
        :raises EjabberdFailed: the join failed, or did not end in time.
        """
        home, erl = self.folder / "ctl", shutil.which("erl") or "erl"
        command = [erl, "-noinput", "-hidden", "-name", f"ctl{number}@127.0.0.1", *self._distribution(home)]
        command += ["-s", "ejabberd_ctl", "-extra", name(number), "join_cluster", name(other)]
        environ = dict(os.environ) | self.environ | {"ERL_LIBS": str(library_folder()), "HOME": str(home)}
        before = node.programs()
        deadline = time.monotonic() + within
        try:
            done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=within)
        except subprocess.TimeoutExpired:
            raise EjabberdFailed(f"{name(number)} did not join {name(other)} within {within:g} s") from None
        if done.returncode != 0:
            raise EjabberdFailed(f"{name(number)} can't join {name(other)}: {(done.stdout + done.stderr).strip()}")
        while before & node.programs() or not answers(node.port):
            if time.monotonic() > deadline:
                raise EjabberdFailed(f"{name(number)} has not started again within {within:g} s:\n{node.log_tail()}")
            time.sleep(0.05)

    def _distribution(self, home: Path) -> tuple[str, ...]:
        home.mkdir(parents=True, exist_ok=True)
        cookie = home / ".erlang.cookie"
        if not cookie.exists():
            with open(os.open(cookie, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as file:
                file.write(self._cookie)
        return ("-start_epmd", "false", "-kernel", "inet_dist_use_interface", "{127,0,0,1}")


def name(number: int) -> str:
    """Return a node's name."""
    return f"n{number}@127.0.0.1"
