"""The service under twistd: errors before the fork, and one start."""

import io
import os
import signal
import sys
from typing import Any

from twisted.application.service import Application, IService
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver
from twisted.trial.unittest import TestCase

from tests.app.configuration import Databases, folder_for
from tests.support import logging
from warmside.app import daemon
from warmside.app.daemon import Daemon, Options, makeService
from warmside.app.service import StartError
from warmside.service import makeService as alias

reactor: Any = installed_reactor


class Service:
    """A service that records the calls."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[str] = []
        self._error = error

    async def serve(self) -> None:
        self.calls.append("serve")
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        self.calls.append("close")

    def reload(self) -> None:
        self.calls.append("reload")


class Stderr(io.StringIO):
    """A stream with a descriptor, as a log needs it."""

    def fileno(self) -> int:
        return 2


class Daemons(TestCase):
    """The test methods may be coroutines."""

    timeout = 60

    def setUp(self) -> None:
        self.folder = folder_for(self)
        self.stderr = Stderr()
        self.patch(sys, "stderr", self.stderr)
        self.patch(sys, "__stderr__", self.stderr)
        self.patch(daemon, "collect_less", lambda: None)
        self.notified: list[str] = []
        self.patch(daemon, "notify", self.notified.append)
        self.addCleanup(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))

    def options(self, **parent: Any) -> Any:
        options: Any = Options()
        options.parent = parent
        options.parseOptions(["--config", str(self.folder.toml)])
        return options

    def refused(self, call: Any) -> str:
        """Return the text on stderr of a call that exits with status 2."""
        with self.assertRaises(SystemExit) as raised:
            call()
        self.assertEqual(raised.exception.code, 2)
        self.assertEqual(self.stderr.getvalue().count("\n"), 1)
        return self.stderr.getvalue()

    async def test_what_make_service_has_opened_is_served_and_closed(self) -> None:
        databases = Databases(self)
        made = makeService(self.options(nodaemon=True))
        self.assertEqual(databases.opened, [], "a SQLite connection must not cross the fork of twistd")
        warmside: Any = made._warmside
        self.addCleanup(lambda: Deferred.fromCoroutine(warmside.close(0)))
        made.privilegedStartService()
        made.startService()
        self.assertIsNotNone(warmside.authority)
        self.assertEqual(len(databases.opened), 6)
        await made.stopService()
        self.assertEqual(databases.open(), 0)
        self.assertIn("STOPPING=1", self.notified)

    def test_an_error_in_open_exits_with_2_and_names_the_key(self) -> None:
        self.folder.write('[extauth]\nlisten = "unix:/no/such/x.sock"\n')
        options = self.options(nodaemon=True)
        self.assertIn('extauth.listen = "unix:/no/such/x.sock": No such file', self.refused(lambda: alias(options)))

    def test_an_error_in_the_configuration_exits_with_2(self) -> None:
        self.folder.write("[passwords]\nlifetime = 0\n")
        self.assertIn("passwords.lifetime = 0", self.refused(lambda: self.options(nodaemon=True)))

    def test_a_log_file_that_can_not_be_opened_exits_with_2(self) -> None:
        self.folder.write('[log]\nfile = "/no/such/log"\n')
        self.assertIn("log.file", self.refused(lambda: self.options(nodaemon=True)))

    def test_a_daemon_needs_a_log_file(self) -> None:
        self.assertIn("log.file: a daemon has no stderr", self.refused(lambda: self.options(nodaemon=False)))

    def test_a_wrong_option_exits_with_2(self) -> None:
        self.assertIn("--nonsense", self.refused(lambda: Options().parseOptions(["--nonsense"])))

    def test_the_version_is_printed(self) -> None:
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        with self.assertRaises(SystemExit) as raised:
            Options().parseOptions(["--version"])
        self.assertEqual(raised.exception.code, 0)
        self.assertTrue(out.getvalue().startswith("warmside "))

    def test_in_the_foreground_twistd_writes_no_pid_file_unless_one_is_named(self) -> None:
        for name, kept in (("twistd.pid", ""), ("/run/x.pid", "/run/x.pid")):
            options = self.options(nodaemon=True, pidfile=name)
            self.assertEqual(options.parent["pidfile"], kept)

    def test_the_log_of_the_configuration_is_that_of_the_application(self) -> None:
        log = self.folder.path / "log"
        self.folder.write(f'[log]\nfile = "{log}"\n')
        application: Any = Application("warmside")
        options = self.options(nodaemon=True)
        Daemon(Service(), reactor, options.log_observer).setServiceParent(application)  # type: ignore[arg-type]
        self.assertIs(application.getComponent(ILogObserver), options.log_observer)
        self.assertEqual(len(application.getComponent(IService).services), 1)
        self.assertIsNone(self.options(nodaemon=True, logfile="other").log_observer)

    def test_systemd_is_notified_once_the_reactor_runs(self) -> None:
        memory: Any = MemoryReactorClock()
        Daemon(Service(), memory, None).privilegedStartService()  # type: ignore[arg-type]
        self.assertEqual(self.notified, [])
        memory.run()
        self.assertEqual(self.notified, ["READY=1"])

    def test_an_error_in_serve_stops_the_reactor_and_exits_with_2(self) -> None:
        memory: Any = MemoryReactorClock()
        with logging() as logged:
            Daemon(Service(StartError("port taken")), memory, None).privilegedStartService()  # type: ignore[arg-type]
        self.assertEqual(self.stderr.getvalue(), "warmside: port taken\n")
        self.assertTrue(any("port taken" in line for line in logged))
        self.assertIn((memory.stop, (), {}), memory.whenRunningHooks)
        self.assertEqual(memory.triggers["after"]["shutdown"], [(os._exit, (2,), {})])

    async def test_sighup_reloads(self) -> None:
        service = Service()
        memory: Any = MemoryReactorClock()
        memory.callFromThread = lambda call: call()
        made = Daemon(service, memory, None)  # type: ignore[arg-type]
        made.startService()
        signal.raise_signal(signal.SIGHUP)
        await made.stopService()
        self.assertEqual(service.calls, ["reload", "close"])
