"""Measure warm sessions on one and two nodes, with one and two processes a node, with and without Redis.

    .venv/bin/python -m tests.bench.cluster [--users N] [--rounds N]

All nodes, Redis and the clients share this machine: compare the CPU times. The rates show only what is left for two
nodes of the same cores. A last row is a credential that one node hands out and another one redeems.
"""

import argparse
import http.client
import itertools
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.bench.logins import Session, Warm, end
from tests.bench.processes import cpu_milliseconds
from tests.real.boshclient import BoshClient
from tests.real.cluster import Cluster
from tests.real.parts import Server, basic, until
from tests.redisserver import RedisServer

HOST = "example.org"
CONCURRENCY = 8
"""Clients; with two nodes half of them use each."""
ROW = "{:10} {:>5} {:>9} {:>5} {:>7} {:>8} {:>9} {:>9} {:>7} {:>8}"
HEAD = ("", "nodes", "processes", "Redis", "per s", "p50 ms", "warmside", "ejabberd", "Redis", "clients")


class Arrangement(NamedTuple):
    """Nodes and processes."""

    nodes: int
    processes: int
    redis: bool


class Figures(NamedTuple):
    """Result of a round: per second, median milliseconds, and CPU milliseconds for each operation."""

    rate: float
    median: float
    warmside: float
    ejabberd: float
    redis: float
    clients: float


class Clients:
    """Clients of all nodes."""

    def __init__(self, nodes: Sequence[Server]) -> None:
        self._nodes = [nodes[number % len(nodes)] for number in range(CONCURRENCY)]
        self._others = [nodes[(number + 1) % len(nodes)] for number in range(CONCURRENCY)]
        self._callers = [Warm(node, HOST) for node in self._nodes]
        self._sessions: list[list[Session]] = [[] for _ in range(CONCURRENCY)]

    def warm(self, number: int, user: str) -> None:
        """Warm a session."""
        self._sessions[number].append(self._callers[number].log_in(user, "")[1])

    def credential(self, number: int, user: str) -> None:
        """Get a one-time password, and authenticate with it at the next node."""
        http = self._callers[number].http
        headers = {"Authorization": basic(), "Content-Type": "application/json"}
        http.request("POST", "/credentials", json.dumps({"jid": f"{user}@{HOST}"}), headers)
        reply = json.load(http.getresponse())
        client = BoshClient(self._others[number].bosh)
        client.authenticate(user, reply["password"])
        client.terminate()
        client.close()

    def end(self) -> None:
        """End the sessions."""
        for node, sessions in zip(self._nodes, self._sessions, strict=True):
            end(node, sessions, HOST)
            sessions.clear()

    def close(self) -> None:
        """Close the connections."""
        for caller in self._callers:
            caller.close()


def measure(work: Callable[[int, str], None], users: int, processes: Callable[[], Sequence[list[int]]]) -> Figures:
    """Do the work for each user once, `CONCURRENCY` at a time.

    :param processes: returns the process IDs of warmside, ejabberd and Redis.
    """
    pending, milliseconds, failures = iter(range(users)), list[float](), list[BaseException]()
    lock = threading.Lock()

    def client(number: int) -> None:
        try:
            while True:
                with lock:
                    user = next(pending, None)
                if user is None:
                    return
                began = time.perf_counter()
                work(number, f"user{user}")
                milliseconds.append((time.perf_counter() - began) * 1000)
        except (AssertionError, OSError, http.client.HTTPException) as failure:
            failures.append(failure)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CONCURRENCY)]
    groups = [*processes(), [os.getpid()]]
    before = [cpu_milliseconds(group) for group in groups]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    used = [(cpu_milliseconds(group) - earlier) / users for group, earlier in zip(groups, before, strict=True)]
    if failures:
        raise failures[0]
    return Figures(users / seconds, statistics.median(milliseconds), *used)


def run(arrangement: Arrangement, users: int, rounds: int) -> dict[str, list[Figures]]:
    """Start an arrangement; return the figures of each round of each kind of operation."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, ExitStack() as closing:
        redis = RedisServer().start() if arrangement.redis else None
        if redis is not None:
            closing.callback(redis.stop)
        toml = f'\n[shared]\nurl = "{redis.url}"\n' if redis else ""
        cluster = Cluster(
            Path(folder),
            ("extauth_pool_size: 2", f"extauth_pool_size: {arrangement.processes}"),
            ("loglevel: info", "loglevel: warning"),
            toml=lambda number: toml,
            nodes=arrangement.nodes,
        )
        closing.callback(cluster.stop)
        cluster.start()
        for node in cluster.nodes:
            until(lambda node=node: node.request("GET", "/ready").status == 200)  # type: ignore[misc]
            until(lambda node=node: len(node.programs()) == arrangement.processes)  # type: ignore[misc]

        def processes() -> list[list[int]]:
            programs = list(itertools.chain(*(node.programs() for node in cluster.nodes)))
            return [programs, [node.ejabberd.pid for node in cluster.nodes], [redis.process.pid] if redis else []]

        clients = Clients(cluster.nodes)
        closing.callback(clients.close)
        kinds = {"warm": clients.warm}
        if arrangement.redis or arrangement.nodes == 1:
            kinds["credential"] = clients.credential
        for work in kinds.values():  # opens connections, probes the host, and makes the users known
            measure(work, users, processes)
            clients.end()
        found: dict[str, list[Figures]] = {kind: [] for kind in kinds}
        for kind in list(kinds) * rounds:
            found[kind].append(measure(kinds[kind], users, processes))
            clients.end()
        return found


def main() -> None:
    """Print a row for each arrangement: the median of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores; load average before the run {os.getloadavg()[0]:.1f}; CPU in ms per operation")
    print(ROW.format(*HEAD))
    for arrangement in itertools.starmap(Arrangement, itertools.product((1, 2), (1, 2), (False, True))):
        for kind, figures in run(arrangement, options.users, options.rounds).items():
            middle = [statistics.median(column) for column in zip(*figures, strict=True)]
            cells = [
                f"{middle[0]:.0f}",
                *(f"{each:.2f}" for each in middle[1:4]),
                f"{middle[4]:.3f}",
                f"{middle[5]:.2f}",
            ]
            which = (kind, arrangement.nodes, arrangement.processes, "yes" if arrangement.redis else "no")
            print(ROW.format(*which, *cells), flush=True)


if __name__ == "__main__":
    main()
