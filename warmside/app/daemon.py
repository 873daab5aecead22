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
from warmside.app.process import collect_less, log_observer, on_hangup
from warmside.app.service import StartError, WarmsideService
from warmside.config.loader import DEFAULT_PATH, ConfigError, load
from warmside.config.settings import Config


class Options(usage.Options):
    """The options of ``twistd warmside``. Whatever is wrong ends in a line on stderr and exit status 2."""

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
        """Read the configuration, and let twistd log where it says, unless it was told otherwise itself."""
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
            parent["pidfile"] = ""  # twistd's default, in whatever folder this happens to be


class Daemon(Service):
    """`WarmsideService` as one of twistd's services."""

    log = Logger()

    def __init__(self, warmside: WarmsideService, reactor: Any, log_observer: "ILogObserver | None") -> None:
        self._warmside = warmside
        self._reactor = reactor
        self._log_observer = log_observer

    def setServiceParent(self, parent: Any) -> None:
        """Join twistd's application, and have it log where the configuration says; its own default is stdout."""
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        if self._log_observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._log_observer)

    def privilegedStartService(self) -> None:
        """Open the store and listen; `makeService` has seen that it can be done."""
        Deferred.fromCoroutine(self._warmside.start()).addCallbacks(self._serves, self._failed)

    def _serves(self, _: object) -> None:
        self._reactor.callWhenRunning(notify, "READY=1")

    def _failed(self, failure: Failure) -> None:
        """Something has changed since `makeService` looked: end, with the status of a bad configuration."""
        self.log.critical("{reason}", reason=failure.getErrorMessage())
        print(f"warmside: {failure.getErrorMessage()}", file=sys.__stderr__)
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, 2)
        self._reactor.callWhenRunning(self._reactor.stop)

    def startService(self) -> None:
        """From now on SIGHUP reads again what may have changed."""
        super().startService()  # type: ignore[no-untyped-call]
        on_hangup(self._reactor, self._warmside.reload)
        collect_less()

    def stopService(self) -> "Deferred[None]":
        """Stop; see `WarmsideService.stop`."""
        notify("STOPPING=1")
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._warmside.stop())


def makeService(options: Options) -> Daemon:
    """What twistd runs; whatever keeps it from starting is said while there is a stderr to say it on."""
    from twisted.internet import reactor

    try:
        warmside = WarmsideService(options.config, reactor, shared=False)
        warmside.check_resources()
    except (ConfigError, StartError) as error:
        _refuse(str(error))
    return Daemon(warmside, reactor, options.log_observer)


def _refuse(message: str) -> NoReturn:
    print(f"warmside: {message}", file=sys.stderr)
    raise SystemExit(2)
