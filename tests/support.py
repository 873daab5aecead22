"""What several unit tests need."""

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


def now(awaitable: "Coroutine[Any, Any, Any] | Deferred[Any]") -> Any:
    """The result of something asynchronous that is there at once; its exception is raised."""
    results: list[Any] = []
    deferred = awaitable if isinstance(awaitable, Deferred) else Deferred.fromCoroutine(awaitable)
    deferred.addBoth(results.append)
    assert results, "it has no result yet"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]
