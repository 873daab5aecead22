"""Running ``warmside extauth``: the service under a supervisor, the protocol on stdin and stdout."""

import os
import sys
import threading
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.stdio import StandardIO
from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import implementer

from warmside import __version__, logs
from warmside.config import ConfigError, Log, load
from warmside.extauth.protocol import ExtauthProtocol
from warmside.extauth.stdio import Streams
from warmside.service import StartError, Warmside, log_to, on_hangup
from warmside.supervisor import Running, Supervisor

EXIT_USAGE = 2
TIME_TO_END = 0.6
"""Seconds for what is under way when stdin ends."""
LAST_MOMENT = 0.9
"""Seconds after stdin's end at which the process is gone, whatever it still waits for."""


@implementer(ILogObserver)
class _CurrentLog:
    """Logs where the configuration says, and to stderr as long as none could be read."""

    def __init__(self) -> None:
        self._settings = Log(None, "text")
        self._observer = logs.observer(self._settings)

    def use(self, settings: Log) -> None:
        """:raises StartError: the log file can't be opened; the log stays where it was."""
        if settings != self._settings:
            try:
                self._observer = logs.observer(settings)
            except OSError as error:
                raise StartError(f"log.file can't be opened: {error}") from None
            self._settings = settings

    def __call__(self, event: LogEvent) -> None:
        self._observer(event)


def run_extauth(path: Path, streams: Streams, *, terminal: bool) -> int:
    """Serve until stdin ends.

    :param path: the configuration file, read again for each attempt to start.
    :param terminal: whether stdin is a terminal: then a fault ends the process instead of being waited out.
    :returns: the exit status.
    """
    from twisted.internet import reactor

    current_log = _CurrentLog()
    log_to(current_log)
    log = Logger()
    log.info("warmside {version} as extauth program, process {pid}", version=__version__, pid=os.getpid())

    async def start() -> Running:
        config = load(path)
        current_log.use(config.log)
        service = Warmside(config, reactor, shared=True)
        await service.start()
        on_hangup(reactor, service.reload)
        return service

    if terminal:
        fault = _fault(start)
        if fault is not None:
            print(f"warmside: {fault}", file=sys.__stderr__)
            return EXIT_USAGE

    supervisor = Supervisor(reactor, start)
    _serve(reactor, supervisor, streams)
    log.info("stdin has ended")
    return 0


def _fault(start: Any) -> str | None:
    """Why the service can't start, if it can't."""
    found: list[str] = []
    trial = Deferred.fromCoroutine(start())
    trial.addCallback(lambda service: Deferred.fromCoroutine(service.stop(0)))
    trial.addErrback(lambda failure: found.append(str(failure.trap(ConfigError, StartError) and failure.value)))
    return found[0] if found else None


def _serve(reactor: Any, supervisor: Supervisor, streams: Streams) -> None:
    def stdin_ended() -> None:
        last_moment = threading.Timer(LAST_MOMENT, os._exit, [0])
        last_moment.daemon = True
        last_moment.start()
        if reactor.running:
            reactor.stop()

    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(supervisor.end(TIME_TO_END)))
    protocol = ExtauthProtocol(supervisor.authority, stdin_ended)
    reactor.callWhenRunning(supervisor.begin)
    stdio: Any = StandardIO
    reactor.callWhenRunning(lambda: stdio(protocol, stdin=streams.questions, stdout=streams.answers))
    reactor.run()
