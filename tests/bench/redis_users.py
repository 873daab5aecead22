"""Measure known users that machines share on Redis: memory, CPU time, and how long the reactor is held.

    .venv/bin/python -m tests.bench.redis_users [--users N] [--members N]

Announces N users at one machine, 1,000 a call, while another machine follows. Then Redis loses its content, and both
restore it. At last N members are stored to see how much memory they take. The exit status is 1 if a turn of a
reactor takes more than 50 ms of CPU time.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from tests.redisserver import RedisServer
from tests.store.nodes import Node, Spinner

CALL = 1000
LIMIT = 0.05
"""Seconds of CPU time of one turn of a reactor."""
WITHIN = 600.0
NAMES = ("anna", "bernhard", "catarina", "dmitri", "elisabeth", "fatima", "gianluca", "hiroshi", "ines", "jonathan")
USERS = "warmside:1:users"


def jid(number: int) -> str:
    """Return a JID such as ``gianluca.1234567@chat.example.org``."""
    return f"{NAMES[number % len(NAMES)]}.{number}@chat.example.org"


@dataclass
class Figures:
    """What a phase has cost a process, in seconds."""

    cpu: float
    wall: float
    longest: float

    def __str__(self) -> str:
        return f"CPU {self.cpu:6.2f} s, after {self.wall:6.2f} s, longest turn {self.longest * 1000:5.1f} ms of CPU"


class TimedSpinner(Spinner):
    """Notes the CPU time of the longest turn."""

    longest = 0.0

    def until(self, condition: Callable[[], object], within: float = WITHIN) -> None:
        """Run the reactor until the condition is true."""
        while not condition():
            before = time.thread_time()
            self.reactor.iterate(0.01)
            self.longest = max(self.longest, time.thread_time() - before)

    def measured(self, work: Callable[[], object]) -> Figures:
        """Run a phase."""
        self.longest = 0.0
        cpu, wall = time.process_time(), time.monotonic()
        work()
        return Figures(time.process_time() - cpu, time.monotonic() - wall, self.longest)


class Process:
    """Machine two, in a process of its own."""

    def __init__(self, server: RedisServer, path: Path) -> None:
        context = get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, server, path))
        self._process.start()
        self._pipe.recv()

    def start(self, users: int, *, lost: bool = False) -> None:
        """Let it work until it has that many users; if Redis loses its content, until that is restored."""
        self._pipe.send((users, lost))

    def figures(self) -> Figures:
        """Wait for its figures."""
        figures: Figures = self._pipe.recv()
        return figures

    def stop(self) -> None:
        """End the process."""
        self._pipe.send(None)
        self._process.join()


def _serve(pipe: Connection, server: RedisServer, path: Path) -> None:
    spinner = TimedSpinner()
    node = Node(spinner, server, path)
    pipe.send("ready")
    while (order := pipe.recv()) is not None:
        users, lost = order
        epoch = node.file.progress().epoch if lost else None
        done = seldom(partial(in_step, node, users, epoch))
        pipe.send(spinner.measured(partial(spinner.until, done)))
    node.stop()


def seldom(condition: Callable[[], bool]) -> Callable[[], bool]:
    """Return a condition that is looked at every 0.1 s, because it costs something."""
    looked = time.monotonic()

    def look() -> bool:
        nonlocal looked
        if time.monotonic() - looked < 0.1:
            return False
        looked = time.monotonic()
        return condition()

    return look


def in_step(node: Node, users: int, lost: str | None = None) -> bool:
    """Return True if the machine has that many users, and nothing left to do.

    :param lost: content of Redis that is lost.
    """
    progress = node.file.progress()
    ready = not (progress.unfinished or progress.epoch == lost or node.file.pending(1))
    return ready and node.users.exists(jid(users - 1))  # the last one that is announced


def redis_cpu(server: RedisServer) -> float:
    """Return the CPU seconds of Redis."""
    info = server.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def memory(server: RedisServer) -> int:
    """Return the bytes that Redis uses."""
    return int(server.info("memory")["used_memory"])


def chunks(numbers: range) -> Iterator[range]:
    """Split numbers into calls."""
    for start in range(numbers.start, numbers.stop, CALL):
        yield range(start, min(start + CALL, numbers.stop))


def exchange(server: RedisServer, folder: Path, users: int) -> list[Figures]:
    """Announce, follow and restore."""
    found: list[Figures] = []
    two = Process(server, folder / "two.sqlite")
    spinner = TimedSpinner()
    one = Node(spinner, server, folder / "one.sqlite")

    def announce() -> None:
        for numbers in chunks(range(users)):
            assert one.announce(*map(jid, numbers)) == len(numbers)

    before = redis_cpu(server)
    two.start(users)
    found.append(spinner.measured(announce))
    print(f"announce {users:,} users, 1,000 a call: {found[-1]}")
    found.append(two.figures())
    print(f"follow at the other machine:          {found[-1]}")
    print(f"Redis meanwhile:                      CPU {redis_cpu(server) - before:6.2f} s")

    before, lost = redis_cpu(server), one.file.progress().epoch
    two.start(users, lost=True)
    server.command("FLUSHALL")
    found.append(spinner.measured(lambda: spinner.until(seldom(partial(in_step, one, users, lost)))))
    print(f"restore an empty Redis, machine one:  {found[-1]}")
    found.append(two.figures())
    print(f"the same, machine two:                {found[-1]}")
    assert server.command("ZCARD", USERS) == users
    print(f"Redis meanwhile:                      CPU {redis_cpu(server) - before:6.2f} s")
    one.stop()
    spinner.close()
    two.stop()
    return found


def members(server: RedisServer, count: int) -> None:
    """Store members, and print the memory that they take."""
    server.command("FLUSHALL")
    before, version = memory(server), time.time_ns() // 1000
    for numbers in chunks(range(count)):
        words: list[str | int] = [word for number in numbers for word in (2 * (version + number), jid(number))]
        server.command("ZADD", USERS, *words)
    used = memory(server) - before
    length = sum(len(jid(number)) for number in range(0, count, 997)) / len(range(0, count, 997))
    print(
        f"memory of {count:,} users with JIDs of {length:.0f} bytes on average: {used / 2**20:.1f} MiB,"
        f" {used / count:.1f} bytes each; 10,000,000 users (calculated): {used / count * 1e7 / 2**30:.2f} GiB"
    )


def main() -> int:
    """Measure; return 1 if a reactor was held too long."""
    parser = argparse.ArgumentParser(description="Measure known users on Redis.")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--members", type=int, default=1_000_000)
    arguments = parser.parse_args()
    server = RedisServer().start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = exchange(server, Path(folder), arguments.users)
        members(server, arguments.members)
    finally:
        server.stop()
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    return int(any(figures.longest > LIMIT for figures in found))


if __name__ == "__main__":
    sys.exit(main())
