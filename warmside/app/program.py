"""Running ``warmside extauth``: the service under a supervisor, the protocol on stdin and stdout."""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import implementer

from warmside import __version__
from warmside.app import logs
from warmside.app.process import collect_less, log_observer, log_to, on_hangup
from warmside.app.service import StartError, WarmsideService
from warmside.app.stdio import Streams
from warmside.app.supervisor import Supervisor
from warmside.config.loader import ConfigError, load
from warmside.config.settings import Config, Log
from warmside.extauth.immediate import ImmediateStandardIO
from warmside.extauth.protocol import ExtauthProtocol
from warmside.extauth.relay import is_pipe
from warmside.extauth.request import ExtauthRequest

EXIT_USAGE = 2
TIME_TO_ANSWER = 0.2
"""Seconds after stdin's end for questions that wait for a program or a web application."""
TIME_TO_END = 0.5
"""Seconds for what is under way when stdin ends."""
TIME_TO_FINISH = 10.0
"""Seconds for what is under way when the process is to end but ejabberd stays (SIGTERM)."""
LAST_MOMENT = 0.9
"""Seconds after stdin's end at which the process is gone, whatever it still waits for."""


@implementer(ILogObserver)
class _CurrentLog:
    """Logs where the configuration says, and to stderr as long as none could be read."""

    def __init__(self) -> None:
        self._settings = Log(None, "text")
        self._observer = logs.observer(self._settings)

    def use(self, config: Config) -> None:
        """:raises ConfigError: the log file can't be opened; the log stays where it was."""
        if config.log != self._settings:
            self._observer = log_observer(config)
            self._settings = config.log

    def __call__(self, event: LogEvent) -> None:
        self._observer(event)


def run_extauth(path: Path, streams: Streams, *, usage_fault: str | None = None) -> int:
    """Serve until stdin ends.

    With a pipe on stdin a fault is waited out; without, it ends the process.

    :param path: the configuration file, read again for each attempt to start.
    :param usage_fault: what is wrong with the command line, if something is: no attempt can help then.
    :returns: the exit status.
    """
    from twisted.internet import reactor

    current_log = _CurrentLog()
    log_to(current_log)
    log = Logger()
    log.info("warmside {version} as extauth program, process {pid}", version=__version__, pid=os.getpid())
    running: list[WarmsideService] = []

    async def start() -> WarmsideService:
        if usage_fault is not None:
            raise StartError(usage_fault)
        config = load(path)
        current_log.use(config)
        service = WarmsideService(config, reactor, shared=True)
        await service.start()
        running[:] = [service]
        return service

    def count(question: ExtauthRequest | None, yes: bool) -> None:
        for service in running:
            service.metrics.answer(question, yes)

    if not is_pipe(streams.questions):
        try:
            if usage_fault is not None:
                return EXIT_USAGE
            WarmsideService(load(path), reactor, shared=True).check_resources()
        except (ConfigError, StartError) as fault:
            print(f"warmside: {fault}", file=sys.__stderr__)
            return EXIT_USAGE

    def reload() -> None:
        for service in running:
            service.reload()

    on_hangup(reactor, reload)
    _serve(reactor, Supervisor(reactor, start), streams, count)
    log.info("ended")
    return EXIT_USAGE if usage_fault is not None else 0


def _serve(
    reactor: Any, supervisor: Supervisor, streams: Streams, count: Callable[[ExtauthRequest | None, bool], None]
) -> None:
    log = Logger()
    time_to_end = TIME_TO_FINISH
    ending = False

    def stdin_ended() -> None:
        nonlocal time_to_end
        if not ending:
            log.info("stdin has ended")
        time_to_end = TIME_TO_END
        reactor.callLater(TIME_TO_ANSWER, all_answered)
        last_moment = threading.Timer(LAST_MOMENT, os._exit, [0])
        last_moment.daemon = True
        last_moment.start()

    def all_answered() -> None:
        with suppress(ReactorNotRunning):
            reactor.stop()

    reactor.callWhenRunning(collect_less)

    def end() -> "Deferred[None]":
        nonlocal ending
        ending = True
        # The stream is closed before the rest is: ejabberd asks another copy then, instead of waiting for this one.
        return Deferred.fromCoroutine(supervisor.end(time_to_end, protocol.finish))

    reactor.addSystemEventTrigger("before", "shutdown", end)
    protocol = ExtauthProtocol(supervisor.authority, stdin_ended, all_answered, count)
    reactor.callWhenRunning(supervisor.begin)
    reactor.callWhenRunning(lambda: ImmediateStandardIO(protocol, stdin=streams.questions, stdout=streams.answers))
    reactor.run()
