"""Requests lost while a daemon behind a socket of systemd is restarted under load.

.venv/bin/python -m tests.bench.activation [--requests N] [--restarts N] [--clients N]

The socket stays open and is passed on as systemd does (``LISTEN_FDS``). One daemon after the other is ended by SIGTERM,
and the next one is started on the same socket. The clients are those of `tests.bench.restarts`.
"""

import argparse
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from types import TracebackType

from tests.bench.restarts import Client
from tests.real.parts import TWISTD, until
from tests.real.processes import Folder

LAUNCH = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"}
os.execv(sys.argv[2], sys.argv[2:])
"""
REQUEST_TIMEOUT = 60.0
"""Seconds after which a request counts as lost. It waits while no daemon runs."""
BACKLOG = 4096
"""Connections that wait at most; systemd's default."""


class Activated:
    """A daemon on a socket that this process holds. A context manager, which ends it."""

    def __init__(self, folder: Folder) -> None:
        self.port = folder.port
        folder.listen_at("systemd:domain=INET:name=http")
        self._folder = folder
        self._listener = socket.create_server(("127.0.0.1", folder.port), backlog=BACKLOG)
        self._number = 0
        self.ends: list[float] = []
        self.starts: list[float] = []
        """Seconds that the ends and starts of the restarts took."""
        self._process = self._started()

    def _started(self) -> "subprocess.Popen[bytes]":
        self._number += 1
        log = self._folder.path / f"stderr-{self._number}"
        fd = self._listener.fileno()
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-c", LAUNCH, str(fd), str(TWISTD), "-n", "--pidfile=", "warmside", "--config",
                 str(self._folder.toml)],
                pass_fds=[fd], env=self._folder.environ, cwd=self._folder.path,
                stdout=subprocess.DEVNULL, stderr=errors,
            )  # fmt: skip
        until(lambda: "HTTP on" in log.read_text())
        return process

    def restart(self) -> None:
        """End the daemon and start it again, as ``systemctl restart`` does."""
        started = time.monotonic()
        self._end()
        ended = time.monotonic()
        self._process = self._started()
        self.ends.append(ended - started)
        self.starts.append(time.monotonic() - ended)

    def _end(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)

    def __enter__(self) -> "Activated":
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._end()
        self._listener.close()


def measure(
    folder: Folder, *, requests: int, restarts: int, clients: int, daemon: Activated | None = None
) -> Counter[str]:
    """Restart a daemon under load; return the number of each outcome."""
    with daemon or Activated(folder) as daemon:
        callers = [Client(daemon.port, keep=number % 2 == 1, timeout=REQUEST_TIMEOUT) for number in range(clients)]
        for caller in callers:
            caller.start()
        try:
            for number in range(1, restarts + 2):  # the restarts are spread evenly over the requests
                due = requests * number // (restarts + 1)
                until(partial(_have_sent, callers, due), within=600)
                if number <= restarts:
                    daemon.restart()
        finally:
            for caller in callers:
                caller.stop()
            for caller in callers:
                caller.join()
    return sum((caller.outcomes for caller in callers), Counter())


def _have_sent(callers: list[Client], requests: int) -> bool:
    return sum(caller.outcomes.total() for caller in callers) >= requests


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000, help="least number of requests")
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--clients", type=int, default=8)
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="warmside-activation-") as path:
        started = time.monotonic()
        folder = Folder(Path(path))
        daemon = Activated(folder)
        outcomes = measure(
            folder, requests=parsed.requests, restarts=parsed.restarts, clients=parsed.clients, daemon=daemon
        )
        took = time.monotonic() - started
    print(f"{outcomes.total()} requests in {took:.1f} s, {parsed.restarts} restarts")
    print(f"  longest end {max(daemon.ends):.1f} s, longest start {max(daemon.starts):.1f} s")
    for outcome, number in sorted(outcomes.items()):
        print(f"  {number:7} {outcome}")


if __name__ == "__main__":
    main()
