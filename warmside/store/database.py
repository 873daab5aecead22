"""Open SQLite files that several processes share.

When several processes switch a new file to WAL at the same time, SQLite reports a locked database in
spite of any timeout. Each file is therefore opened under a file lock.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmside.config.folders import UnsafeFolder, private_file
from warmside.config.locks import file_lock
from warmside.store.interface import StoreError

BUSY_TIMEOUT = 0.5
"""Seconds to wait for a transaction of another process. Transactions of warmside take microseconds."""
LOCK_TIMEOUT = 1.0
"""Seconds to wait for other processes that are opening the same file."""


@dataclass(frozen=True, slots=True)
class Schema:
    """Tables of a database, and the version of their layout (SQLite's ``user_version``).

    A file without a version (0) has the tables of version 1. ``statements`` create missing tables and
    run at every opening. ``upgrade`` runs after them, in the transaction that sets the version, if the file has an
    older version or is new. It has to accept tables that are upgraded already.
    """

    version: int
    statements: str
    upgrade: Callable[[sqlite3.Connection], None] | None = None


@contextmanager
def store_errors(store: str) -> Iterator[None]:
    """Turn errors of SQLite and of the file system into a `StoreError` that names the store."""
    try:
        yield
    except (sqlite3.Error, UnsafeFolder, TimeoutError) as error:
        raise StoreError(f"{store}: {error}") from None


def open_database(path: Path | None, schema: Schema, *, durable: bool) -> sqlite3.Connection:
    """Open a database; create it with mode 0600 if it does not exist.

    :param path: the file; ``None`` keeps everything in this process's memory.
    :param durable: True if the file must stay consistent after a power failure; the last changes may be lost.
    :returns: a connection in autocommit mode.
    :raises StoreError: the file has a newer schema than this release supports.
    :raises UnsafeFolder: the file can't be created, or other users may write to it.
    :raises sqlite3.Error: SQLite can't open the file, or it is not a database.
    :raises TimeoutError: another process holds the file's lock.
    """
    if path is None:
        memory = sqlite3.connect(":memory:", isolation_level=None)
        memory.executescript(schema.statements)
        _upgrade(memory, schema)
        return memory
    private_file(path)
    with file_lock(path.with_name(path.name + ".lock"), LOCK_TIMEOUT):
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
        try:
            version = _check_version(connection, path, schema.version)
            connection.execute("PRAGMA page_size = 1024")  # rows are small, and each change writes whole pages
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'NORMAL' if durable else 'OFF'}")
            connection.executescript(schema.statements)
            if version < schema.version:
                _upgrade(connection, schema)
        except BaseException:
            connection.close()
            raise
        return connection


class SQLiteTables:
    """Tables of one store in an open database. Errors become a `StoreError` that names the store.

    :param name: start of the error messages.
    :param path: the file; ``None`` keeps everything in this process's memory.
    :param durable: see `open_database`.
    :raises StoreError: the file can't be opened.
    """

    def __init__(self, name: str, path: Path | None, schema: Schema, *, durable: bool = False) -> None:
        self._name = name
        with store_errors(name):
            self._database = open_database(path, schema, durable=durable)

    def _run(self, statement: str, values: Any = ()) -> list[Any]:
        """Run a statement and return its rows."""
        with store_errors(self._name):
            return self._database.execute(statement, values).fetchall()

    def _change(self, statement: str, values: Any = ()) -> int:
        """Run a statement and return the number of rows that it has changed."""
        with store_errors(self._name):
            return self._database.execute(statement, values).rowcount


def _upgrade(connection: sqlite3.Connection, schema: Schema) -> None:
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if schema.upgrade is not None:
            schema.upgrade(connection)
        connection.execute(f"PRAGMA user_version = {schema.version}")


def _check_version(connection: sqlite3.Connection, path: Path, supported: int) -> int:
    """Return the version of the file's schema; raise `StoreError` if it is newer than ``supported``."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > supported:
        raise StoreError(
            f"{path} has schema version {version}, and this release supports versions up to {supported}: "
            "upgrade warmside, restore the file from a backup, or remove it to start with an empty one"
        )
    return version
