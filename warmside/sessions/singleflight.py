"""Share one run among simultaneous callers."""

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

Key = TypeVar("Key")
Result = TypeVar("Result")


class SingleFlight(Generic[Key, Result]):
    """Runs a coroutine at most once at a time for each key. Callers meanwhile get the same result.

    Cancelling one caller's result affects neither the other callers nor the run.
    """

    def __init__(self) -> None:
        self._waiting: dict[Key, list[Deferred[Result]]] = {}

    def run(self, key: Key, start: Callable[[], Coroutine[Any, Any, Result]]) -> "Deferred[Result]":
        """Return the result of the run in progress for this key, or of a new one."""
        waiter: Deferred[Result] = Deferred(lambda _: None)
        if key in self._waiting:
            self._waiting[key].append(waiter)
        else:
            self._waiting[key] = [waiter]
            Deferred.fromCoroutine(start()).addBoth(self._done, key)
        return waiter

    def _done(self, result: Result | Failure, key: Key) -> None:
        for waiter in self._waiting.pop(key):
            if not waiter.called:
                waiter.callback(result)
