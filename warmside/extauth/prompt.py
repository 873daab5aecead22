"""Answers on a pipe go out at once: ejabberd asks one question at a time, and waits for each answer."""

from typing import Any

from twisted.internet.stdio import StandardIO

_StandardIO: Any = StandardIO


class PromptIO(_StandardIO):  # type: ignore[misc]
    """`StandardIO` that writes right away instead of in the next turn of the reactor.

    As soon as the other side does not take everything, it is Twisted that writes.
    """

    _behind = False

    def write(self, data: bytes) -> None:
        """Write bytes."""
        if self._writer is not None and not self._behind:
            written = self._writer.writeSomeData(data)
            if written == len(data):
                return
            self._behind = True
            if isinstance(written, int):
                data = data[written:]
        super().write(data)
