"""Opening what a configuration asks for: stores, users, metrics, the ways to managers, authorities.

What goes wrong names the file, the key and the value. What was opened is closed by `Parts.close`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError

from warmside.app import listening
from warmside.bosh.transport import ConnectionManager
from warmside.config.folders import UnsafeFolder, private_folder, runtime_folder, state_folder
from warmside.config.loader import ConfigError
from warmside.config.reloading import FileRefused, ReloadingFile
from warmside.config.settings import Bosh, Config
from warmside.extauth.authorities import IAuthority
from warmside.extauth.handlers import AuthorityAdapter, OneTimeAuthority, RequestHandler, UsersAuthority
from warmside.extauth.isusercache import StaleIsUserCache
from warmside.extauth.plugins import NoSuchAuthority, find_maker, make_authority
from warmside.extauth.program import ProgramAuthority
from warmside.extauth.webapp import WebAppAuthority, read_secret
from warmside.store.interface import FailureCounters, KnownUsers, PasswordStore, StoreError
from warmside.store.metered import MeteredStore
from warmside.store.sqlite import SQLiteFailureCounters, SQLiteKnownUsers, SQLiteStore
from warmside.store.users import ConstantUsers
from warmside.web.admins import read_admins
from warmside.web.metrics import open_metrics


class StartError(Exception):
    """The service can't start, though the configuration is right: a port, a folder or the store."""


class Parts:
    """The parts of one service.

    :raises ConfigError: a file that the configuration names can't be used.
    """

    def __init__(self, config: Config, reactor: Any) -> None:
        self.config = config
        self._reactor = reactor
        self._managers: dict[str, ConnectionManager] = {}
        self._closers: list[Callable[[], Any]] = []
        self.admins = self._watched(
            "admins.file", config.admins.file, lambda path: read_admins(path, config.admins.accounts)
        )
        self.secret = self._watched("extauth.secret_file", config.extauth.secret_file, read_secret)
        for name in config.admins.narrowed:
            if name not in config.admins.accounts and (self.admins is None or name not in self.admins.content):
                raise ConfigError(
                    config.path,
                    key=f'admin."{name}"',
                    message="there is no such admin, neither in admins.file nor in admins.accounts",
                )
        self._maker: Callable[[Any], IAuthority] | None = None
        if config.extauth.authority is not None:
            try:
                self._maker = find_maker(config.extauth.authority)
            except NoSuchAuthority as error:
                raise self._config_error("extauth.authority", config.extauth.authority, error) from None

    def open_files(self) -> None:
        """Open the store, the counts, the users and the metrics.

        :raises StartError: one of them can't be opened.
        """
        with self.config_errors_for("passwords.store", self.config.passwords.store):
            runtime_folder()
            path = self._store_path()
            store = SQLiteStore(path)
            self.on_close(lambda: Deferred.fromCoroutine(store.close()))
            self.counts: FailureCounters = SQLiteFailureCounters(path)
            self.on_close(self.counts.close)
            folder = private_folder() / "metrics"
            folder.mkdir(mode=0o700, exist_ok=True)
            self.metrics = open_metrics(folder)
            self.on_close(self.metrics.close)
        self.store: PasswordStore = MeteredStore(store, self.metrics.password)
        with self.config_errors_for("extauth.users_file", self.config.extauth.users_file or "(in the state folder)"):
            self.users = self._open_users()

    def open_authority(self) -> RequestHandler:
        """Who answers ejabberd.

        :raises StartError: it can't be made.
        """
        settings = self.config.extauth
        following: RequestHandler
        if settings.program is not None:
            following = StaleIsUserCache(ProgramAuthority(self._reactor, settings.program, settings.program_copies))
        elif settings.url is not None:
            following = StaleIsUserCache(WebAppAuthority(self._reactor, settings.url, self.secret))
        elif self._maker is not None:
            with self.config_errors_for("extauth.authority", settings.authority):
                following = StaleIsUserCache(AuthorityAdapter(make_authority(self._maker, self._reactor)))
        else:
            following = UsersAuthority(self.users)
        self.on_close(following.close)
        return OneTimeAuthority(self.store, following)

    def manager(self, settings: Bosh) -> ConnectionManager:
        """The one way to a manager: hosts that share its address share its connections."""
        manager = self._managers.get(settings.url)
        if manager is None:
            every = (self.config.bosh, *self.config.host.values())
            connections = min(each.connections for each in every if each.url == settings.url)
            manager = ConnectionManager(
                self._reactor, settings.url, connections, settings.ca_file, self.metrics.connections
            )
            self._managers[settings.url] = manager
            self.on_close(manager.close)
        return manager

    def on_close(self, call: Callable[[], Any]) -> None:
        """Have something called by `close`."""
        self._closers.append(call)

    def close(self) -> "list[Deferred[None]]":
        """Let go of everything, the last first; returns what takes a while."""
        closing = []
        while self._closers:
            result = self._closers.pop()()
            if isinstance(result, Deferred):
                closing.append(result)
        return closing

    @contextmanager
    def config_errors_for(self, key: str, value: object) -> Iterator[None]:
        """Turn what goes wrong into a `StartError` that names the file, the key and the value."""
        try:
            yield
        except (CannotListenError, OSError) as error:
            reason = listening.in_words(error)
        except (StoreError, UnsafeFolder, NoSuchAuthority) as error:
            reason = str(error)
        else:
            return
        raise StartError(f'{self.config.path}: {key} = "{value}": {reason}')

    def _watched(self, key: str, path: Path | None, read: Callable[[Path], Any]) -> "ReloadingFile[Any] | None":
        try:
            return ReloadingFile(path, read) if path is not None else None
        except FileRefused as error:
            raise self._config_error(key, path, error) from None

    def _config_error(self, key: str, value: object, error: Exception) -> ConfigError:
        return ConfigError(self.config.path, key=key, shown=f'"{value}"', message=str(error))

    def _store_path(self) -> Path | None:
        where = self.config.passwords.store
        if where == "sqlite://:memory:":
            return None
        if where == "sqlite":
            return private_folder() / "passwords.sqlite"
        return Path(where.removeprefix("sqlite://"))

    def _open_users(self) -> KnownUsers:
        settings = self.config.extauth
        if settings.program or settings.url or settings.authority or settings.users == "none":
            return ConstantUsers(everyone=False)
        if settings.users == "any":
            return ConstantUsers(everyone=True)
        users = SQLiteKnownUsers(settings.users_file or state_folder() / "users.sqlite")
        self.on_close(users.close)
        return users
