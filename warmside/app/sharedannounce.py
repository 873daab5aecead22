"""The users of several machines, for ``warmside announce``."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater

from warmside.app.resources import shared_password, users_file_errors
from warmside.app.shared import open_client
from warmside.config.settings import Config
from warmside.store.redisclient import RedisClient
from warmside.store.redisopen import AWAY
from warmside.store.redisusers import SharedUsers
from warmside.store.usersfile import SharedUsersFile

CONNECT_TIMEOUT = 3.0
"""Seconds to wait for a connection to Redis before the first users are announced."""
CHECK_INTERVAL = 0.02
"""Seconds between two looks at the connection."""


class SharedAnnouncing:
    """Announces users to all machines."""

    def __init__(self, users: SharedUsers, client: RedisClient) -> None:
        self._users = users
        self._client = client

    async def announce(self, bares: Collection[str]) -> int:
        """See `KnownUsers.announce`."""
        return await self._users.announce(bares)

    async def close(self) -> None:
        """Close the file and the connection."""
        self._users.close()
        await self._client.close()


async def open_shared_users(config: Config, path: Path, reactor: Any) -> SharedAnnouncing:
    """Open the file and the connection to Redis, and wait until it can be used.

    Without a connection in time `SharedAnnouncing.announce` fails and names the cause.

    :param path: the file of known users.
    :raises ConfigError: ``shared.password_file`` can't be used.
    :raises StartError: the file can't be opened.
    """
    password = shared_password(config)
    with users_file_errors(config):
        file = SharedUsersFile(path)
    client = open_client(config, reactor, password)
    users = SharedUsers(file, client, reactor)
    client.start()
    deadline = reactor.seconds() + CONNECT_TIMEOUT
    while client.state.startswith(AWAY) and reactor.seconds() < deadline:
        await deferLater(reactor, CHECK_INTERVAL)
    return SharedAnnouncing(users, client)
