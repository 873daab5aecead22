"""Open what the configuration names: files, folders, databases.

Each function opens one thing and returns it; `warmside.app.service.WarmsideService` keeps and closes it.
An error names the configuration file, the key and the value.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from warmside.app.listening import reason_of
from warmside.config import endpoints, running
from warmside.config.folders import (
    UnsafeFolder,
    private_file,
    private_folder,
    runtime_folder,
    state_folder,
    volatile_folder,
)
from warmside.config.loader import ConfigError
from warmside.config.reloading import FileRefused, ReloadingFile
from warmside.config.running import OtherConfiguration, ProcessRecord
from warmside.config.settings import Config
from warmside.config.shared import read_password
from warmside.config.tables import printable
from warmside.extauth.plugins import NoSuchAuthority
from warmside.extauth.webapp import read_secret
from warmside.store import accepted
from warmside.store.accepted import AcceptedPasswords
from warmside.store.interface import KnownUsers, StoreError
from warmside.store.sqlite import SQLiteKnownUsers
from warmside.store.users import ConstantUsers
from warmside.store.usersfile import SharedUsersFile
from warmside.web.admins import read_admins

log = Logger()

SQLITE_MAGIC = b"SQLite format 3\0"
"""The first bytes of every SQLite file that is not empty."""


class StartError(Exception):
    """The service can't start although the configuration is valid: a port, a folder or a database fails."""


@dataclass(frozen=True)
class Paths:
    """Files and folders that one configuration uses.

    ``store`` is ``None`` if one-time passwords are kept in memory, ``users`` if known users are not kept.
    """

    runtime: Path
    metrics: Path
    store: Path | None
    users: Path | None


@contextmanager
def config_errors_for(config: Config, key: str, value: object) -> Iterator[None]:
    """Turn an error into a `StartError` that names the file, the key and the value."""
    try:
        yield
    except (CannotListenError, OSError) as error:
        reason = reason_of(error)
    except (StoreError, UnsafeFolder, NoSuchAuthority) as error:
        reason = str(error)
    else:
        return
    raise StartError(printable(f'{config.path}: {key} = "{value}": {reason}'))


def find_paths(config: Config) -> Paths:
    """Make the folders, and check that each file can be used.

    No database is opened: SQLite connections must not cross the fork of a daemon, and a daemon has no stderr to
    report an error on.

    :raises StartError: a folder can't be made or is unsafe, or a file is none of SQLite's.
    """
    with runtime_folder_errors(config):
        runtime = runtime_folder()
        metrics = private_folder() / "metrics"
        metrics.mkdir(mode=0o700, exist_ok=True)
    with config_errors_for(config, "passwords.store", config.passwords.store):
        store = _store_path(config.passwords.store)
        _check_database(store)
    with users_file_errors(config):
        users = users_path(config)
        _check_database(users)
    return Paths(runtime, metrics, store, users)


def claim(config: Config, paths: Paths, record: ProcessRecord) -> None:
    """Record that this process serves a configuration.

    :raises StartError: another configuration is served on its port or in its runtime folder.
    """
    listens = (*config.http.listen, *config.extauth.listen)
    try:
        with runtime_folder_errors(config):
            record.claim(running.describe(config.path, listens, paths.runtime, paths.store, paths.users))
    except OtherConfiguration as error:
        raise StartError(printable(f"{config.path}: {error}")) from None


def open_accepted(paths: Paths) -> AcceptedPasswords:
    """Open the accepted passwords: on a tmpfs, or else in this process's memory. Nothing is written to a disk.

    A failure of the file is logged: then other processes don't know which passwords this one accepted.
    """
    scope = str(paths.runtime.resolve())
    try:
        folder = volatile_folder() if paths.store is not None else None
        return AcceptedPasswords(folder and folder / accepted.NAME, scope)
    except (StoreError, UnsafeFolder) as error:
        log.warn("processes do not share accepted passwords: {reason}", reason=str(error))
        return AcceptedPasswords(None, scope)


@contextmanager
def runtime_folder_errors(config: Config) -> Iterator[None]:
    """Turn an error about the runtime folder into a `StartError`. No key of the configuration names the folder."""
    try:
        yield
    except (OSError, UnsafeFolder) as error:
        raise StartError(f"{config.path}: runtime folder (see RUNTIME_DIRECTORY): {error}") from None


def users_file_errors(config: Config) -> AbstractContextManager[None]:
    """See `config_errors_for`; for the file of known users."""
    return config_errors_for(config, "extauth.users_file", config.extauth.users_file or "(in the state folder)")


