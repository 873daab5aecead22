"""The service under twistd: its options, and what twistd runs."""

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from warmside import __version__
from warmside.app.notify import notify
from warmside.app.process import allow_more_files, collect_less, log_observer, on_hangup
from warmside.app.service import StartError, WarmsideService
from warmside.config.loader import DEFAULT_PATH, ConfigError, load
from warmside.config.settings import Config
from warmside.startup import disable_core_dumps

EXIT_USAGE = 2


class Options(usage.Options):
    """The options of ``twistd warmside``. An error ends the process with a line on stderr and exit status 2."""

    optParameters = [["config", "c", str(DEFAULT_PATH), "The configuration file (TOML)."]]
    config: Config
    log_observer: "ILogObserver | None"

    def parseOptions(self, options: Any = None) -> None:
        """Parse the command line; see `usage.Options`."""
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            _refuse(f"{error}: see twistd warmside --help")

    def opt_version(self) -> None:
        """Print warmside's version and exit."""
        print(f"warmside {__version__}")
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Read the configuration. Its log is used unless an option of twistd names another one."""
        parent: Any = self.parent or {}
        elsewhere = any(parent.get(name) for name in ("logger", "logfile", "syslog"))
        try:
            self.config = load(Path(self["config"]))
            self.log_observer = None if elsewhere else log_observer(self.config)
        except ConfigError as error:
            _refuse(str(error))
        if parent and not parent.get("nodaemon") and self.config.log.file is None:
            _refuse(f"{self.config.path}: log.file: a daemon has no stderr: set it, or start with twistd -n")
        if parent.get("nodaemon") and parent.get("pidfile") == "twistd.pid":
            parent["pidfile"] = ""  # twistd's default is a file in the current folder


class Daemon(Service):
    """`WarmsideService` as one of twistd's services."""

    log = Logger()

    def __init__(self, warmside: WarmsideService, reactor: Any, log_observer: "ILogObserver | None") -> None:
        self._warmside = warmside
        self._reactor = reactor
        self._log_observer = log_observer

    def setServiceParent(self, parent: Any) -> None:
        """Join twistd's application, and let it log as the configuration says; twistd's default is stdout."""
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        if self._log_observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._log_observer)

    def privilegedStartService(self) -> None:
        """Serve with what `makeService` has opened. twistd calls this after the fork of a daemon."""
        Deferred.fromCoroutine(self._warmside.serve()).addCallbacks(self._serving, self._failed)

    def _serving(self, _: object) -> None:
        self._reactor.callWhenRunning(notify, "READY=1")

    def _failed(self, failure: Failure) -> None:
        """Exit with the status of an unusable configuration."""
        self.log.critical("{reason}", reason=failure.getErrorMessage())
        print(f"warmside: {failure.getErrorMessage()}", file=sys.__stderr__)
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, EXIT_USAGE)
        self._reactor.callWhenRunning(self._reactor.stop)

    def startService(self) -> None:
        """Let SIGHUP read the files again that may have changed."""
        super().startService()  # type: ignore[no-untyped-call]
        on_hangup(self._reactor, self._warmside.reload)
        collect_less()
        allow_more_files()

    def stopService(self) -> "Deferred[None]":
        """Stop; see `WarmsideService.close`."""
        notify("STOPPING=1")
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._warmside.close())


def makeService(options: Options) -> Daemon:
    """Open the service, and report errors while there is a stderr. Core dumps are off from here on.

    twistd forks after this, and then serves. Sockets survive the fork. Databases are checked here and opened by
    `WarmsideService.serve`: SQLite connections must not cross a fork.
    """
    from twisted.internet import reactor

    disable_core_dumps()
    warmside = WarmsideService(options.config, reactor, shared=False)
    try:
        warmside.open()
    except (ConfigError, StartError) as error:
        _refuse(str(error))
    return Daemon(warmside, reactor, options.log_observer)


def _refuse(message: str) -> NoReturn:
    print(f"warmside: {message}", file=sys.stderr)
    raise SystemExit(EXIT_USAGE)
