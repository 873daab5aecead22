"""``warmside extauth``: the service under a supervisor, the extauth protocol on stdin and stdout."""

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import implementer

from warmside import __version__
from warmside.app import logs
from warmside.app.process import allow_more_files, collect_less, log_observer, log_to, on_hangup
from warmside.app.service import StartError, WarmsideService
from warmside.app.stdio import Streams
from warmside.app.supervisor import Supervisor
from warmside.config.loader import ConfigError, load
from warmside.config.running import ProcessRecord
from warmside.config.settings import Config, Log
from warmside.extauth.immediate import ImmediateStandardIO
from warmside.extauth.protocol import ExtauthProtocol
from warmside.extauth.request import ExtauthRequest
from warmside.startup import is_pipe

EXIT_USAGE = 2
RESPONSE_TIMEOUT = 0.2
"""Seconds after the end of stdin for requests that wait for a program or a web application."""
CLOSE_TIMEOUT = 0.5
"""Seconds for what is under way when stdin ends."""
SIGTERM_TIMEOUT = 10.0
"""Seconds for what is under way when the process ends by SIGTERM while ejabberd goes on."""
EXIT_TIMEOUT = 0.9
"""Seconds after the end of stdin until the process exits, whatever is under way."""


@implementer(ILogObserver)
class CurrentLog:
    """Log as the configuration says, and to stderr until one has been read."""

    def __init__(self) -> None:
        self._settings = Log(None, "text")
        self._observer = logs.observer(self._settings)

    def use(self, config: Config) -> None:
        """Log as a configuration says.

        :raises ConfigError: the log file can't be opened; the log stays where it was.
        """
        if config.log != self._settings:
            self._observer = log_observer(config)
            self._settings = config.log

    def __call__(self, event: LogEvent) -> None:
        """Log an event."""
        self._observer(event)


class ExtauthProgram:
    """One process of ``warmside extauth``.

    :param path: the configuration file, read again for each attempt to start.
    :param streams: the descriptors of requests and responses.
    :param usage_error: the error in the command line, if there is one: every request is rejected then.
    """

    log = Logger()

    def __init__(self, reactor: Any, path: Path, streams: Streams, *, usage_error: str | None = None) -> None:
        self.current_log = CurrentLog()
        self.service: WarmsideService | None = None
        """The service that serves; ``None`` until one does."""
        self._reactor = reactor
        self._path = path
        self._streams = streams
        self._usage_error = usage_error
        self._opened: WarmsideService | None = None
        """The service that was opened before the reactor ran, until it is served."""
        self._record = ProcessRecord()
        self._close_timeout = SIGTERM_TIMEOUT
        self._ending = False
        self._supervisor = Supervisor(reactor, self.start)
        self._protocol = ExtauthProtocol(self._supervisor.authority, self.stdin_ended, self._stop_reactor, self.count)

    def run(self) -> int:
        """Serve until stdin ends or the process gets SIGTERM.

        With a pipe on stdin an error does not end the process, and the start is tried again.

        :returns: the exit status.
        """
        reactor = self._reactor
        self.log.info("warmside {version} as extauth program, process {pid}", version=__version__, pid=os.getpid())
        if not is_pipe(self._streams.requests):
            if self._usage_error is not None:
                return EXIT_USAGE
            try:
                self._opened = self._open()
            except (ConfigError, StartError) as error:
                print(f"warmside: {error}", file=sys.__stderr__)
                return EXIT_USAGE
        on_hangup(reactor, self.reload)
        reactor.addSystemEventTrigger("before", "shutdown", self.close)
        allow_more_files()
        reactor.callWhenRunning(collect_less)
        reactor.callWhenRunning(self._supervisor.begin)
        reactor.callWhenRunning(self._answer)
        reactor.run()
        self.log.info("ended")
        return EXIT_USAGE if self._usage_error is not None else 0

    async def start(self) -> WarmsideService:
        """Start the service as the configuration file says now; see `Supervisor`.

        :raises ConfigError: the configuration can't be used.
        :raises StartError: the service can't start, or the command line is wrong.
        """
        if self._usage_error is not None:
            raise StartError(self._usage_error)
        service, self._opened = self._opened or self._open(), None
        await service.serve()
        self.service = service
        return service

    def reload(self) -> None:
        """Read the files of the service again."""
        if self.service is not None:
            self.service.reload()

    def count(self, request: ExtauthRequest | None, accepted: bool) -> None:
        """Count a response to ejabberd."""
        if self.service is not None:
            self.service.answered(request, accepted)

    def stdin_ended(self) -> None:
        """End the process: there are no more requests."""
        if not self._ending:
            self.log.info("stdin has ended")
        self._close_timeout = CLOSE_TIMEOUT
        self._reactor.callLater(RESPONSE_TIMEOUT, self._stop_reactor)
        exit_timer = threading.Timer(EXIT_TIMEOUT, os._exit, [0])
        exit_timer.daemon = True
        exit_timer.start()

    def close(self) -> "Deferred[None]":
        """Close the service before the reactor stops.

        The stream to ejabberd is closed first: ejabberd sends its requests to another process then.
        """
        self._ending = True
        return Deferred.fromCoroutine(self._supervisor.end(self._close_timeout, self._protocol.finish))

    def _open(self) -> WarmsideService:
        config = load(self._path)
        self.current_log.use(config)
        service = WarmsideService(config, self._reactor, shared=True, record=self._record)
        service.open()
        return service

    def _answer(self) -> None:
        """Serve the extauth protocol."""
        ImmediateStandardIO(
            self._protocol, stdin=self._streams.requests, stdout=self._streams.responses, reactor=self._reactor
        )

    def _stop_reactor(self) -> None:
        with suppress(ReactorNotRunning):
            self._reactor.stop()


def run_extauth(path: Path, streams: Streams, *, usage_fault: str | None = None) -> int:
    """Run `ExtauthProgram` on the installed reactor; returns the exit status."""
    from twisted.internet import reactor

    program = ExtauthProgram(reactor, path, streams, usage_error=usage_fault)
    log_to(program.current_log)
    return program.run()
