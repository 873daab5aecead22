"""Wiring: the one place that puts the parts together and decides nothing.

`Warmside` is the whole service for one configuration; `Options` and `makeService` are its shape for
twistd. ``warmside extauth`` runs the same service under `warmside.supervisor`.
"""

import gc
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from twisted.application.service import Service
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from warmside import __version__, listening, logs
from warmside.bosh.transport import Manager
from warmside.config import DEFAULT_PATH, Bosh, Config, ConfigError, load
from warmside.extauth.authorities import IAuthority, OneTimeAuthority, UsersAuthority
from warmside.extauth.users import ConstantUsers, KnownUsers, Users
from warmside.folders import UnsafeFolder, private_folder, runtime_folder, state_folder
from warmside.onetime import IStore, StoreError
from warmside.onetime.sqlite import SQLiteStore
from warmside.warm import Warmer
from warmside.web.admins import AdminRealm, AdminsError, AdminsFile, Bcrypt, FileChecker
from warmside.web.resources import Guard, HealthEndpoint, Root, WarmEndpoint
from warmside.web.site import BoundedSite

SWEEP_INTERVAL = 10.0
"""Seconds between removals of expired one-time passwords."""


class StartError(Exception):
    """The service can't start, though the configuration is right: a port, a folder or the store."""


