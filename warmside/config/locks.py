"""Lock files of processes that share a folder."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from warmside.config.folders import private_file

RETRY_INTERVAL = 0.005
"""Seconds between two attempts to take the lock."""


@contextmanager
def file_lock(path: Path, timeout: float) -> Iterator[None]:
    """Hold an exclusive lock on a file, which is made if it is missing. The lock ends with its process.

    :param timeout: seconds to wait for another process.
    :raises UnsafeFolder: the file can't be made, or other users can write to it.
    :raises TimeoutError: another process holds the lock for longer.
    """
    private_file(path)
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    message = f"another process still holds the lock on {path} after {timeout:g} s: stop it"
                    raise TimeoutError(message) from None
                time.sleep(RETRY_INTERVAL)
        yield
    finally:
        os.close(fd)
