"""Prepare a process that was just started. Standard library only, and little of it: the relay loads it, too."""

import os
import resource
import stat
import sys


def prepare() -> None:
    """Make the process independent of what it inherits: closed descriptors, filters of warnings, core dumps."""
    _open_missing_streams()
    disable_core_dumps()
    if any(option.strip().startswith("e") for option in sys.warnoptions):
        import warnings

        # PYTHONWARNINGS=error would turn a warning of any library into an exception.
        warnings.simplefilter("default")


def disable_core_dumps() -> None:
    """Set the limit of core dumps to 0, also for child processes: memory holds passwords."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def is_pipe(fd: int) -> bool:
    """Return True if another program is at the other end of a file descriptor."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _open_missing_streams() -> None:
    """Open /dev/null in place of closed descriptors below 3.

    Otherwise the next socket or database would get such a number, and log messages would be written to it.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # open returns the lowest free number
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = sys.__stderr__ = open(2, "w", closefd=False)  # type: ignore[misc]  # noqa: SIM115
