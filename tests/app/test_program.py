"""`warmside extauth` on pipes: the end of stdin, SIGTERM, errors that pass."""

import io
import os
import select
import signal
import struct
import sys
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.app.configuration import folder_for
from tests.support import logging, now
from warmside.app import logs, program
from warmside.app.program import (
    CLOSE_TIMEOUT,
    EXIT_TIMEOUT,
    RESPONSE_TIMEOUT,
    SIGTERM_TIMEOUT,
    ExtauthProgram,
)
from warmside.app.service import StartError
from warmside.app.stdio import Streams
from warmside.app.supervisor import RETRY_INTERVAL
from warmside.config.settings import Config
from warmside.extauth.authorities import Authority
from warmside.extauth.handlers import AuthorityAdapter

ACCEPTED, REJECTED = b"\0\2\0\1", b"\0\2\0\0"


class Accepting(Authority):
    """Accept every user."""

    def isuser(self, user: str, host: str) -> bool:
        return True


class Service:
    """Stand in for `WarmsideService` and record the calls."""

    made: "list[Service]" = []
    error: Exception | None = None

    def __init__(self, config: Config, reactor: Any, *, shared: bool, record: object = None) -> None:
        self.authority = AuthorityAdapter(Accepting())
        self.calls: list[object] = []
        self.made.append(self)
        assert shared

    def open(self) -> None:
        self.calls.append("open")
        if Service.error is not None:
            raise Service.error

    async def serve(self) -> None:
        self.calls.append("serve")

    async def close(self, within: float, last: Callable[[], None]) -> None:
        self.calls.append(("close", within))
        last()

    def reload(self) -> None:
        self.calls.append("reload")

    def answered(self, request: object, accepted: bool) -> None:
        self.calls.append(accepted)


class Timers:
    """Stand in for `threading.Timer`."""

    def __init__(self) -> None:
        self.started: list[tuple[float, Any, list[int]]] = []
        self.daemon = False

    def __call__(self, seconds: float, call: Any, arguments: list[int]) -> "Timers":
        self._made = (seconds, call, arguments)
        return self

    def start(self) -> None:
        assert self.daemon
        self.started.append(self._made)


