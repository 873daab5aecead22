"""Find the runtime folder (sockets, one-time passwords) and the state folder (known users).

Their places and modes are decided here and nowhere else. A folder that another user could have written to is rejected.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder in it is made with mode 0700, and its owner is checked
SYSTEM_STATE = Path("/var/lib/warmside")
"""The state folder of a service that does not set ``STATE_DIRECTORY``, if it exists and belongs to its user."""
MOUNTS = Path("/proc/self/mounts")


class UnsafeFolder(Exception):
    """A folder or file can't be made, or other users can write to it. The message names it and the reason."""


def runtime_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for sockets (mode 0750); make it if it is missing. A reboot removes it.

    :raises UnsafeFolder: it can't be made, or other users can write to it.
    """
    given = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    xdg = environ.get("XDG_RUNTIME_DIR", "")
    if given:
        path = Path(given)
    elif _is_ours(Path("/run/warmside")):
        path = Path("/run/warmside")
    elif xdg:
        path = Path(xdg) / "warmside"
    else:
        path = Path(f"/tmp/warmside-{os.geteuid()}")  # noqa: S108 - its owner and rights are checked below
    return _made(path, 0o750)


def private_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for one-time passwords (mode 0700) in the runtime folder.

    :raises UnsafeFolder: it can't be made, or other users can write to it.
    """
    return _made(runtime_folder(environ) / "private", 0o700)


def volatile_folder(environ: Mapping[str, str] = os.environ, mounts: Path = MOUNTS) -> Path | None:
    """Return a folder (mode 0700) for what must never be written to a disk; ``None`` without a tmpfs.

    It is the private folder, or ``/dev/shm/warmside-UID`` if the private folder is on a disk.

    :raises UnsafeFolder: it can't be made, or other users can write to it.
    """
    private = private_folder(environ)
    return private if _is_volatile(private, mounts) else shared_folder(mounts)


def shared_folder(mounts: Path = MOUNTS) -> Path | None:
    """Return the folder ``/dev/shm/warmside-UID`` (mode 0700), which all runtime folders of the user share.

    It is ``None`` where ``/dev/shm`` is no tmpfs.

    :raises UnsafeFolder: it can't be made, or other users can write to it.
    """
    return _made(SHARED_MEMORY / f"warmside-{os.geteuid()}", 0o700) if _is_volatile(SHARED_MEMORY, mounts) else None


def subfolder(parent: Path, name: str) -> Path:
    """Return a folder (mode 0700) in another one; make it if it is missing.

    :raises UnsafeFolder: it can't be made, or other users can write to it.
    """
    return _made(parent / name, 0o700)


def state_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for what survives a reboot (mode 0700); make it if it is missing.

    :raises UnsafeFolder: it can't be made, or other users can write to it.
    """
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return _made(Path(given), 0o700)
    if _is_ours(SYSTEM_STATE):
        return SYSTEM_STATE
    home = environ.get("XDG_STATE_HOME", "")
    try:
        base = Path(home) if home else Path.home() / ".local" / "state"
        base.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise UnsafeFolder(f"the state folder can't be made: {error}") from None
    return _made(base / "warmside", 0o700)


def private_file(path: Path) -> None:
    """Make an empty file with mode 0600 if it is missing.

    An existing file is not opened: closing it would release the POSIX locks of this process on it.

    :raises UnsafeFolder: it can't be made, is no regular file, or other users can write to it.
    """
    try:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            pass
        status = path.lstat()
    except OSError as error:
        raise UnsafeFolder(f"{path} can't be opened for writing: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeFolder(f"{path} is not a file")
    if not os.access(path, os.R_OK | os.W_OK):
        raise UnsafeFolder(f"{path} can't be opened for writing: Permission denied")
    if writable_by_others(status):
        raise UnsafeFolder(f"{path} can be written to by other users: chmod go-w {path}")


def writable_by_others(status: os.stat_result) -> bool:
    """True if users other than root and that of this process can write to a file or folder."""
    return bool(status.st_mode & 0o022) or status.st_uid not in (0, os.geteuid())


def _is_volatile(path: Path, mounts: Path) -> bool:
    """Return True if a folder is on a tmpfs, by the list of mounts."""
    try:
        lines = [line.split(" ") for line in mounts.read_text(errors="surrogateescape").splitlines()]
    except OSError:
        return False
    path = path.resolve()
    # Later mounts cover earlier ones. Spaces in a path are written as \\040: such a mount is no tmpfs here.
    found = [(len(place), kind) for _, place, kind, *_ in lines if path.is_relative_to(place)]
    longest = max((length for length, _ in found), default=0)
    return [kind for length, kind in found if length == longest][-1:] == ["tmpfs"]


def _is_ours(path: Path) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def _made(path: Path, mode: int) -> Path:
    try:
        path.mkdir(mode=mode)
        path.chmod(mode)
    except FileExistsError:
        pass
    except OSError as error:
        raise UnsafeFolder(f"{path} can't be made: {error.strerror}") from None
    try:
        status = path.lstat()
    except OSError as error:
        raise UnsafeFolder(f"{path}: {error.strerror}") from None
    if not stat.S_ISDIR(status.st_mode):
        raise UnsafeFolder(f"{path} is not a folder")
    if status.st_uid != os.geteuid():
        raise UnsafeFolder(f"{path} belongs to another user")
    if status.st_mode & 0o022:
        raise UnsafeFolder(f"{path} can be written to by other users: chmod go-w {path}")
    if mode == 0o700 and status.st_mode & 0o077:
        path.chmod(mode)
    return path
