"""Open all stores of a process: those of this machine, and over them those that several machines share."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from warmside.app import resources
from warmside.app.cleanup import Cleanup
from warmside.app.resources import Paths, config_errors_for
from warmside.app.shared import SharedParts, open_shared
from warmside.config.reloading import ReloadingFile
from warmside.config.settings import Config
from warmside.sessions.passwords import OneTimePasswords, Stores
from warmside.store.accepted import AcceptedPasswords
from warmside.store.ends import SQLiteEnds
from warmside.store.interface import FailureCounters, KnownUsers, PasswordStore
from warmside.store.metered import MeteredStore
from warmside.store.sqlite import SQLiteFailureCounters, SQLiteStore
from warmside.store.verdicts import SQLiteVerdicts
from warmside.web.metrics import Metrics


@dataclass(frozen=True)
class OpenStores:
    """All stores of a process.

    :param plain: one-time passwords of this machine, for the check of the file.
    :param stores: what warming uses; the store of `Stores.credentials` redeems all passwords.
    :param shared: the parts on Redis; ``None`` without ``shared.url``.
    :param cleanup: removes expired entries.
    """

    plain: PasswordStore
    stores: Stores
    counters: FailureCounters
    accepted: AcceptedPasswords
    users: KnownUsers
    shared: SharedParts | None
    cleanup: Cleanup


def open_stores(
    config: Config,
    reactor: Any,
    paths: Paths,
    metrics: Metrics,
    password: "ReloadingFile[str] | None",
    closing: AsyncExitStack,
) -> OpenStores:
    """Open the stores, and start to connect to Redis, if there is one.

    :param password: the content of ``shared.password_file``.
    :param closing: closes them.
    :raises StartError: a file can't be opened. Those that were opened before are in ``closing``.
    """
    shared = open_shared(config, reactor, password, metrics)
    if shared is not None:
        closing.push_async_callback(shared.client.close)
    with config_errors_for(config, "passwords.store", config.passwords.store):
        plain = SQLiteStore(paths.store)
        closing.push_async_callback(plain.close)
        counters = SQLiteFailureCounters(paths.store)
        closing.callback(counters.close)
        verdicts = SQLiteVerdicts(paths.store)
        closing.callback(verdicts.close)
        ends = SQLiteEnds(paths.store)
        closing.callback(ends.close)
    accepted = resources.open_accepted(paths)
    closing.callback(accepted.close)
    users = resources.open_users(config, paths.users)
    local = MeteredStore(plain, metrics.password)
    lifetime = config.passwords.lifetime
    passwords = OneTimePasswords(local, lifetime, None if shared is None else shared.asked_elsewhere)
    cleanup = Cleanup(reactor, *(each.sweep for each in (local, counters, verdicts, ends, accepted)))
    if shared is None:
        closing.callback(users.close)
        return OpenStores(plain, Stores(passwords, passwords, verdicts, ends), counters, accepted, users, None, cleanup)
    users = shared.users(users)
    closing.callback(users.close)
    everywhere = OneTimePasswords(MeteredStore(shared.passwords(plain), metrics.password), lifetime)
    stores = Stores(passwords, everywhere, verdicts, shared.ends(ends))
    opened = OpenStores(plain, stores, shared.counters(counters), accepted, users, shared, cleanup)
    shared.start()
    return opened
