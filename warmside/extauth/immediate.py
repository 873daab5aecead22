"""Transports that write in the current turn of the reactor.

Twisted writes in the next turn, which takes longer than most requests do. ejabberd sends the next request only
after the response.
"""

import os
from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure

from warmside.compat.streams import stdio_writer, write_now

_StandardIO: Any = StandardIO


class ImmediateWriter:
    """Writes to a `FileDescriptor` at once, until the other side does not accept everything; then Twisted does."""

    def __init__(self, descriptor: Any) -> None:
        self._descriptor = descriptor
        self._buffering = False

    def write(self, data: bytes) -> None:
        """Write bytes."""
        if not self._buffering:
            written = write_now(self._descriptor, data)
            if written == len(data):
                return
            self._buffering = True
            data = data[written:]
        self._descriptor.write(data)


class ImmediateStandardIO(_StandardIO):  # type: ignore[misc]
    """`StandardIO` that writes at once, and closes its file descriptors when the connection ends.

    Closing lets ejabberd see the end of the stream before the process ends.
    """

    _immediate: ImmediateWriter | None = None

    def __init__(self, proto: IProtocol, *, stdin: int, stdout: int, reactor: Any = None) -> None:
        self._descriptors: tuple[int, ...] = (stdin, stdout)
        super().__init__(proto, stdin=stdin, stdout=stdout, reactor=reactor)

    def connectionLost(self, reason: Failure) -> None:
        """Close the file descriptors."""
        super().connectionLost(reason)
        descriptors, self._descriptors = self._descriptors, ()
        for descriptor in descriptors:
            os.close(descriptor)

    def write(self, data: bytes) -> None:
        """Write bytes; drop them once the connection is closed."""
        writer = stdio_writer(self)
        if writer is not None:
            self._immediate = self._immediate or ImmediateWriter(writer)
            self._immediate.write(data)
