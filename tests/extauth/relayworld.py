"""A relay in simulated time, beside a daemon that the test plays.

Time moves only when the relay has nothing to do, by as much as the relay would wait.
"""

import fcntl
import os
import select
import socket
import struct
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.extauth.support import frame
from warmside.extauth.relay import Relay
from warmside.extauth.relaycommand import parse_address

MAX_TURNS = 10_000


class Poll:
    """`select.poll` that returns at once and notes how long it would have waited."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self.register, self.unregister = self._poll.register, self._poll.unregister
        self.timeout: float | None = None
        """Milliseconds; ``None`` if there were events."""

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        events = self._poll.poll(0)
        self.timeout = None if events else timeout
        return events


class World:
    """A relay between pipes and a daemon that the test plays."""

    def __init__(self, folder: Path) -> None:
        self.seconds = 0.0
        self.path = folder / "extauth.sock"
        stdin, self.stdin = os.pipe()
        self.stdout, stdout = os.pipe()
        os.set_blocking(self.stdout, False)
        self.fds = {stdin, stdout, self.stdin, self.stdout}
        self.connection: socket.socket | None = None
        self.received = b""
        self.listen()
        self.poll = Poll()
        self.relay = Relay(stdin, stdout, parse_address(str(self.path)), "test")
        self.relay._poll = self.poll  # type: ignore[assignment]
        os.set_blocking(stdin, False)
        os.set_blocking(stdout, False)

    def settle(self) -> None:
        """Let the relay work until it has nothing to do."""
        for _ in range(MAX_TURNS):
            self.relay._turn()
            if self.poll.timeout is not None:
                return
        raise AssertionError("the relay never waits")

    def until(self, result: Callable[[], Any]) -> Any:
        """Let the relay work, and time pass, until there is a result."""
        for _ in range(MAX_TURNS):
            self.relay._turn()
            if found := result():
                return found
            if self.poll.timeout is not None:
                self.seconds += self.poll.timeout / 1000
        raise AssertionError("there is no result")

    def listen(self) -> None:
        """Start the daemon."""
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen(8)
        self.listener.setblocking(False)

    def accept(self) -> None:
        """Accept the relay's next connection."""

        def accepted() -> socket.socket | None:
            try:
                return self.listener.accept()[0]
            except BlockingIOError:
                return None

        self.hang_up()
        self.connection = self.until(accepted)
        self.connection.setblocking(False)
        self.received = b""

    def hang_up(self) -> None:
        """Close the connection at the daemon's end."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def stop(self) -> None:
        """Stop the daemon."""
        self.hang_up()
        self.listener.close()
        self.path.unlink()

    def send(self, *requests: bytes) -> None:
        """Send requests, as ejabberd."""
        os.write(self.stdin, b"".join(map(frame, requests)))

    def request(self) -> bytes:
        """Return the next request that reaches the daemon."""

        def whole() -> bytes | None:
            assert self.connection is not None
            try:
                self.received += self.connection.recv(1 << 16)
            except BlockingIOError:
                pass
            end = 2 + struct.unpack("!H", self.received[:2])[0] if len(self.received) >= 2 else 0
            if not 0 < end <= len(self.received):
                return None
            found, self.received = self.received[:end], self.received[end:]
            return found

        found: bytes = self.until(whole)
        return found[2:]

    def respond(self, data: bytes) -> None:
        """Send bytes, as the daemon."""
        assert self.connection is not None
        self.connection.sendall(data)

    def responses(self, number: int) -> list[bytes]:
        """Return that many responses, as ejabberd reads them."""
        data = b""

        def enough() -> bool:
            nonlocal data
            try:
                data += os.read(self.stdout, 4 * number - len(data))
            except BlockingIOError:
                pass
            return len(data) == 4 * number

        self.until(enough)
        return [data[at : at + 4] for at in range(0, len(data), 4)]

    def no_response(self) -> bool:
        """Return True if there is no response once the relay has nothing to do."""
        self.settle()
        return unread(self.stdout) == 0

    def close_stdin(self) -> None:
        """End the relay's stdin."""
        self.fds.discard(self.stdin)
        os.close(self.stdin)

    def close(self) -> None:
        """Close everything."""
        self.hang_up()
        self.listener.close()
        if self.relay._socket is not None:
            self.relay._socket.close()
        for fd in self.fds:
            os.close(fd)


def unread(fd: int) -> int:
    """Return the number of bytes in a pipe."""
    number: int = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0]
    return number
