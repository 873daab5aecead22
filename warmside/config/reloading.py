"""Small files that an operator changes while warmside runs: admins and secrets.

Such a file is refused when others could have written it; a broken new content is logged, and the old
one stays in force.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from twisted.logger import Logger

from warmside.config.folders import writable_by_others

Content = TypeVar("Content")


class FileRefused(Exception):
    """A file can't be used. The message says why, and shows nothing of what is in it."""


class ReloadingFile(Generic[Content]):
    """What is in a file, read again when it changes.

    :param read: reads it; raises `FileRefused`.
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
        """What the file says now, or said when it was last in order."""
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
            self.log.error("{path}: {reason}; its old content stays in force", path=str(self._path), reason=str(error))

    def _stamp(self) -> tuple[int, ...]:
        try:
            status = self._path.stat()
        except OSError:
            return ()
        return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode, status.st_uid)


def read_guarded(path: Path, most: int) -> str:
    """The text of a file that only root and warmside's own user can have written.

    :param most: bytes that it may have.
    :raises FileRefused: it can't be read, others may write to it, it is too long or no UTF-8.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid not in (0, os.geteuid()):
                raise FileRefused("it belongs neither to root nor to the user that warmside runs as")
            if writable_by_others(status):
                raise FileRefused(f"others than its owner may write to it: chmod go-w {path}")
            data = file.read(most + 1)
    except OSError as error:
        raise FileRefused(f"it can't be read: {error.strerror}") from None
    if len(data) > most:
        raise FileRefused("it is far too long")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise FileRefused("it is not UTF-8") from None
