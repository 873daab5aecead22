"""Opening SQLite files that several processes share.

Eight processes that switch a new file to WAL at the same instant lock each other out in spite of
any timeout, so a file is opened under a file lock.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from warmside.config.folders import UnsafeFolder, private_file
from warmside.store.interface import StoreError

BUSY_TIMEOUT = 0.5
"""Seconds to wait for another process's transaction; ours last microseconds."""
LOCK_TIMEOUT = 1.0
"""Seconds to wait for other processes that are opening the same file."""


@contextmanager
def store_errors(what: str) -> Iterator[None]:
    """Turn what SQLite and the file system find wrong into a `StoreError` about ``what``."""
    try:
        yield
    except (sqlite3.Error, UnsafeFolder) as error:
        raise StoreError(f"{what}: {error}") from None


def open_database(path: Path | None, schema: str, *, durable: bool) -> sqlite3.Connection:
    """Open, and if need be create, a database with mode 0600.

    :param path: the file; ``None`` keeps everything in this process's memory.
    :param schema: statements that create what is missing.
    :param durable: whether the file must be whole after a power failure, which may take the last changes with it.
    :returns: a connection in autocommit mode.
    :raises UnsafeFolder: the file can't be made or isn't ours alone.
    :raises sqlite3.Error: it is not a database, SQLite can't open it, or another process is opening it.
    """
    if path is None:
        memory = sqlite3.connect(":memory:", isolation_level=None)
        memory.executescript(schema)
        return memory
    private_file(path)
    lock = path.with_name(path.name + ".lock")
    private_file(lock)
    fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        _lock(fd)
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
        try:
            connection.execute("PRAGMA page_size = 1024")  # rows are small, and each change writes whole pages
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'NORMAL' if durable else 'OFF'}")
            connection.executescript(schema)
        except BaseException:
            connection.close()
            raise
        return connection
    finally:
        os.close(fd)


def _lock(fd: int) -> None:
    """Take the lock. Nobody keeps it for more than some milliseconds; who does must not hold us up."""
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise sqlite3.OperationalError("another process keeps its lock file locked") from None
            time.sleep(0.005)
        else:
            return
