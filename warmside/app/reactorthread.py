"""A reactor in a thread, for a command whose main thread reads a terminal."""

from collections.abc import Callable, Coroutine
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

Result = TypeVar("Result")


class ReactorThread:
    """Runs the reactor in a thread until `stop`. Signals that are blocked now stay blocked in the thread."""

    def __init__(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self._thread = Thread(target=reactor.run, kwargs={"installSignalHandlers": False}, daemon=True)
        self._thread.start()

    def call(self, function: "Callable[[], Coroutine[Any, Any, Result]]") -> Result:
        """Run an asynchronous call in the thread; return its result or raise its exception."""
        run: Any = blockingCallFromThread  # its type is that of a function without a Deferred
        result: Result = run(self.reactor, lambda: Deferred.fromCoroutine(function()))
        return result

    def stop(self) -> None:
        """Stop the reactor, for good, and wait for the end of the thread."""
        self.reactor.callFromThread(self.reactor.stop)
        self._thread.join()
