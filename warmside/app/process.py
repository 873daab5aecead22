"""What a process of warmside's has to do once: its log, its signals, its garbage."""

import gc
import signal
from collections.abc import Callable
from typing import Any

from twisted.logger import ILogObserver

from warmside.app import logs
from warmside.config.loader import ConfigError
from warmside.config.settings import Config


def log_observer(config: Config) -> ILogObserver:
    """The observer that a configuration asks for.

    :raises ConfigError: its log file can't be opened.
    """
    try:
        return logs.observer(config.log)
    except OSError as error:
        raise ConfigError(
            config.path, key="log.file", shown=f'"{config.log.file}"', message=f"it can't be opened: {error.strerror}"
        ) from None


def on_hangup(reactor: Any, call: Callable[[], None]) -> None:
    """Have something called on SIGHUP, on the reactor's thread."""
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(call))


def collect_less() -> None:
    """Leave what was imported out of the garbage collector's rounds, and make these rarer.

    Logins leave few cycles behind; the rounds took an eighth of the CPU time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def log_to(observer: ILogObserver) -> None:
    """Begin to log, and let whatever is printed and every warning go to the log, too."""
    from twisted.logger import globalLogBeginner

    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=True)