class Warmside:
    """The service. Construct it, `start` it, `stop` it; each once.

    :param shared: whether other processes serve on the same ports, as copies of ``warmside extauth`` do.
    :raises ConfigError: the configuration can't be served.
    """

    log = Logger()

    def __init__(self, config: Config, reactor: Any, *, shared: bool) -> None:
        self.config = config
        self.authority: IAuthority | None = None
        self._reactor = reactor
        self._shared = shared
        for description in config.http.listen if shared else ():
            if listening.examine(description).kind == "unix":
                raise ConfigError(
                    config.path,
                    key="http.listen",
                    shown=f'"{description}"',
                    message="several copies of warmside extauth can't share a unix socket: "
                    "give tcp: with interface=127.0.0.1, or run the daemon (twistd)",
                )
        if shared and config.passwords.store == "sqlite://:memory:":
            raise ConfigError(
                config.path,
                key="passwords.store",
                shown='"sqlite://:memory:"',
                message="several copies of warmside extauth can't share one process's memory: "
                'give "sqlite" or "sqlite:///PATH"',
            )
        assert config.admins.file is not None
        try:
            self.admins = AdminsFile(config.admins.file)
        except AdminsError as error:
            raise ConfigError(
                config.path, key="admins.file", shown=f'"{config.admins.file}"', message=str(error)
            ) from None
        self._managers: dict[tuple[str, Path | None], Manager] = {}
        self._ports: list[IListeningPort] = []
        self._closers: list[Callable[[], Any]] = []

    async def start(self) -> None:
        """Open the store, then listen.

        :raises StartError: something that this needs is not to be had; nothing is left open then.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop(0)
            raise

    def rehearse(self) -> None:
        """Open everything that `start` needs, and close it again.

        :raises StartError: something is not to be had.
        """
        try:
            self._open_files()
        finally:
            self._close()
        for description in self.config.http.listen:
            with self._blaming("http.listen", description):
                listening.rehearse(description, shared=self._shared)

    async def stop(self, within: float = 5.0) -> None:
        """Stop listening, finish or end what is under way, revoke, let go. Takes about ``within`` seconds."""
        await DeferredList([Deferred.fromCoroutine(_stop_port(port)) for port in self._ports])
        self._ports.clear()
        if within and self.authority is not None:
            await self._warmer.close(within)
        for closing in self._close():
            await closing
        self.authority = None

    def reload(self) -> None:
        """Read again what may have changed: the admins file."""
        self.admins.reload()

    async def _start(self) -> None:
        store, users = self._open_files()
        self.log.info("runtime folder: {path}", path=str(runtime_folder()))
        self._warmer = Warmer(
            self._reactor,
            store,
            users.remember,
            self.config.bosh_for,
            lambda host: self._manager(self.config.bosh_for(host)),
            self.config.passwords.lifetime,
            lambda work: deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work),
        )
        site = BoundedSite(self._root(), self._reactor)
        for description in self.config.http.listen:
            with self._blaming("http.listen", description):
                self._ports.append(await listening.listen(self._reactor, description, site, shared=self._shared))
            self.log.info("HTTP on {where}", where=description)
        sweeper = LoopingCall(lambda: Deferred.fromCoroutine(store.sweep()).addErrback(self._sweep_failed))
        sweeper.clock = self._reactor
        sweeper.start(SWEEP_INTERVAL, now=False)
        self._closers.append(sweeper.stop)
        self.authority = OneTimeAuthority(store, UsersAuthority(users))

    def _close(self) -> list[Deferred[None]]:
        """Let go of everything, the last first; returns what takes a while."""
        closing = []
        while self._closers:
            result = self._closers.pop()()
            if isinstance(result, Deferred):
                closing.append(result)
        return closing

    def _open_files(self) -> tuple[IStore, Users]:
        with self._blaming("passwords.store", self.config.passwords.store):
            runtime_folder()
            store = self._open_store()
        with self._blaming("extauth.users_file", self.config.extauth.users_file or "(in the state folder)"):
            return store, self._open_users()

    @contextmanager
    def _blaming(self, key: str, value: object) -> Iterator[None]:
        """Turn what goes wrong into a `StartError` that names the file, the key and the value."""
        try:
            yield
        except (CannotListenError, OSError) as error:
            reason = listening.in_words(error)
        except (StoreError, UnsafeFolder) as error:
            reason = str(error)
        else:
            return
        raise StartError(f'{self.config.path}: {key} = "{value}": {reason}')

    def _open_store(self) -> IStore:
        where = self.config.passwords.store
        path: Path | None
        if where == "sqlite://:memory:":
            path = None
        elif where == "sqlite":
            path = private_folder() / "passwords.sqlite"
        else:
            path = Path(where.removeprefix("sqlite://"))
        store = SQLiteStore(path)
        self._closers.append(lambda: Deferred.fromCoroutine(store.close()))
        return store

    def _open_users(self) -> Users:
        settings = self.config.extauth
        if settings.users != "known":
            return ConstantUsers(everyone=settings.users == "any")
        users = KnownUsers(settings.users_file or state_folder() / "users.sqlite")
        self._closers.append(users.close)
        return users

    def _manager(self, settings: Bosh) -> Manager:
        """The one way to a manager: hosts that share its address share its connections."""
        key = (settings.url, settings.ca_file)
        manager = self._managers.get(key)
        if manager is None:
            sharing = [each for each in (self.config.bosh, *self.config.host.values()) if each.url == settings.url]
            connections = min(each.connections for each in sharing)
            manager = Manager(self._reactor, settings.url, connections, settings.ca_file)
            self._managers[key] = manager
            self._closers.append(manager.close)
        return manager

    def _root(self) -> Root:
        bcrypt_pool = Bcrypt(self._reactor.callFromThread)
        self._closers.append(bcrypt_pool.close)
        portal = Portal(AdminRealm(), [FileChecker(self.admins, bcrypt_pool)])
        return Root(
            {
                b"warm": WarmEndpoint(Guard(portal), self.config.policy, self._warmer),
                b"health": HealthEndpoint(),
            }
        )

    def _sweep_failed(self, failure: Failure) -> None:
        self.log.error("expired passwords were not swept away: {reason}", reason=failure.getErrorMessage())


async def _stop_port(port: IListeningPort) -> None:
    stopped = port.stopListening()
    if isinstance(stopped, Deferred):
        await stopped


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
    """`Warmside` as one of twistd's services."""

    def __init__(self, warmside: Warmside, reactor: Any, log_observer: "ILogObserver | None") -> None:
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
        failures: list[Failure] = []
        Deferred.fromCoroutine(self._warmside.start()).addErrback(failures.append)
        for failure in failures:
            failure.raiseException()

    def startService(self) -> None:
        """From now on SIGHUP reads again what may have changed."""
        super().startService()  # type: ignore[no-untyped-call]
        on_hangup(self._reactor, self._warmside.reload)
        collect_less()

    def stopService(self) -> "Deferred[None]":
        """Stop; see `Warmside.stop`."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._warmside.stop())


def makeService(options: Options) -> Daemon:
    """What twistd runs; whatever keeps it from starting is said while there is a stderr to say it on."""
    from twisted.internet import reactor

    try:
        warmside = Warmside(options.config, reactor, shared=False)
        warmside.rehearse()
    except (ConfigError, StartError) as error:
        _refuse(str(error))
    return Daemon(warmside, reactor, options.log_observer)


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


def _refuse(message: str) -> NoReturn:
    print(f"warmside: {message}", file=sys.stderr)
    raise SystemExit(2)
