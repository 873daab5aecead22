"""Machines that share their users on a real Redis, for tests without the global reactor."""

import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.python.failure import Failure

from tests.redisserver import RedisServer
from warmside.config.settings import Shared
from warmside.store.redisclient import RedisClient
from warmside.store.redisusers import SharedUsers
from warmside.store.usersfile import SharedUsersFile

WITHIN = 30.0
"""Seconds within which an event has to come, also on a busy machine."""


class Spinner:
    """A reactor of its own, which runs while a result is awaited."""

    def __init__(self) -> None:
        self.reactor = EPollReactor()
        self.reactor.startRunning(installSignalHandlers=False)

    def until(self, condition: Callable[[], object], within: float = WITHIN) -> None:
        """Run the reactor until the condition is true.

        :raises AssertionError: the time is over.
        """
        deadline = time.monotonic() + within
        while not condition():
            assert time.monotonic() < deadline, f"the condition is still false after {within:g} s"
            self.reactor.iterate(0.01)

    def result(self, call: "Coroutine[Any, Any, Any]") -> Any:
        """Run the reactor until a call has a result; return it or raise its exception."""
        results: list[Any] = []
        Deferred.fromCoroutine(call).addBoth(results.append)
        self.until(lambda: results)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def close(self) -> None:
        """Close what the reactor itself has opened."""
        self.reactor.disconnectAll()
        self.reactor.fireSystemEvent("shutdown")
        self.reactor.iterate(0)
        self.reactor.removeAll()
        self.reactor._poller.close()


class Node:
    """A process of a machine: its file, its connection, its users.

    :param path: the machine's file.
    """

    def __init__(
        self,
        spinner: Spinner,
        server: RedisServer,
        path: Path,
        prefix: str = "warmside:",
        settings: Shared | None = None,
    ) -> None:
        self._spinner = spinner
        self.path = path
        self._settings = settings or server.settings(unix=True, prefix=prefix)
        self.start()

    def start(self, *, connected: bool = True) -> None:
        """Start the process; connect it unless ``connected`` is False."""
        self.file = SharedUsersFile(self.path)
        self.client = RedisClient(self._spinner.reactor, self._settings)
        self.users = SharedUsers(self.file, self.client, self._spinner.reactor)
        self.users.start()
        self.online = False
        if connected:
            self.connect()

    def connect(self) -> None:
        """Connect to Redis, after the start or after `cut`."""
        if self.online:
            return
        self.online = True
        self.client.start()
        self._spinner.until(lambda: self.client.state == "ok")

    def cut(self) -> None:
        """Cut the network: the process goes on with a client that never connects."""
        if self.online:
            self.stop()
            self.start(connected=False)

    def stop(self) -> None:
        """End the process."""
        self.users.close()
        self._spinner.result(self.client.close())

    def announce(self, *jids: str) -> int:
        """Announce users."""
        count: int = self._spinner.result(self.users.announce(jids))
        return count

    def forget(self, *jids: str) -> bool:
        """Remove users."""
        stored: bool = self._spinner.result(self.users.forget(*jids))
        return stored


def running_spinner() -> Iterator[Spinner]:
    """Return a reactor that a test runs; close it at the end. For fixtures."""
    spinner = Spinner()
    yield spinner
    spinner.close()
