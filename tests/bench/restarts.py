"""Requests lost while processes on one port are restarted under load.

.venv/bin/python -m tests.bench.restarts [--requests N] [--restarts N] [--processes N] [--clients N]

Several ``warmside extauth`` processes share one TCP port. One after the other is ended by SIGTERM and replaced.
Meanwhile half of the clients open a connection for each request, and half keep theirs. A request is lost if its
connection is refused or reset, or if it takes longer than 10 seconds. ejabberd is not needed.
"""

import argparse
import http.client
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import IO

from tests.real.parts import WARMSIDE, until
from tests.real.processes import Folder

REQUESTS = (("GET", "/health", b"", 200), ("POST", "/warm", b"jid=juliet@example.org", 401))
"""Cheap requests without a login: method, path, body, expected status."""
REQUEST_TIMEOUT = 10.0
"""Seconds after which a request counts as lost."""


class Process:
    """A ``warmside extauth`` that shares the port of its folder."""

    def __init__(self, folder: Folder, number: int) -> None:
        self._log = folder.path / f"stderr-{number}"
        errors: IO[bytes] = self._log.open("wb")
        command = [str(WARMSIDE), "extauth", "--config", str(folder.toml)]
        with errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=folder.environ
            )
        until(lambda: "HTTP on" in self._log.read_text())

    def end(self) -> None:
        """End the process by SIGTERM and wait for its end."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)
        self._process.communicate()


class Client(threading.Thread):
    """Send requests until `stop` is called, and count the outcomes."""

    def __init__(self, port: int, *, keep: bool, timeout: float = REQUEST_TIMEOUT) -> None:
        super().__init__()
        self.outcomes: Counter[str] = Counter()
        self._port = port
        self._keep = keep
        self._timeout = timeout
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Stop after the current request."""
        self._stopping.set()

    def run(self) -> None:
        """Send requests."""
        connection: http.client.HTTPConnection | None = None
        number = 0
        while not self._stopping.is_set():
            if connection is None or connection.sock is None or _closed_by_server(connection.sock):
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._timeout)
            number += 1
            self.outcomes[self._request(connection, number)] += 1
            time.sleep(0.001)
        if connection is not None:
            connection.close()

    def _request(self, connection: http.client.HTTPConnection, number: int) -> str:
        method, path, body, expected = REQUESTS[number % len(REQUESTS)]
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        if not self._keep:
            headers["Connection"] = "close"
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return f"lost ({'kept' if self._keep else 'new'} connection): {type(error).__name__}"
        return "answered" if response.status == expected else f"unexpected status {response.status}"


def _closed_by_server(sock: socket.socket) -> bool:
    """True if a kept connection was closed between two requests; every pool of connections looks for that."""
    readable, _, _ = select.select([sock], [], [], 0)
    return bool(readable)


def measure(folder: Folder, *, requests: int, restarts: int, processes: int, clients: int) -> Counter[str]:
    """Restart processes under load; returns how often each outcome was seen."""
    running = [Process(folder, number) for number in range(processes)]
    callers = [Client(folder.port, keep=number % 2 == 1) for number in range(clients)]
    for caller in callers:
        caller.start()
    try:
        for number in range(restarts):
            running.pop(0).end()
            running.append(Process(folder, processes + number))
        until(lambda: sum(caller.outcomes.total() for caller in callers) >= requests, within=600)
    finally:
        for caller in callers:
            caller.stop()
        for caller in callers:
            caller.join()
        for process in running:
            process.end()
    return sum((caller.outcomes for caller in callers), Counter())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000, help="least number of requests")
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--clients", type=int, default=8)
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="warmside-restarts-") as path:
        started = time.monotonic()
        outcomes = measure(
            Folder(Path(path)),
            requests=parsed.requests,
            restarts=parsed.restarts,
            processes=parsed.processes,
            clients=parsed.clients,
        )
        took = time.monotonic() - started
    lost = sum(number for outcome, number in outcomes.items() if outcome.startswith("lost"))
    print(f"{outcomes.total()} requests in {took:.1f} s, {parsed.restarts} restarts of {parsed.processes} processes")
    for outcome, number in sorted(outcomes.items()):
        print(f"  {number:7} {outcome}")
    print(f"lost: {lost / outcomes.total() * 1000:.2f} of 1,000")


if __name__ == "__main__":
    main()
