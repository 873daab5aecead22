"""One-time passwords in SQLite: a file that all processes of this machine share, or memory.

Each operation is one or two statements of some microseconds, so they run on the reactor's thread.
"""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from warmside.otp import OneTimePassword, digest
from warmside.store.database import open_database, store_errors
from warmside.store.interface import RevocationStatus, StoreError

STORE = "the SQLite store failed"
SCHEMA = """
CREATE TABLE IF NOT EXISTS passwords (
    digest BLOB PRIMARY KEY,
    jid TEXT NOT NULL,
    expires REAL NOT NULL,
    asked INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
"""
"""No other index: passwords live for seconds, so there are few, and each index would slow down redeeming."""
REDEEM = "DELETE FROM passwords WHERE digest = ? AND jid = ? AND expires > ?"
FIND = "SELECT 1 FROM passwords WHERE digest = ?"
ASKED = "UPDATE passwords SET asked = 1 WHERE digest = ?"


class SQLiteStore:
    """An `IStore` in SQLite.

    :param path: the file; ``None`` keeps everything in this process's memory.
    :param clock: the time in seconds that all processes agree on.
    :raises StoreError: the file can't be opened.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        with store_errors(STORE):
            self._database = open_database(path, SCHEMA, durable=False)

    async def mint(self, bare: str, lifetime: float) -> OneTimePassword:
        """See `IStore.mint`."""
        password = OneTimePassword.mint()
        with store_errors(STORE):
            self._database.execute(
                "INSERT INTO passwords (digest, jid, expires) VALUES (?, ?, ?)",
                (password.digest, bare, self._clock() + lifetime),
            )
        return password

    def redeem(self, bare: str, password: bytes) -> bool:
        """See `IStore.redeem`."""
        key = digest(password)
        try:
            if self._database.execute(REDEEM, (key, bare, self._clock())).rowcount == 1:
                return True
            if self._database.execute(FIND, (key,)).fetchone() is not None:
                self._database.execute(ASKED, (key,))
        except sqlite3.Error as error:
            raise StoreError(f"{STORE}: {error}") from None
        return False

    async def revoke(self, password: OneTimePassword) -> RevocationStatus:
        """See `IStore.revoke`."""
        with store_errors(STORE):
            rows = self._database.execute(
                "DELETE FROM passwords WHERE digest = ? RETURNING asked", (password.digest,)
            ).fetchall()
        if not rows:
            return RevocationStatus.GONE
        return RevocationStatus.ASKED if rows[0][0] else RevocationStatus.UNASKED

    async def revoke_all(self, bare: str) -> int:
        """See `IStore.revoke_all`."""
        with store_errors(STORE):
            return self._database.execute("DELETE FROM passwords WHERE jid = ?", (bare,)).rowcount

    async def sweep(self) -> int:
        """See `IStore.sweep`."""
        with store_errors(STORE):
            return self._database.execute("DELETE FROM passwords WHERE expires <= ?", (self._clock(),)).rowcount

    async def close(self) -> None:
        """See `IStore.close`."""
        self._database.close()
