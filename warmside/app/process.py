"""Set up a process once: log, signals, garbage collection."""

import gc
import resource
import signal
from collections.abc import Callable
from typing import Any

from twisted.logger import ILogObserver

from warmside.app import logs
from warmside.config.loader import ConfigError
from warmside.config.settings import Config

MAX_FILES = 4096
"""Open files that are enough for all connections of one process."""


def log_observer(config: Config) -> ILogObserver:
    """The observer for the ``[log]`` table of a configuration.

    :raises ConfigError: its log file can't be opened.
    """
    try:
        return logs.observer(config.log)
    except OSError as error:
        raise ConfigError(
            config.path, key="log.file", shown=f'"{config.log.file}"', message=f"can't be opened: {error.strerror}"
        ) from None


def on_hangup(reactor: Any, call: Callable[[], None]) -> None:
    """Call a function on SIGHUP, on the reactor's thread."""
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(call))


def allow_more_files() -> None:
    """Raise the limit of open files to `MAX_FILES`, if the system allows it: 1,024 is the usual one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def collect_less() -> None:
    """Exclude the imported modules from garbage collection, and collect less often.

    Logins leave few cycles behind; collecting took an eighth of the CPU time. A collection of the second generation
    visits 100,000 objects at most, which takes 20 ms; a full one is rare.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 5, 200)


def log_to(observer: ILogObserver) -> None:
    """Begin to log, and redirect prints and warnings to the log."""
    from twisted.logger import globalLogBeginner

    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=True)
