"""Long work in short turns: the reactor serves others in between."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

MAX_TURN = 0.002
"""Seconds after which a turn ends. A step of the work may add a few milliseconds."""
REST = 0.004
"""Seconds between two turns: the work takes about a third of the process's time."""


class Turns:
    """Turns of one piece of work.

    Between two steps, if `due`, the work must await `rest`.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._began: float = reactor.seconds()

    @property
    def due(self) -> bool:
        """True if the turn is over."""
        return bool(self._reactor.seconds() - self._began > MAX_TURN)

    async def rest(self) -> None:
        """Let the reactor serve others, then begin the next turn."""
        rested: Deferred[None] = deferLater(self._reactor, REST)
        await rested
        self._began = self._reactor.seconds()
