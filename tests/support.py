"""Helpers of several unit tests."""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, eventAsText, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import provider


def now(awaitable: "Coroutine[Any, Any, Any] | Deferred[Any] | bool") -> Any:
    """Return the result of an asynchronous call that finishes without waiting; raise its exception.

    :raises AssertionError: the call has no result yet.
    """
    if isinstance(awaitable, bool):
        return awaitable
    results: list[Any] = []
    deferred = awaitable if isinstance(awaitable, Deferred) else Deferred.fromCoroutine(awaitable)
    deferred.addBoth(results.append)
    assert results, "the call has no result yet"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


async def work_at_once(work: Callable[[], bytes]) -> bytes:
    """Run in this thread what the service runs in a thread pool."""
    return work()


@contextmanager
def logging() -> Iterator[list[str]]:
    """Collect the events that are logged inside the block, each as its text and all its fields."""
    logged: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        logged.append(f"{eventAsText(event)} {event}")

    globalLogPublisher.addObserver(observe)
    try:
        yield logged
    finally:
        globalLogPublisher.removeObserver(observe)
