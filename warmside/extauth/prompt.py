"""Answers go out at once: ejabberd asks one question at a time, and waits for each answer.

Twisted writes in the next turn of the reactor, which costs more than most answers do.
"""

from typing import Any

from twisted.internet.stdio import StandardIO

_StandardIO: Any = StandardIO


class Prompt:
    """Writes to a `FileDescriptor` right away, until the other side does not take everything; then Twisted does."""

    def __init__(self, descriptor: Any) -> None:
        self._descriptor = descriptor
        self._behind = False

    def write(self, data: bytes) -> None:
        """Write bytes."""
        if not self._behind:
            written = self._descriptor.writeSomeData(data)
            if written == len(data):
                return
            self._behind = True
            if isinstance(written, int):
                data = data[written:]
        self._descriptor.write(data)


class PromptIO(_StandardIO):  # type: ignore[misc]
    """`StandardIO` that writes promptly."""

    _prompt: Prompt | None = None

    def write(self, data: bytes) -> None:
        """Write bytes."""
        if self._writer is not None:
            self._prompt = self._prompt or Prompt(self._writer)
            self._prompt.write(data)
