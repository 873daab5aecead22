"""Guess at admins' passwords, from loopback addresses at a rate or with a number of connections.

    python -m tests.real.guesser PORT SECONDS rate RATE ADDRESSES NAME...
    python -m tests.real.guesser PORT SECONDS connections COUNT 1 NAME...

``rate`` sends RATE guesses a second from ADDRESSES addresses and waits for no response before the next guess;
``connections`` sends the next guess on a connection after the response. Each guess is another wrong password; the
names take turns. It stops after SECONDS and prints the number of responses by status, as JSON.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from itertools import count

from tests.real.parts import basic

MAX_SECONDS = 120.0
MAX_OPEN = 900
"""Guesses that wait for a response; a service accepts at most 1,000 connections."""


class Guesser:
    """Sends guesses to one port on loopback.

    :ivar statuses: number of responses by status; ``failed`` counts connections without one.
    """

    def __init__(self, port: int, names: list[str]) -> None:
        self.port = port
        self.names = names
        self.statuses: Counter[str] = Counter()
        self._numbers = count()

    async def guess(self, address: str) -> None:
        """Send one guess from an address, and read the status of the response."""
        number = next(self._numbers)
        credentials = basic(self.names[number % len(self.names)], f"wrong {number}")
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))
            try:
                writer.write(
                    b"POST /warm HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n"
                    + f"Authorization: {credentials}\r\n\r\n".encode()
                )
                line = await reader.readline()
                self.statuses[line.split(b" ")[1].decode() if line else "failed"] += 1
            finally:
                writer.close()
        except OSError:
            self.statuses["failed"] += 1

    async def at_rate(self, seconds: float, rate: float, addresses: int) -> None:
        """Send guesses at a rate, in groups of a twentieth of a second."""
        since = time.monotonic()
        tasks: set[asyncio.Task[None]] = set()
        sent = 0
        while (elapsed := time.monotonic() - since) < seconds:
            while sent < rate * elapsed:
                sent += 1
                if len(tasks) < MAX_OPEN:
                    task = asyncio.create_task(self.guess(f"127.0.1.{1 + sent % addresses}"))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                else:
                    self.statuses["not sent"] += 1
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def with_connections(self, seconds: float, number: int) -> None:
        """Have a number of guesses in progress at a time."""

        async def repeat() -> None:
            while True:
                await self.guess("127.0.0.1")

        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(repeat() for _ in range(number)))
        except TimeoutError:
            pass


def start(port: int, seconds: float, how: str, number: int, addresses: int, *names: str) -> "subprocess.Popen[str]":
    """Start a guesser in a process of its own."""
    arguments = [str(each) for each in (port, seconds, how, number, addresses)]
    command = [sys.executable, "-m", "tests.real.guesser", *arguments, *names]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish(guesser: "subprocess.Popen[str]") -> dict[str, int]:
    """Wait for the end of a guesser, and return the number of responses by status."""
    output, _ = guesser.communicate(timeout=MAX_SECONDS)
    return dict(json.loads(output))


if __name__ == "__main__":
    guesser = Guesser(int(sys.argv[1]), sys.argv[6:])
    seconds = min(MAX_SECONDS, float(sys.argv[2]))
    if sys.argv[3] == "rate":
        asyncio.run(guesser.at_rate(seconds, float(sys.argv[4]), int(sys.argv[5])))
    else:
        asyncio.run(guesser.with_connections(seconds, int(sys.argv[4])))
    print(json.dumps(guesser.statuses))
