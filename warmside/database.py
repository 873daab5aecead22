"""Opening SQLite files that several processes share.

Eight processes that switch a new file to WAL at the same instant lock each other out in spite of
any timeout, so a file is opened under a file lock.
"""

import fcntl
import os
import sqlite3
from pathlib import Path

from warmside.folders import private_file

BUSY_TIMEOUT = 2.0
"""Seconds to wait for another process's transaction; ours last microseconds."""


def open_database(path: Path, schema: str, *, durable: bool) -> sqlite3.Connection:
    """Open, and if need be create, a database with mode 0600.

    :param schema: statements that create what is missing.
    :param durable: whether a committed change must survive a power failure.
    :returns: a connection in autocommit mode.
    :raises UnsafeFolder: the file can't be made or isn't ours alone.
    :raises sqlite3.Error: it is not a database, or SQLite can't open it.
    """
    private_file(path)
    lock = path.with_name(path.name + ".lock")
    private_file(lock)
    fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
            connection.executescript(schema)
        except BaseException:
            connection.close()
            raise
        return connection
    finally:
        os.close(fd)
