"""``warmside extauth`` never dies young.

A program that exits at once makes ejabberd give up restarting it and takes BOSH down for the whole
server. So as long as stdin is open this process stays: while the service can't be started every
question is refused, the log says why once a minute, and the start is tried again each second.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from warmside.extauth.authorities import Authority
from warmside.extauth.handlers import AuthorityAdapter, RequestHandler

RETRY_INTERVAL = 1.0
REMIND_INTERVAL = 60.0


class Running(Protocol):
    """A service that was started."""

    authority: RequestHandler | None

    async def stop(self, within: float, last: Callable[[], None]) -> None:
        """End it; ``last`` is called when it can answer no more questions."""


class Supervisor:
    """Keeps trying to start a service.

    :param start: gives a started service; any exception means that it can't be started now, and its
        text says why.
    :param reactor: for time.
    """

    log = Logger()

    def __init__(self, reactor: Any, start: Callable[[], Awaitable[Running]]) -> None:
        self._reactor = reactor
        self._start = start
        self._refusing: RequestHandler = AuthorityAdapter(Authority())
        self._running: Running | None = None
        self._trying: Deferred[None] | None = None
        self._over = False

    def authority(self) -> RequestHandler | None:
        """Who answers now; ``None`` when all is over."""
        if self._over:
            return None
        if self._running is not None and self._running.authority is not None:
            return self._running.authority
        return self._refusing

    def begin(self) -> None:
        """Start, or begin to try."""
        self._trying = Deferred.fromCoroutine(self._try())
        self._trying.addErrback(lambda failure: failure.trap(CancelledError))

    async def end(self, within: float, last: Callable[[], None]) -> None:
        """Stop trying, or stop the service; ``last`` is called when no more questions can be answered."""

        def fall_silent() -> None:
            self._over = True
            last()

        if self._trying is not None:
            self._trying.cancel()
        if self._running is not None:
            await self._running.stop(within, fall_silent)
        else:
            fall_silent()

    async def _try(self) -> None:
        said, said_at = "", 0.0
        while True:
            try:
                self._running = await self._start()
            except CancelledError:
                raise
            except Exception as error:
                now = self._reactor.seconds()
                reason = str(error) or type(error).__name__
                if reason != said or now - said_at >= REMIND_INTERVAL:
                    self.log.critical("every question is refused, because: {reason}", reason=reason)
                    said, said_at = reason, now
                await deferLater(self._reactor, RETRY_INTERVAL)
            else:
                if said:
                    self.log.info("the fault is mended, questions are answered")
                return
