"""txredisapi's protocol, with types and with bounds on what Redis sends.

Without ``hiredis`` txredisapi's own parser returns status replies as `str`, and takes a reactor turn for each string.
So the parser is always that of ``hiredis``.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from txredisapi import ConnectionError as ConnectionLost
from txredisapi import HiredisProtocol, RedisError, ResponseError

MAX_REPLY = 8 << 20
"""Bytes of a reply; longer than 1,000 known users can be. A longer one ends the connection."""
MAX_UNDER_WAY = 1000
"""Commands of one connection whose replies are awaited."""
MAX_SHOWN = 200
"""Characters of an error of Redis that are shown."""

Argument = str | bytes | int | float

__all__ = [
    "Argument",
    "Bounded",
    "Connection",
    "ConnectionLost",
    "RedisError",
    "ResponseError",
    "Subscriber",
    "error_text",
]


def error_text(error: object) -> str:
    """Return an error of Redis without the arguments of the command, which may be secret."""
    text = str(error).strip().partition(", with args")[0]
    return "".join(each if each.isprintable() else "?" for each in text[:MAX_SHOWN])


class Bounded(HiredisProtocol):  # type: ignore[misc] # txredisapi has no types
    """A connection on which every reply is that of a command, and of a bounded size."""

    def __init__(self) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self.lost: Deferred[object] = Deferred()
        """Fires with the cause when the connection is lost."""
        self._unfinished = 0

    @property
    def under_way(self) -> int:
        """Commands whose replies are awaited."""
        return len(self.replyQueue.waiting)

    def send(self, *command: Argument) -> "Deferred[Any]":
        """Send a command. The result is the reply, texts as `bytes`.

        :raises RedisError: the connection is lost, or too many commands are under way.
        """
        if self.under_way >= MAX_UNDER_WAY:
            raise RedisError(f"{MAX_UNDER_WAY} commands are under way")
        sent: Deferred[Any] = self.execute_command(*command)
        return sent

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """Parse replies. A reply that is too long, or none of Redis's protocol, ends the connection."""
        self._unfinished += len(data)
        try:
            super().dataReceived(data)
        except Exception:  # the parser raises several types
            self._unfinished = MAX_REPLY + 1
        if self._unfinished > MAX_REPLY:
            self.transport.abortConnection()

    def replyReceived(self, reply: Any) -> None:
        """Take a reply. One that no command awaits ends the connection."""
        self._unfinished = 0
        if self.replyQueue.waiting or not self.connected:
            super().replyReceived(reply)
        else:
            self.transport.abortConnection()

    def connectionLost(self, why: Failure) -> None:
        """Fail the commands under way."""
        super().connectionLost(why)
        if not self.lost.called:
            self.lost.callback(why.value)


class Connection(Bounded):
    """A connection for commands."""


class Subscriber(Bounded):
    """A connection for messages.

    :param received: called with each channel and message.
    """

    def __init__(self, received: Callable[[bytes, bytes], None]) -> None:
        super().__init__()
        self._received = received

    def replyReceived(self, reply: Any) -> None:
        """Take a message or a reply; each command, also ``SUBSCRIBE`` of one channel, has one reply."""
        if isinstance(reply, list) and len(reply) == 3 and reply[0] == b"message":
            self._unfinished = 0
            self._received(reply[1], reply[2])
        else:
            super().replyReceived(reply)
