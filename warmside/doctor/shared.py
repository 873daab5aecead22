"""Check of the Redis that several machines share: can it be reached, and may it be used."""

from collections.abc import Iterable

from warmside.config.reloading import FileRefused
from warmside.config.settings import Config
from warmside.config.shared import read_password
from warmside.doctor.context import Context
from warmside.doctor.warming import as_owner
from warmside.findings import RESTART_WARMSIDE, Finding, make
from warmside.store.redisopen import AWAY, CLUSTER, EVICTS, NO_INFO, OPEN, READ_ONLY, Opening, RedisFault
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
    password = None
    try:
        if config.shared.password_file is not None:
            with as_owner(config.shared.password_file):
                password = read_password(config.shared.password_file)
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


def _cure(config: Config, word: str) -> str:
    place = config.shared.place
    assert place is not None
    where = f"-s {place.path}" if place.path is not None else f"-h {place.host} -p {place.port}"
    return CURES[word].format(config=config.path, where=where, keep=KEEP, restart=RESTART_WARMSIDE)