class Programs(TestCase):
    """The program on a reactor in memory."""

    def setUp(self) -> None:
        Service.made, Service.error = [], None
        self.patch(program, "WarmsideService", Service)
        self.patch(program, "collect_less", lambda: None)
        self.timers = Timers()
        self.patch(threading, "Timer", self.timers)
        self.stderr = io.StringIO()
        self.patch(sys, "__stderr__", self.stderr)
        self.addCleanup(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))
        self.folder = folder_for(self)
        reactor: Any = MemoryReactorClock()
        reactor.callFromThread = lambda call: call()
        self.reactor = reactor

    def run_program(self, usage_error: str | None = None) -> int:
        """Run the program with pipes until its `reactor.run` returns, which is at once."""
        requests, self.requests = os.pipe()
        self.responses, responses = os.pipe()
        os.set_blocking(self.responses, False)
        for fd in (self.requests, self.responses):
            self.addCleanup(_close, fd)
        self.addCleanup(self.reactor.removeAll)
        self.program = self.made(Streams(requests, responses), usage_error)
        return self.program.run()

    def made(self, streams: Streams, usage_error: str | None = None) -> ExtauthProgram:
        # The log goes to stderr until the configuration is read, and stderr needs a descriptor then.
        self.patch(logs, "observer", lambda settings: lambda event: None)
        return ExtauthProgram(self.reactor, self.folder.toml, streams, usage_error=usage_error)

    def ask(self, payload: bytes = b"isuser:juliet:example.org") -> bytes:
        """Send a request and read the response."""
        os.write(self.requests, struct.pack("!H", len(payload)) + payload)
        self.read()
        return os.read(self.responses, 100)

    def read(self) -> None:
        """Let the reactor read."""
        for reader in select.select(self.reactor.getReaders(), [], [], 0)[0]:
            lost = reader.doRead()
            if lost is not None:
                reader.connectionLost(Failure(lost))

    def shut_down(self) -> None:
        """Do what the reactor does before it stops."""
        for call, arguments, options in self.reactor.triggers["before"]["shutdown"]:
            now(call(*arguments, **options))

    def test_requests_are_answered_and_counted(self) -> None:
        self.assertEqual(self.run_program(), 0)
        self.assertEqual(self.ask(), ACCEPTED)
        self.assertEqual(self.ask(b"nonsense"), REJECTED)
        self.assertEqual([service.calls for service in Service.made], [["open", "serve", True, False]])

    def test_the_end_of_stdin_stops_the_reactor_and_closes_the_service_in_time(self) -> None:
        self.run_program()
        with logging() as logged:
            os.close(self.requests)
            self.read()
        self.assertTrue(any("stdin has ended" in line for line in logged))
        self.assertEqual(self.timers.started, [(EXIT_TIMEOUT, os._exit, [0])])
        self.reactor.hasStopped = False  # MemoryReactor.run sets it
        self.reactor.advance(RESPONSE_TIMEOUT)
        self.assertTrue(self.reactor.hasStopped)
        self.shut_down()
        self.assertEqual(Service.made[0].calls, ["open", "serve", ("close", CLOSE_TIMEOUT)])

    def test_sigterm_closes_the_stream_when_the_service_answers_no_more(self) -> None:
        self.run_program()
        self.assertEqual(self.ask(), ACCEPTED)
        with logging() as logged:
            self.shut_down()
            self.reactor.advance(0)
        self.assertEqual(Service.made[0].calls[-1], ("close", SIGTERM_TIMEOUT))
        self.assertFalse(any("stdin has ended" in line for line in logged))
        self.assertIsNone(self.program._supervisor.authority())

    def test_an_error_rejects_requests_until_it_is_fixed(self) -> None:
        Service.error = StartError("port taken")
        with logging() as logged:
            self.run_program()
            self.assertEqual(self.ask(), REJECTED)
            Service.error = None
            self.reactor.advance(RETRY_INTERVAL)
            self.assertEqual(self.ask(), ACCEPTED)
        self.assertTrue(any("rejecting all extauth requests: port taken" in line for line in logged))
        self.assertEqual([service.calls[0] for service in Service.made], ["open", "open"])

    def test_the_configuration_is_read_for_each_attempt(self) -> None:
        self.folder.write("[passwords]\nlifetime = 0\n")
        self.run_program()
        self.assertEqual((self.ask(), Service.made), (REJECTED, []))
        self.folder.write()
        self.reactor.advance(RETRY_INTERVAL)
        self.assertEqual(self.ask(), ACCEPTED)

    def test_a_wrong_command_line_rejects_requests_as_long_as_stdin_is_open(self) -> None:
        self.assertEqual(self.run_program("its command line is wrong"), 2)
        self.reactor.advance(RETRY_INTERVAL)
        self.assertEqual((self.ask(), Service.made), (REJECTED, []))

    def test_sighup_reloads_the_service(self) -> None:
        self.run_program()
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual(Service.made[0].calls[-1], "reload")

    def test_without_a_pipe_an_error_ends_the_program_with_2(self) -> None:
        Service.error = StartError("port taken")
        self.reactor.hasRun = False  # Twisted 24.7 begins with True
        with open(os.devnull, "rb") as nothing:
            terminal = Streams(nothing.fileno(), nothing.fileno())
            self.assertEqual(self.made(terminal).run(), 2)
            self.assertEqual(self.stderr.getvalue(), "warmside: port taken\n")
            self.assertEqual(self.made(terminal, "its command line is wrong").run(), 2)
        self.assertFalse(self.reactor.hasRun)

    def test_without_a_pipe_the_service_is_opened_once(self) -> None:
        with open(os.devnull, "rb") as nothing:
            terminal = self.made(Streams(os.dup(nothing.fileno()), os.dup(nothing.fileno())))
            self.assertEqual(terminal.run(), 0)
        self.addCleanup(self.reactor.removeAll)
        self.assertEqual([service.calls for service in Service.made], [["open", "serve"]])


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass
