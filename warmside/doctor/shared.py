"""Check of the Redis that several machines share: can it be reached, and may it be used."""

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout

from warmside.config.reloading import FileRefused
from warmside.config.settings import Config
from warmside.config.shared import read_password
from warmside.doctor.context import Context
from warmside.doctor.warming import as_owner
from warmside.findings import RESTART_WARMSIDE, Finding, make
from warmside.otp import OneTimePassword
from warmside.store.redisclient import RedisClient
from warmside.store.redisopen import (
    AWAY,
    CLUSTER,
    CONNECT_TIMEOUT,
    EVICTS,
    NO_INFO,
    OPEN,
    READ_ONLY,
    Opening,
    RedisFault,
)
from warmside.store.redispasswords import RedisPasswords
from warmside.store.redisprotocol import Connection

KEEP = "Also write it into redis.conf, so that it stays after a restart of Redis."
CURES = {
    AWAY: "Start Redis, or correct [shared] in {config}: url, password_file, ca_file. {restart}",
    CLUSTER: "Set shared.url in {config} to a single Redis that is no cluster. {restart}",
    EVICTS: "Run this command at Redis. {keep}\n$ redis-cli {where} CONFIG SET maxmemory-policy noeviction",
    NO_INFO: "Allow EVAL, EVALSHA and INFO in the ACL of warmside's user at Redis.",
    OPEN: "Set requirepass in redis.conf and restart Redis. Write the same password into the file of "
    "shared.password_file in {config}. {restart}",
    READ_ONLY: "Set shared.url in {config} to the primary, or to a name that follows it. {restart}",
}
"""Cures by the word of the fault."""


async def shared_redis(context: Context) -> Iterable[Finding]:
    """Find a Redis that is away, or that warmside refuses. No key is read or written."""
    from twisted.internet import reactor

    config = context.config
    if config is None or config.shared.place is None:
        return []
    try:
        password = _password(config)
    except (FileRefused, OSError) as error:
        context.miss(f"Redis of shared.url: its password: {error}")
        return []
    connection = Connection()
    try:
        await Opening(reactor, config.shared, lambda: password).open(connection)
    except RedisFault as fault:
        return [make("shared", fault=f"{config.shared.url}: {fault}", cure=_cure(config, fault.word))]
    connection.transport.abortConnection()
    await connection.lost
    return []


async def asked_elsewhere(config: Config, minted: OneTimePassword, reactor: Any) -> bool:
    """Return True if another machine was asked about a one-time password of this one. False without Redis."""
    try:
        password = _password(config)
    except (FileRefused, OSError):
        return False
    client = RedisClient(reactor, config.shared, lambda: password)
    connected: Deferred[None] = Deferred()
    client.on_connected.append(lambda: None if connected.called else connected.callback(None))
    client.start()
    try:
        await connected.addTimeout(CONNECT_TIMEOUT, reactor)
        return await RedisPasswords(client).asked_elsewhere(minted)
    except DeferredTimeout:
        return False
    finally:
        await client.close()


def _password(config: Config) -> str | None:
    """Return Redis's password; ``None`` without one.

    :raises OSError: the file can't be read.
    :raises FileRefused: its content or rights are wrong.
    """
    if config.shared.password_file is None:
        return None
    with as_owner(config.shared.password_file):
        return read_password(config.shared.password_file)


def _cure(config: Config, word: str) -> str:
    place = config.shared.place
    assert place is not None
    where = f"-s {place.path}" if place.path is not None else f"-h {place.host} -p {place.port}"
    return CURES[word].format(config=config.path, where=where, keep=KEEP, restart=RESTART_WARMSIDE)
