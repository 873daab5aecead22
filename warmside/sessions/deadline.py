"""One login with a time limit: what bounds it, cancels it, and leaves it time to clean up."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from warmside.bosh.errors import TimedOut
from warmside.bosh.login import Login


class LoginTask:
    """One login with a time limit, in which there is room to clean up.

    :param timeout: seconds for all of it; also an attribute.

    It is cancelled at most once, so that cleaning up is never cut short; ``cancelled`` says that it
    must not begin anything any more.
    """

    def __init__(self, reactor: Any, timeout: float) -> None:
        self.login: Login | None = None
        self.step = "waiting for a connection"
        self.time_to_clean_up = min(1.0, timeout / 5)
        self.cancelled = False
        self._reactor = reactor
        self.timeout = timeout
        self._timed_out = False
        self._waiters: list[Deferred[None]] = []

    def start(self, coroutine: Any, finished: Callable[[], None]) -> "Deferred[Any]":
        """Run a coroutine; ``finished`` is called at its end. Cancelling the result cancels it."""
        result: Deferred[Any] = Deferred(lambda _: self.cancel())
        timer = self._reactor.callLater(self.timeout - self.time_to_clean_up, self._time_out)
        self._running: Deferred[Any] = Deferred.fromCoroutine(coroutine)

        def done(outcome: Any) -> None:
            if timer.active():
                timer.cancel()
            finished()
            for waiter in self._waiters:
                waiter.callback(None)
            if self._timed_out and isinstance(outcome, Failure):
                outcome = Failure(self._too_late())
            if not result.called:
                result.callback(outcome)

        self._running.addBoth(done)
        return result

    def cancel(self) -> None:
        """End what runs, once."""
        if not self.cancelled:
            self.cancelled = True
            self._running.cancel()

    def finished(self) -> "Deferred[None]":
        """Fires when all is done, cleaning up included."""
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        return waiter

    def _time_out(self) -> None:
        self._timed_out = True
        self.cancel()

    def _too_late(self) -> TimedOut:
        error = TimedOut(f"the login did not come to its end within {self.timeout:g} seconds")
        error.step = self.login.step if self.login else self.step
        return error
