"""Check files with the rights of another user."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from warmside.doctor.processes import Account


class OtherUser(Exception):
    """This process may not take the rights of a user: it is neither root nor that user."""


@dataclass(frozen=True)
class Denied:
    """The first path on the way to a file that a user can't use. ``is_folder`` is True for one above the file."""

    path: Path
    is_folder: bool


@contextmanager
def rights_of(account: Account) -> Iterator[None]:
    """Take the effective rights of a user. Only root can, apart from the user itself.

    :raises OtherUser: this process may not.
    """
    if os.geteuid() == account.uid:
        yield
        return
    if os.geteuid() != 0:
        raise OtherUser(f"the rights of the user {account.name}: run the command as root or as {account.name}")
    groups, gid = os.getgroups(), os.getegid()
    os.setgroups(account.groups or (account.gid,))
    os.setegid(account.gid)
    os.seteuid(account.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def denied(account: Account, path: Path, mode: int) -> Denied | None:
    """Return what keeps a user from a file; ``None`` if nothing does, or if the file is missing.

    :param mode: `os.R_OK` or `os.X_OK`.
    :raises OtherUser: see `rights_of`.
    """
    with rights_of(account):
        for folder in reversed(path.parents):
            if not os.access(folder, os.X_OK, effective_ids=True) and _exists(folder):
                return Denied(folder, True)
        if os.access(path, mode, effective_ids=True) or not _exists(path):
            return None
    return Denied(path, False)


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOTDIR)
    return True


def writable(path: Path, account: Account | None) -> str | None:
    """Return why users other than root and the given one can write to a path; ``None`` if they can't.

    Folders with the sticky bit are allowed: only its owner can replace a file there.

    :raises OSError: the path can't be examined.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return None
    if status.st_uid not in (0, account.uid if account else os.geteuid()):
        return "owner"
    return "mode" if status.st_mode & 0o022 else None
