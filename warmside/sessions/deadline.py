"""One login with a time limit that leaves time for cleanup, and all logins in progress."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.python.failure import Failure

from warmside.bosh.errors import Busy, TimedOut
from warmside.bosh.login import Login

MAX_CLEANUP_TIME = 1.0
"""Seconds that are kept for cleanup; at most a fifth of the timeout."""


class LoginTask:
    """One login with a time limit. It is cancelled at most once, so that its cleanup is never interrupted.

    :param reactor: clock and timers.
    :param timeout: seconds for the login and its cleanup.
    :ivar cleanup_time: seconds for the cleanup.
    :ivar cancelled: True if the login must start nothing more.
    :ivar timed_out: True if the coroutine was cancelled because its time is over.
    :ivar login: the login in progress; its step is named in the error of a timeout.
    :ivar probing: returns the task of the probe that this one waits for; ``None`` without one.
    """

    def __init__(self, reactor: Any, timeout: float) -> None:
        self.timeout = timeout
        self.cleanup_time = min(MAX_CLEANUP_TIME, timeout / 5)
        self.cancelled = False
        self.login: Login | None = None
        self.probing: Callable[[], LoginTask | None] = lambda: None
        self.step = "waiting for a connection"
        self._reactor = reactor
        self.timed_out = False
        self._waiters: list[Deferred[None]] = []

    def start(self, coroutine: Any, finished: Callable[[], None]) -> "Deferred[Any]":
        """Run a coroutine, and call ``finished`` at its end. Cancelling the result cancels the coroutine.

        :raises TimedOut: the time is over.
        """
        result: Deferred[Any] = Deferred(lambda _: self.cancel())
        timer = self._reactor.callLater(self.timeout - self.cleanup_time, self._time_out)
        self._running: Deferred[Any] = Deferred.fromCoroutine(coroutine)

        def done(outcome: Any) -> None:
            if timer.active():
                timer.cancel()
            finished()
            for waiter in self._waiters:
                waiter.callback(None)
            if self.timed_out and isinstance(outcome, Failure):
                outcome = Failure(self._timeout_error())
            if not result.called:
                result.callback(outcome)

        self._running.addBoth(done)
        return result

    def cancel(self) -> None:
        """Cancel the coroutine, unless it was cancelled before."""
        if not self.cancelled:
            self.cancelled = True
            self._running.cancel()

    def finished(self) -> "Deferred[None]":
        """Return a Deferred that fires when the login and its cleanup are complete."""
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        return waiter

    def _time_out(self) -> None:
        self.timed_out = True
        self.cancel()

    def _timeout_error(self) -> TimedOut:
        text = f"the login did not complete within {self.timeout:g} seconds"
        login = self.login
        if login is None and (probing := self.probing()) is not None:
            login = probing.login
        if login is not None and login.lacks_features:
            text += "; no stream features arrived: the server is overloaded, or mod_bosh has prebind: true (remove it)"
        error = TimedOut(text)
        error.step = self.login.step if self.login else self.step
        return error


class LoginTasks:
    """All logins in progress.

    :param reactor: clock and timers.
    :param timeout_of: returns ``bosh.timeout`` in seconds for a prepared host.
    """

    def __init__(self, reactor: Any, timeout_of: Callable[[str], float]) -> None:
        self.reactor = reactor
        self._timeout_of = timeout_of
        self._tasks: set[LoginTask] = set()
        self._closing = False

    def start(self, host: str, run: Callable[[LoginTask], Any], *, while_closing: bool = False) -> "Deferred[Any]":
        """Start a login at a host; see `LoginTask.start`.

        :param while_closing: True to start it also after `close`.
        :raises Busy: `close` was called.
        """
        if self._closing and not while_closing:
            return fail(Busy("warmside is stopping"))
        task = LoginTask(self.reactor, self._timeout_of(host))
        self._tasks.add(task)
        return task.start(run(task), lambda: self._tasks.discard(task))

    async def close(self, within: float) -> None:
        """Start nothing more, and end what is in progress; see `finish`."""
        self._closing = True
        await self.finish(within)

    async def finish(self, within: float) -> None:
        """Wait ``within / 2`` seconds for the logins in progress, then cancel them and wait for their cleanup."""
        timer = self.reactor.callLater(within / 2, self._cancel_all)
        await DeferredList([task.finished() for task in self._tasks])
        if timer.active():
            timer.cancel()

    def _cancel_all(self) -> None:
        for task in list(self._tasks):
            task.cancel()
