"""The kinds of stores on which the tests of this folder run.

To test another store, write a `Backend`, add it to `open_backend` and to the fixtures in conftest.py.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tests.support import now
from warmside.store.interface import FailureCounters, KnownUsers, PasswordStore
from warmside.store.sqlite import SQLiteFailureCounters, SQLiteKnownUsers, SQLiteStore

Clock = Callable[[], float]


class Backend(Protocol):
    """A kind of store, and where its data are. Each store that it opens has a connection of its own."""

    kind: str
    where: str
    expires_itself: bool
    """True if what has expired is removed without a cleanup."""

    def fresh(self) -> "Backend":
        """Return an empty store of the same kind."""

    def passwords(self, clock: Clock) -> PasswordStore:
        """Open the one-time passwords."""

    def counters(self, clock: Clock) -> FailureCounters:
        """Open the failure counters."""

    def users(self) -> KnownUsers:
        """Open the known users."""

    def result(self, awaitable: Any) -> Any:
        """Return the result of a store's method, or raise its exception."""

    def on_step(self, store: PasswordStore, call: Callable[[], None] | None) -> None:
        """Call a function before each step (statement, command) that other processes may interrupt; None: stop."""


class SQLiteBackend:
    """SQLite in a folder, or in memory (``where`` is empty), where connections share nothing."""

    kind = "sqlite"
    expires_itself = False

    def __init__(self, where: str) -> None:
        self.where = where

    def fresh(self) -> "SQLiteBackend":
        """Make a folder in the folder."""
        return SQLiteBackend(tempfile.mkdtemp(dir=self.where))

    def passwords(self, clock: Clock) -> SQLiteStore:
        """Open the file of one-time passwords."""
        return SQLiteStore(self._path("passwords"), clock)

    def counters(self, clock: Clock) -> SQLiteFailureCounters:
        """Open the failure counters, which are in the same file."""
        return SQLiteFailureCounters(self._path("passwords"), clock)

    def users(self) -> SQLiteKnownUsers:
        """Open the file of known users."""
        path = self._path("users")
        assert path is not None, "known users are never in memory"
        return SQLiteKnownUsers(path)

    def result(self, awaitable: Any) -> Any:
        """SQLite answers without waiting."""
        return now(awaitable)

    def on_step(self, store: PasswordStore, call: Callable[[], None] | None) -> None:
        """SQLite calls back before each statement, when it holds no lock yet."""
        assert isinstance(store, SQLiteStore)
        store._database.set_trace_callback((lambda _: call()) if call is not None else None)

    def _path(self, name: str) -> Path | None:
        return Path(self.where) / f"{name}.sqlite" if self.where else None


def open_backend(kind: str, where: str) -> Backend:
    """Return the backend of this kind; the child process opens the same data as its parent with it."""
    if kind == "redis":
        # Imported here: the stores in SQLite need no reactor.
        from tests.store.redisbackend import RedisBackend

        return RedisBackend(where)
    return SQLiteBackend(where)