def admins_file(config: Config) -> "ReloadingFile[dict[str, bytes]] | None":
    """Read the admins file.

    :raises ConfigError: it can't be used, or ``[admin."NAME"]`` names an admin that does not exist.
    """
    admins = _reloading("admins.file", config, config.admins.file, lambda it: read_admins(it, config.admins.accounts))
    for name in config.admins.narrowed:
        if name not in config.admins.accounts and (admins is None or name not in admins.content):
            message = "there is no such admin, neither in admins.file nor in admins.accounts"
            raise ConfigError(config.path, key=f'admin."{name}"', message=message)
    return admins


def secret_file(config: Config) -> "ReloadingFile[str] | None":
    """Read the secret for the web application that answers for ordinary passwords.

    :raises ConfigError: the file can't be used.
    """
    return _reloading("extauth.secret_file", config, config.extauth.secret_file, read_secret)


def shared_password(config: Config) -> "ReloadingFile[str] | None":
    """Read Redis's password.

    :raises ConfigError: the file can't be used.
    """
    return _reloading("shared.password_file", config, config.shared.password_file, read_password)


def open_users(config: Config, path: Path | None) -> KnownUsers:
    """Open the users for ``extauth.users``; the machine's file where several machines share them.

    :param path: `Paths.users`.
    :raises StartError: the file can't be opened.
    """
    if path is None:
        setting = _users_setting(config)
        return ConstantUsers(setting == "extauth.users" and config.extauth.users == "any", setting)
    with users_file_errors(config):
        return SQLiteKnownUsers(path) if config.shared.url is None else SharedUsersFile(path)


def check_shareable(config: Config) -> None:
    """Check that several processes can serve a configuration, as processes of ``warmside extauth`` do.

    :raises ConfigError: they can't.
    """
    for key, descriptions in (("http.listen", config.http.listen), ("extauth.listen", config.extauth.listen)):
        for description in descriptions:
            if endpoints.examine(description).kind in ("unix", "other"):
                raise ConfigError(
                    config.path,
                    key=key,
                    shown=f'"{description}"',
                    message="several processes of warmside extauth can't share this socket: "
                    "give tcp: with interface=127.0.0.1, or run the daemon (twistd)",
                )
    if config.passwords.store == "sqlite://:memory:":
        raise ConfigError(
            config.path,
            key="passwords.store",
            shown='"sqlite://:memory:"',
            message="several processes of warmside extauth can't share the memory of one: "
            'give "sqlite" or "sqlite:///PATH"',
        )


def _reloading(key: str, config: Config, path: Path | None, read: Callable[[Path], Any]) -> "ReloadingFile[Any] | None":
    try:
        return ReloadingFile(path, read) if path is not None else None
    except FileRefused as error:
        raise ConfigError(config.path, key=key, shown=f'"{path}"', message=str(error)) from None


def _store_path(store: str) -> Path | None:
    if store == "sqlite://:memory:":
        return None
    if store == "sqlite":
        return private_folder() / "passwords.sqlite"
    return Path(store.removeprefix("sqlite://"))


def users_path(config: Config) -> Path | None:
    """Return the file of known users; ``None`` if the configuration names another authority on users.

    :raises UnsafeFolder: the state folder can't be made, or other users can write to it.
    """
    if _users_setting(config) != "extauth.users" or config.extauth.users != "known":
        return None
    return config.extauth.users_file or state_folder() / "users.sqlite"


def _users_setting(config: Config) -> str:
    """Return the key that decides which users exist: a program, a web application, a plugin, or ``extauth.users``."""
    keys = ("program", "url", "authority")
    return next((f"extauth.{key}" for key in keys if getattr(config.extauth, key)), "extauth.users")


def _check_database(path: Path | None) -> None:
    """Check that a file is empty or begins as one of SQLite's. Create it if it is missing.

    :raises UnsafeFolder: it can't be made, or others may write to it.
    :raises OSError: it can't be read.
    :raises StoreError: it is no database.
    """
    if path is None:
        return
    private_file(path)
    with path.open("rb") as file:
        start = file.read(len(SQLITE_MAGIC))
    if start not in (b"", SQLITE_MAGIC):
        raise StoreError(f"{path} is not a database: move it away")


async def awaited(close: "Callable[[], Deferred[None] | None]") -> None:
    """Call a function and await its result, if there is something to await."""
    closing = close()
    if closing is not None:
        await closing
