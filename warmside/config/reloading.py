"""Read small files that an operator changes while warmside runs: admins and secrets.

A file that other users can write to is rejected. An invalid new content is logged, and the previous content is used.
"""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

from twisted.logger import Logger

from warmside.config.folders import writable_by_others

Content = TypeVar("Content")


class FileRefused(Exception):
    """A file can't be used. The message says why, and shows no content of the file."""


class ReloadingFile(Generic[Content]):
    """The content of a file, read again when it changes.

    :param read: reads the file; raises `FileRefused`.
    :raises FileRefused: the file can't be used now.
    """

    log = Logger()

    def __init__(self, path: Path, read: Callable[[Path], Content]) -> None:
        self._path = path
        self._read = read
        self._seen = self._stamp()
        self._content = read(path)

    @property
    def content(self) -> Content:
        """The content of the file; the last valid one if the file is invalid now."""
        if self._stamp() != self._seen:
            self.reload()
        return self._content

    def reload(self) -> None:
        """Read the file again."""
        self._seen = self._stamp()
        try:
            self._content = self._read(self._path)
            self.log.info("{path}: read again", path=str(self._path))
        except FileRefused as error:
            self.log.error(
                "{path}: {reason}; the previous content is still used", path=str(self._path), reason=str(error)
            )

    def _stamp(self) -> tuple[int, ...]:
        try:
            status = self._path.stat()
        except OSError:
            return ()
        return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode, status.st_uid)


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading.

    :raises OSError: it can't be opened, or it is a pipe or a device, which may have no end.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe would wait for a writer
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "Not a regular file")
    return os.fdopen(fd, "rb")


def read_guarded(path: Path, max_bytes: int) -> str:
    """Return the text of a file that only root and the user of this process can write to.

    A byte order mark at its start is skipped.

    :param max_bytes: maximum size.
    :raises FileRefused: it can't be read, other users can write to it, it is too long or not UTF-8.
    """
    try:
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            if status.st_uid not in (0, os.geteuid()):
                raise FileRefused(f"its owner is neither root nor the user that runs warmside: chown {path}")
            if writable_by_others(status):
                raise FileRefused(f"other users can write to it: chmod go-w {path}")
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise FileRefused(f"can't be read: {error.strerror}") from None
    if len(data) > max_bytes:
        raise FileRefused(f"it is longer than {max_bytes} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileRefused("it is not UTF-8") from None
