"""Remove expired entries from the stores at regular intervals."""

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

SWEEP_INTERVAL = 10.0
"""Seconds between removals of expired entries."""


class Cleanup:
    """Calls functions that remove expired entries. An error is logged, and the next call is made in time.

    :param sweeps: the functions; some return something to await.
    """

    log = Logger()

    def __init__(self, reactor: Any, *sweeps: Callable[[], Awaitable[object] | None]) -> None:
        self._sweeps = sweeps
        self._caller = LoopingCall(lambda: Deferred.fromCoroutine(self._sweep()))
        self._caller.clock = reactor

    def start(self) -> None:
        """Start; the first call is made after `SWEEP_INTERVAL`."""
        self._caller.start(SWEEP_INTERVAL, now=False)

    def stop(self) -> None:
        """Make no more calls."""
        self._caller.stop()

    async def _sweep(self) -> None:
        try:
            for sweep in self._sweeps:
                removal = sweep()
                if removal is not None:
                    await removal
        except Exception as error:
            self.log.error("expired-entry cleanup failed: {reason}", reason=str(error))
