"""Replace, create and delete files so that a kill at any moment leaves the old file or the new one, whole."""

import os
from contextlib import suppress
from pathlib import Path

BACKUP = ".before-warmside"
"""End of the name of a file's backup, beside the file."""


def temporary(path: Path) -> Path:
    """Return the name under which a new version is written before it replaces the file."""
    return path.with_name(f".{path.name}.warmside-setup")


def write(path: Path, data: bytes, *, uid: int, gid: int, mode: int, like: Path | None = None) -> None:
    """Create or replace a file, and flush it to the disk.

    :param like: the file whose extended attributes, such as an access control list, the new one gets.
    :raises OSError: it can't be written; the old file is unchanged.
    """
    new = temporary(path)
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            os.fchown(fd, uid, gid)
            os.fchmod(fd, mode)
            for name in () if like is None else os.listxattr(like):
                with suppress(OSError):
                    os.setxattr(fd, name, os.getxattr(like, name))  # type: ignore[arg-type]
            file.flush()
            os.fsync(fd)
        os.rename(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def replace(path: Path, data: bytes) -> None:
    """Replace the content of a file; owner, mode and extended attributes stay.

    :raises OSError: it can't be written; the old file is unchanged.
    """
    status = path.stat()
    write(path, data, uid=status.st_uid, gid=status.st_gid, mode=status.st_mode & 0o7777, like=path)


def backup(path: Path) -> Path:
    """Write a backup of a file beside it, unless there is one with this content. Return its path."""
    data, status = path.read_bytes(), path.stat()
    target = next(each for each in backups(path) if not each.exists() or each.read_bytes() == data)
    if not target.exists():
        write(target, data, uid=status.st_uid, gid=status.st_gid, mode=status.st_mode & 0o7777, like=path)
    return target


def backups(path: Path) -> list[Path]:
    """Return the names that backups of a file may have, in the order of use."""
    return [path.with_name(path.name + BACKUP + (f".{number}" if number else "")) for number in range(1000)]


def delete(path: Path) -> None:
    """Delete a file, and what a killed process left of its next version.

    :raises OSError: it can't be deleted.
    """
    temporary(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    _flush(path.parent)


def _flush(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
