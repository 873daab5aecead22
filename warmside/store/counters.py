"""Counts of failures that all processes share: kept where the one-time passwords are.

A count is forgotten when nothing was added to it for the time of its window.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from warmside.store.database import open_database, store_errors

STORE = "the SQLite store failed"
SCHEMA = """
CREATE TABLE IF NOT EXISTS counts (
    key TEXT PRIMARY KEY,
    count INTEGER NOT NULL,
    expires REAL NOT NULL
) WITHOUT ROWID;
"""
ADD = """
INSERT INTO counts (key, count, expires) VALUES (:key, 1, :now + :window)
ON CONFLICT (key) DO UPDATE SET count = CASE WHEN expires > :now THEN count + 1 ELSE 1 END, expires = :now + :window
WHERE expires <= :now OR count < :most
RETURNING count
"""


UNLIMITED = 1 << 30
"""As ``most``: count without a limit."""


class FailureCounters(Protocol):
    """Counts by key. Every method may raise `StoreError`; times are in seconds."""

    async def add(self, key: str, most: int, window: float) -> bool:
        """Add one unless there are ``most`` already; whether it was added, in one step for all processes."""

    async def count(self, key: str) -> tuple[int, float]:
        """How much was counted, and in how many seconds it is forgotten; ``(0, 0)`` for nothing."""

    async def take_back(self, key: str) -> None:
        """Take one away again."""

    async def forget(self, *keys: str) -> None:
        """Begin at zero."""

    async def sweep(self) -> None:
        """Remove what is forgotten."""

    def close(self) -> None:
        """Let go of the store."""


class SQLiteFailureCounters:
    """Counts in SQLite.

    :param path: the file; ``None`` counts in this process's memory.
    :param clock: the time in seconds that all processes agree on.
    :raises StoreError: the file can't be opened.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        with store_errors(STORE):
            self._database = open_database(path, SCHEMA, durable=False)

    async def add(self, key: str, most: int, window: float) -> bool:
        """See `FailureCounters.add`."""
        values = {"key": key, "most": most, "window": window, "now": self._clock()}
        with store_errors(STORE):
            return bool(self._database.execute(ADD, values).fetchall())

    async def count(self, key: str) -> tuple[int, float]:
        """See `FailureCounters.count`."""
        now = self._clock()
        with store_errors(STORE):
            found = self._database.execute(
                "SELECT count, expires FROM counts WHERE key = ? AND expires > ?", (key, now)
            ).fetchall()
        return (found[0][0], found[0][1] - now) if found else (0, 0.0)

    async def take_back(self, key: str) -> None:
        """See `FailureCounters.take_back`."""
        with store_errors(STORE):
            self._database.execute("UPDATE counts SET count = count - 1 WHERE key = ? AND count > 0", (key,))

    async def forget(self, *keys: str) -> None:
        """See `FailureCounters.forget`. Read first: usually nothing is stored, and a read takes no write lock."""
        marks = ", ".join("?" * len(keys))
        with store_errors(STORE):
            if self._database.execute(f"SELECT 1 FROM counts WHERE key IN ({marks})", keys).fetchall():  # noqa: S608
                self._database.execute(f"DELETE FROM counts WHERE key IN ({marks})", keys)  # noqa: S608

    async def sweep(self) -> None:
        """See `FailureCounters.sweep`."""
        with store_errors(STORE):
            self._database.execute("DELETE FROM counts WHERE expires <= ?", (self._clock(),))

    def close(self) -> None:
        """See `FailureCounters.close`."""
        self._database.close()
