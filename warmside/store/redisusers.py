"""Known users that several machines share: in Redis, and in each machine's file, which answers alone."""

from collections.abc import Collection
from typing import Any

from warmside.store.followusers import RedisUsers, UsersFollower
from warmside.store.redisclient import RedisClient
from warmside.store.userscripts import ANNOUNCE, FORGET
from warmside.store.usersfile import SharedUsersFile


class SharedUsers:
    """`KnownUsers` of several machines.

    `announce` and `forget` write to Redis first, and then to the file. `remember` writes to the file at once; the
    follower announces the user to the other machines as soon as Redis can be reached. A removal at another machine wins
    over it if this machine did not know of the removal then. The next login makes the user known again.

    :param file: this machine's file.
    :param client: the connection to Redis.
    :param reactor: the reactor.
    """

    def __init__(self, file: SharedUsersFile, client: RedisClient, reactor: Any) -> None:
        self._file = file
        self._client = client
        self._redis = RedisUsers(client, file)
        self._follower = UsersFollower(reactor, self._redis, file)
        self.exists = file.exists
        self.check = file.check

    def start(self) -> None:
        """Follow the changes of other machines until `close`. Call it before the client connects."""
        self._follower.start(self._client)

    def remember(self, bare: str) -> None:
        """See `KnownUsers.remember`."""
        if self._file.add(bare):
            self._follower.wake()

    async def announce(self, bares: Collection[str]) -> int:
        """See `KnownUsers.announce`.

        :raises StoreError: Redis is away, and nothing is announced; or the file failed, and the users are announced to
            the other machines. The call may be repeated.
        """
        return await self._redis.change(ANNOUNCE, list(bares))

    async def forget(self, *bares: str) -> bool:
        """See `KnownUsers.forget`.

        :raises StoreError: as `announce`.
        """
        here = any(self._file.exists(bare) for bare in bares)
        return await self._redis.change(FORGET, bares) > 0 or here

    def close(self) -> None:
        """Stop following, and close the file. Close the client after this."""
        self._follower.close()
        self._file.close()
