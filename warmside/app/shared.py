"""Open what several machines share: the stores on Redis, each over the one of this machine."""

from dataclasses import dataclass
from typing import Any

from warmside.config.reloading import ReloadingFile
from warmside.config.settings import Config
from warmside.otp import OneTimePassword
from warmside.store.ends import SQLiteEnds
from warmside.store.interface import FailureCounters, KnownUsers, PasswordStore, SessionEnds, StoreError
from warmside.store.redisclient import RedisClient
from warmside.store.rediscounters import RedisFailureCounters, SharedCounters
from warmside.store.redisends import SharedEnds
from warmside.store.redisopen import OK
from warmside.store.redispasswords import RedisPasswords, SharedPasswords
from warmside.store.redisusers import SharedUsers
from warmside.store.usersfile import SharedUsersFile
from warmside.throttle.limits import LOCAL_KEYS
from warmside.web.metrics import Metrics

PROBE_LIFETIME = 10
"""Seconds after which the key of a check expires."""


@dataclass(frozen=True)
class SharedParts:
    """The connection to Redis, and makers of the stores that use it. Make all of them, then call `start`."""

    reactor: Any
    client: RedisClient
    metrics: Metrics

    def passwords(self, local: PasswordStore) -> PasswordStore:
        """Return the one-time passwords that are valid at every machine."""
        return SharedPasswords(local, RedisPasswords(self.client, self.metrics.fenced))

    async def asked_elsewhere(self, minted: OneTimePassword) -> bool:
        """See `RedisPasswords.asked_elsewhere`."""
        return await RedisPasswords(self.client).asked_elsewhere(minted)

    def counters(self, local: FailureCounters) -> FailureCounters:
        """Return the failure counters."""
        return SharedCounters(local, RedisFailureCounters(self.client), LOCAL_KEYS)

    def ends(self, local: SQLiteEnds) -> SessionEnds:
        """Return the ended users and sessions."""
        return SharedEnds(local, self.client, self.reactor)

    def users(self, local: KnownUsers) -> KnownUsers:
        """Return the known users; the same ones if this configuration keeps none."""
        if not isinstance(local, SharedUsersFile):
            return local
        users = SharedUsers(local, self.client, self.reactor)
        users.start()
        return users

    def start(self) -> None:
        """Connect. The service does not wait for it."""
        self.client.on_connected.append(self.metrics.redis_connected)
        self.client.start()

    async def check(self) -> str:
        """Return ``ok`` if Redis can be used and takes writes; else a word for the fault, and its cause."""
        client = self.client
        if client.state == OK:
            try:
                await client.call("SET", client.key("ready"), "", "EX", PROBE_LIFETIME)
            except StoreError as error:
                word = "full" if str(error).startswith("Redis: OOM") else "failed"
                return f"{word}: {error}" if client.state == OK else client.state
        return client.state


def open_client(
    config: Config, reactor: Any, password: "ReloadingFile[str] | None", metrics: Metrics | None = None
) -> RedisClient:
    """Return the client of ``shared.url``, which is set.

    :param password: the content of ``shared.password_file``.
    :param metrics: gets the seconds of each command.
    """
    observe = (lambda seconds: None) if metrics is None else metrics.redis_command
    return RedisClient(reactor, config.shared, lambda: None if password is None else password.content, observe)


def open_shared(
    config: Config, reactor: Any, password: "ReloadingFile[str] | None", metrics: Metrics
) -> SharedParts | None:
    """Return what several machines share; ``None`` without ``shared.url``. Close its client after all stores.

    :param password: the content of ``shared.password_file``.
    """
    if config.shared.place is None:
        return None
    return SharedParts(reactor, open_client(config, reactor, password, metrics), metrics)
