"""Failure counters in Redis: an address or account that fails at one machine is limited at every machine."""

from collections.abc import Coroutine
from hashlib import sha256
from typing import Any, TypeVar

from twisted.logger import Logger

from warmside.store.interface import UNLIMITED, FailureCounters, StoreError
from warmside.store.redisclient import RedisClient, Script

Result = TypeVar("Result")

# KEYS: the counter. ARGV: limit, window in ms.
ADD = Script(
    """
local count = tonumber(redis.call('GET', KEYS[1]) or 0)
if count >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], count + 1, 'PX', ARGV[2])
return 1
"""
)
# KEYS: the counter.
COUNT = Script("return {tonumber(redis.call('GET', KEYS[1]) or 0), redis.call('PTTL', KEYS[1])}")
TAKE_BACK = Script("if tonumber(redis.call('GET', KEYS[1]) or 0) > 0 then return redis.call('DECR', KEYS[1]) end")


class RedisFailureCounters:
    """`FailureCounters` in Redis. Every method raises `StoreError` if Redis is away.

    The name of a Redis key is the SHA-256 digest of the counter's key, because that may contain what was typed into a
    login form.

    :param client: the connection.
    """

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def add(self, key: str, limit: int, window: float) -> bool:
        """See `FailureCounters.add`."""
        return bool(await self._client.run(ADD, (self._key(key),), (limit, max(1, round(window * 1000)))))

    async def count(self, key: str) -> tuple[int, float]:
        """See `FailureCounters.count`."""
        count, milliseconds = await self._client.run(COUNT, (self._key(key),), ())
        return count, max(0, milliseconds) / 1000

    async def take_back(self, key: str) -> None:
        """See `FailureCounters.take_back`."""
        await self._client.run(TAKE_BACK, (self._key(key),), ())

    async def forget(self, *keys: str) -> None:
        """See `FailureCounters.forget`."""
        await self._client.call("DEL", *map(self._key, keys))

    async def sweep(self) -> None:
        """Do nothing: Redis removes expired counters itself."""

    def close(self) -> None:
        """Do nothing: the connection is closed where it was opened."""

    def _key(self, key: str) -> str:
        return self._client.key(f"count:{sha256(key.encode()).hexdigest()}")


class SharedCounters:
    """`FailureCounters` that all machines share. Without Redis those of this machine decide.

    This machine's counters contain what was counted here, so that limits hold from the first moment without Redis.

    :param local: counters of this machine.
    :param shared: counters of all machines.
    :param local_keys: how the keys of counters begin that belong to one machine. Redis does not get them.
    """

    log = Logger()

    def __init__(self, local: FailureCounters, shared: RedisFailureCounters, local_keys: tuple[str, ...] = ()) -> None:
        self._local = local
        self._shared = shared
        self._local_keys = local_keys
        self._falling_back = False

    async def add(self, key: str, limit: int, window: float) -> bool:
        """See `FailureCounters.add`."""
        added = None if self._is_local(key) else await self._try(self._shared.add(key, limit, window))
        if added is None:
            return await self._local.add(key, limit, window)
        if added:
            await self._local.add(key, UNLIMITED, window)
        return added

    async def count(self, key: str) -> tuple[int, float]:
        """See `FailureCounters.count`."""
        counted = None if self._is_local(key) else await self._try(self._shared.count(key))
        return await self._local.count(key) if counted is None else counted

    async def take_back(self, key: str) -> None:
        """See `FailureCounters.take_back`. A failure that Redis could not take back stays counted until it expires."""
        await self._local.take_back(key)
        if not self._is_local(key):
            await self._try(self._shared.take_back(key))

    async def forget(self, *keys: str) -> None:
        """See `FailureCounters.forget`. Counters that Redis could not remove expire."""
        await self._local.forget(*keys)
        shared = [key for key in keys if not self._is_local(key)]
        if shared:
            await self._try(self._shared.forget(*shared))

    async def sweep(self) -> None:
        """Remove expired counters of this machine."""
        await self._local.sweep()

    def close(self) -> None:
        """Close the counters of this machine."""
        self._local.close()

    def _is_local(self, key: str) -> bool:
        return key.startswith(self._local_keys)

    async def _try(self, call: Coroutine[Any, Any, Result]) -> Result | None:
        """Return the result of a call to Redis, or ``None`` if it failed; log the change."""
        try:
            result = await call
        except StoreError as error:
            if not self._falling_back:
                self._falling_back = True
                self.log.warn("failed logins are counted by this machine alone: {reason}", reason=str(error))
            return None
        if self._falling_back:
            self._falling_back = False
            self.log.info("failed logins are counted for all machines again")
        return result
