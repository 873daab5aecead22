"""Stores in SQLite: a file that all processes of one machine share, or the memory of one process.

Each operation takes one or two statements of some microseconds and runs in the reactor's thread.
"""

import sqlite3
import time
from collections.abc import Callable, Collection
from pathlib import Path

from warmside.otp import OneTimePassword, digest
from warmside.store.database import Schema, SQLiteTables, store_errors
from warmside.store.interface import RevocationStatus, StoreError

STORE = "SQLite store failed"
"""Start of the error messages about one-time passwords and failure counters, which share a file."""

PASSWORDS = Schema(
    version=1,
    statements="""
CREATE TABLE IF NOT EXISTS passwords (
    digest BLOB PRIMARY KEY,
    jid TEXT NOT NULL,
    expires REAL NOT NULL,
    asked INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
""",
)
"""No other index: passwords live for seconds, so there are few, and each index would slow down redeeming."""
REDEEM = "DELETE FROM passwords WHERE digest = ? AND jid = ? AND expires > ?"
FIND = "SELECT 1 FROM passwords WHERE digest = ?"
MARK_ASKED = "UPDATE passwords SET asked = 1 WHERE digest = ?"

COUNTERS = Schema(
    version=PASSWORDS.version,
    statements="""
CREATE TABLE IF NOT EXISTS counts (
    key TEXT PRIMARY KEY,
    count INTEGER NOT NULL,
    expires REAL NOT NULL
) WITHOUT ROWID;
""",
)
ADD = """
INSERT INTO counts (key, count, expires) VALUES (:key, 1, :now + :window)
ON CONFLICT (key) DO UPDATE SET count = CASE WHEN expires > :now THEN count + 1 ELSE 1 END, expires = :now + :window
WHERE expires <= :now OR count < :limit
RETURNING count
"""


def _upgrade_users(connection: sqlite3.Connection) -> None:
    """Add the columns and tables of version 2. No row is rewritten."""
    columns = {row[1] for row in connection.execute("PRAGMA table_info(users)")}
    for column in ("score", "pending"):
        if column not in columns:
            connection.execute(f"ALTER TABLE users ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")
    connection.execute("CREATE INDEX IF NOT EXISTS pending_users ON users (jid) WHERE pending = 1")
    connection.execute("CREATE TABLE IF NOT EXISTS followed (id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT)")


USERS = Schema(
    version=2,
    statements="CREATE TABLE IF NOT EXISTS users (jid TEXT PRIMARY KEY) WITHOUT ROWID;",
    upgrade=_upgrade_users,
)
"""Known users, and removed users of which other machines know.

``score`` is 2 * version, or 2 * version + 1 for a removed user; see `warmside.store.userscripts`. It is 0 for a user
that is known to this machine alone. ``pending`` is 1 for a user that is known newly, or again, and is not announced to
the other machines yet; ``score`` is then the state before.
"""
EXISTS = "SELECT 1 FROM users WHERE jid = ? AND (score % 2 = 0 OR pending = 1)"
ADD_USER = """
INSERT INTO users (jid, pending) VALUES (?1, ?2)
ON CONFLICT (jid) DO UPDATE SET pending = 1 WHERE score % 2 = 1 AND pending = 0
"""
REMOVE_LOCAL = "DELETE FROM users WHERE score = 0 AND jid IN ({marks})"
REMOVE_SHARED = "UPDATE users SET score = score | 1, pending = 0 WHERE score > 0 AND jid IN ({marks})"
UNFOLLOW = "DELETE FROM followed"


