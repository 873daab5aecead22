"""Who exists, when no other authority knows: ``extauth.users``.

A user that does not exist loses messages while offline and can't be added as a contact, so whoever
was ever warmed or given a credential is remembered, in a file that survives a reboot.
"""

import sqlite3
from pathlib import Path
from typing import Protocol

from warmside.store.database import open_database, store_errors

SCHEMA = "CREATE TABLE IF NOT EXISTS users (jid TEXT PRIMARY KEY) WITHOUT ROWID;"


class Users(Protocol):
    """Answers ``isuser``. JIDs are bare and prepared; every method may raise `StoreError`."""

    def exists(self, bare: str) -> bool:
        """Whether this user exists."""

    def remember(self, bare: str) -> None:
        """This user has been given a session or a credential."""

    def forget(self, bare: str) -> bool:
        """This user is to be removed; whether there was anything to remove."""

    def close(self) -> None:
        """Let go of files."""


class ConstantUsers:
    """Everyone exists (``any``), or nobody does (``none``)."""

    def __init__(self, everyone: bool) -> None:
        self._everyone = everyone

    def exists(self, bare: str) -> bool:
        """The same for everyone."""
        return self._everyone

    def remember(self, bare: str) -> None:
        """Nothing is kept."""

    def forget(self, bare: str) -> bool:
        """There is nothing to remove."""
        return False

    def close(self) -> None:
        """There is nothing to close."""


class KnownUsers:
    """The users that were ever remembered, in a SQLite file that all processes share.

    :raises StoreError: the file can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self._what = f"the file of known users, {path}"
        with store_errors(self._what):
            self._database = open_database(path, SCHEMA, durable=True)

    def exists(self, bare: str) -> bool:
        """Whether the user was remembered."""
        return bool(self._run("SELECT 1 FROM users WHERE jid = ?", bare).fetchall())

    def remember(self, bare: str) -> None:
        """Keep the user; costs no write if he is there."""
        if not self.exists(bare):
            self._run("INSERT OR IGNORE INTO users (jid) VALUES (?)", bare)

    def forget(self, bare: str) -> bool:
        """Drop the user."""
        return self._run("DELETE FROM users WHERE jid = ?", bare).rowcount > 0

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def _run(self, statement: str, bare: str) -> sqlite3.Cursor:
        with store_errors(self._what):
            return self._database.execute(statement, (bare,))
