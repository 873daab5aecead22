"""Answers go out at once: ejabberd asks one question at a time, and waits for each answer.

Twisted writes in the next turn of the reactor, which costs more than most answers do.
"""

import os
from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure

_StandardIO: Any = StandardIO


class ImmediateWriter:
    """Writes to a `FileDescriptor` right away, until the other side does not take everything; then Twisted does."""

    def __init__(self, descriptor: Any) -> None:
        self._descriptor = descriptor
        self._behind = False

    def write(self, data: bytes) -> None:
        """Write bytes."""
        if self._descriptor.connected and not self._behind:
            written = self._descriptor.writeSomeData(data)
            if written == len(data):
                return
            self._behind = True
            if isinstance(written, int):
                data = data[written:]
        self._descriptor.write(data)


class ImmediateStandardIO(_StandardIO):  # type: ignore[misc]
    """`StandardIO` that writes promptly, and closes its descriptors when the connection ends.

    ejabberd sees the end of the stream then, and not only when the process is gone.
    """

    _prompt: ImmediateWriter | None = None

    def __init__(self, proto: IProtocol, *, stdin: int, stdout: int, reactor: Any = None) -> None:
        self._descriptors: tuple[int, ...] = (stdin, stdout)
        super().__init__(proto, stdin=stdin, stdout=stdout, reactor=reactor)

    def connectionLost(self, reason: Failure) -> None:
        """The connection is closed both ways."""
        super().connectionLost(reason)
        descriptors, self._descriptors = self._descriptors, ()
        for descriptor in descriptors:
            os.close(descriptor)

    def write(self, data: bytes) -> None:
        """Write bytes."""
        if self._writer is not None:
            self._prompt = self._prompt or ImmediateWriter(self._writer)
            self._prompt.write(data)