class SQLiteStore(SQLiteTables):
    """A `PasswordStore` in SQLite.

    :param path: the file; ``None`` keeps everything in this process's memory.
    :param clock: the time in seconds, the same for all processes.
    :raises StoreError: the file can't be opened.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.time) -> None:
        super().__init__(STORE, path, PASSWORDS)
        self._clock = clock

    async def mint(self, bare: str, lifetime: float) -> OneTimePassword:
        """See `PasswordStore.mint`."""
        password = OneTimePassword.mint()
        self._change(
            "INSERT INTO passwords (digest, jid, expires) VALUES (?, ?, ?)",
            (password.digest, bare, self._clock() + lifetime),
        )
        return password

    def redeem(self, bare: str, password: bytes) -> bool:
        """See `PasswordStore.redeem`."""
        key = digest(password)
        try:
            if self._database.execute(REDEEM, (key, bare, self._clock())).rowcount == 1:
                return True
            if self._database.execute(FIND, (key,)).fetchone() is not None:
                self._database.execute(MARK_ASKED, (key,))
        except sqlite3.Error as error:
            raise StoreError(f"{STORE}: {error}") from None
        return False

    async def revoke(self, password: OneTimePassword) -> RevocationStatus:
        """See `PasswordStore.revoke`."""
        rows = self._run("DELETE FROM passwords WHERE digest = ? RETURNING asked", (password.digest,))
        if not rows:
            return RevocationStatus.GONE
        return RevocationStatus.ASKED if rows[0][0] else RevocationStatus.UNASKED

    async def revoke_all(self, bare: str) -> int:
        """See `PasswordStore.revoke_all`."""
        return self._change("DELETE FROM passwords WHERE jid = ?", (bare,))

    async def sweep(self) -> int:
        """See `PasswordStore.sweep`."""
        return self._change("DELETE FROM passwords WHERE expires <= ?", (self._clock(),))

    async def close(self) -> None:
        """See `PasswordStore.close`."""
        self._database.close()


class SQLiteFailureCounters(SQLiteTables):
    """`FailureCounters` in SQLite, usually in the file of the one-time passwords.

    :param path: the file; ``None`` keeps everything in this process's memory.
    :param clock: the time in seconds, the same for all processes.
    :raises StoreError: the file can't be opened.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.time) -> None:
        super().__init__(STORE, path, COUNTERS)
        self._clock = clock

    async def add(self, key: str, limit: int, window: float) -> bool:
        """See `FailureCounters.add`."""
        values = {"key": key, "limit": limit, "window": window, "now": self._clock()}
        return bool(self._run(ADD, values))

    async def count(self, key: str) -> tuple[int, float]:
        """See `FailureCounters.count`."""
        now = self._clock()
        rows = self._run("SELECT count, expires FROM counts WHERE key = ? AND expires > ?", (key, now))
        return (rows[0][0], rows[0][1] - now) if rows else (0, 0.0)

    async def take_back(self, key: str) -> None:
        """See `FailureCounters.take_back`."""
        self._change("UPDATE counts SET count = count - 1 WHERE key = ? AND count > 0", (key,))

    async def forget(self, *keys: str) -> None:
        """See `FailureCounters.forget`. Read first: usually nothing is stored, and a read takes no write lock."""
        marks = ", ".join("?" * len(keys))
        if self._run(f"SELECT 1 FROM counts WHERE key IN ({marks})", keys):  # noqa: S608
            self._change(f"DELETE FROM counts WHERE key IN ({marks})", keys)  # noqa: S608

    async def sweep(self) -> None:
        """See `FailureCounters.sweep`."""
        self._change("DELETE FROM counts WHERE expires <= ?", (self._clock(),))

    def close(self) -> None:
        """See `FailureCounters.close`."""
        self._database.close()


class SQLiteKnownUsers(SQLiteTables):
    """`KnownUsers` in a SQLite file that survives a reboot.

    A user that does not exist can't be added as a contact and loses messages while offline. Every user
    of a session or credential is therefore stored until removed.

    The file may have been shared with other machines before, see `warmside.store.usersfile`. Then a removed user leaves
    a row, and stays removed if the file is shared again.

    :param path: the file; ``None`` keeps everything in this process's memory.
    :raises StoreError: the file can't be opened.
    """

    shared = False
    """True if other machines get to know the users that are added."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(f"file of known users {path} failed", path, USERS, durable=True)
        if not self.shared and self._run("SELECT 1 FROM followed"):
            self._change(UNFOLLOW)

    def exists(self, bare: str) -> bool:
        """See `KnownUsers.exists`."""
        return bool(self._run(EXISTS, (bare,)))

    def remember(self, bare: str) -> None:
        """See `KnownUsers.remember`."""
        self.add(bare)

    def add(self, bare: str) -> bool:
        """Add a user, and return True if the user is new. Read first: a user that is stored already costs no write.

        :raises StoreError: the file can't be read or written.
        """
        return not self.exists(bare) and self._change(ADD_USER, (bare, self.shared)) > 0

    async def announce(self, bares: Collection[str]) -> int:
        """See `KnownUsers.announce`."""
        with store_errors(self._name), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            return self._database.executemany(ADD_USER, ((bare, self.shared) for bare in bares)).rowcount

    async def forget(self, *bares: str) -> bool:
        """See `KnownUsers.forget`."""
        marks = ", ".join("?" * len(bares))
        with store_errors(self._name), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            stored = any(self.exists(bare) for bare in bares)
            self._database.execute(REMOVE_LOCAL.format(marks=marks), bares)
            self._database.execute(REMOVE_SHARED.format(marks=marks), bares)
        return stored

    def check(self, bare: str) -> None:
        """See `KnownUsers.check`. The commit writes the page that both statements have changed."""
        with store_errors(self._name), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("INSERT INTO users (jid) VALUES (?)", (bare,))
            self._database.execute("DELETE FROM users WHERE jid = ?", (bare,))

    def close(self) -> None:
        """See `KnownUsers.close`."""
        self._database.close()
