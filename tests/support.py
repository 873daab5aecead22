"""What several unit tests need."""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, eventAsText, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import provider


def now(awaitable: "Coroutine[Any, Any, Any] | Deferred[Any] | bool") -> Any:
    """The result of something asynchronous that is there at once; its exception is raised."""
    if isinstance(awaitable, bool):
        return awaitable
    results: list[Any] = []
    deferred = awaitable if isinstance(awaitable, Deferred) else Deferred.fromCoroutine(awaitable)
    deferred.addBoth(results.append)
    assert results, "it has no result yet"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


async def work_at_once(work: Callable[[], bytes]) -> bytes:
    """Runs what would be run off the reactor's thread."""
    return work()


@contextmanager
def logging() -> Iterator[list[str]]:
    """The events that are logged meanwhile, with all that is in them."""
    logged: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        logged.append(f"{eventAsText(event)} {event}")

    globalLogPublisher.addObserver(observe)
    try:
        yield logged
    finally:
        globalLogPublisher.removeObserver(observe)
