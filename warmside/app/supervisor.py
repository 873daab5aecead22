"""Keep ``warmside extauth`` running while its service can't start.

A program that exits at once makes ejabberd give up restarting it, and takes BOSH down for the whole server.
So this process stays as long as stdin is open. Until the service starts, every request is rejected, the log says why
once a minute, and the start is tried again every second.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from warmside.extauth.authorities import Authority
from warmside.extauth.handlers import AuthorityAdapter, RequestHandler

RETRY_INTERVAL = 1.0
"""Seconds between two attempts to start."""
REMIND_INTERVAL = 60.0
"""Seconds between two messages about the same error."""


class Running(Protocol):
    """A service that has started."""

    authority: RequestHandler | None

    async def close(self, within: float, last: Callable[[], None]) -> None:
        """Close the service; ``last`` is called when it can answer no more requests."""


class Supervisor:
    """Start a service, and retry until it starts.

    :param reactor: for time.
    :param start: returns a service that has started; the text of an exception says why it can't start now.
    """

    log = Logger()

    def __init__(self, reactor: Any, start: Callable[[], Awaitable[Running]]) -> None:
        self._reactor = reactor
        self._start = start
        self._rejecting: RequestHandler = AuthorityAdapter(Authority())
        self._running: Running | None = None
        self._starting: Deferred[None] | None = None
        self._ended = False

    def authority(self) -> RequestHandler | None:
        """Return what answers now; ``None`` after the end."""
        if self._ended:
            return None
        if self._running is not None and self._running.authority is not None:
            return self._running.authority
        return self._rejecting

    def begin(self) -> None:
        """Begin to start the service."""
        self._starting = Deferred.fromCoroutine(self._retry())
        self._starting.addErrback(lambda failure: failure.trap(CancelledError))

    async def end(self, within: float, last: Callable[[], None]) -> None:
        """Stop retrying, or close the service.

        :param within: seconds for what is under way.
        :param last: called when no more requests can be answered.
        """

        def stop_answering() -> None:
            self._ended = True
            last()

        if self._starting is not None:
            self._starting.cancel()
        if self._running is not None:
            await self._running.close(within, stop_answering)
        else:
            stop_answering()

    async def _retry(self) -> None:
        logged, logged_at = "", 0.0
        while True:
            try:
                self._running = await self._start()
            except CancelledError:
                raise
            except Exception as error:
                now = self._reactor.seconds()
                reason = str(error) or type(error).__name__
                if reason != logged or now - logged_at >= REMIND_INTERVAL:
                    self.log.critical("rejecting all extauth requests: {reason}", reason=reason)
                    logged, logged_at = reason, now
                await deferLater(self._reactor, RETRY_INTERVAL)
            else:
                if logged:
                    self.log.info("the error is fixed: answering extauth requests")
                return
