"""Stores in a real Redis, for tests that have a clock of their own and no running reactor.

Redis has no clock that a test can set. When the clock of a test advances, all times in Redis move back instead: the
same distance from each expiry. A second of a test is `SCALE` seconds of Redis, so that a slow machine lets nothing
expire early.
"""

import secrets
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.python.failure import Failure

from warmside.config.settings import RedisPlace, Shared
from warmside.otp import OneTimePassword
from warmside.store.interface import RevocationStatus
from warmside.store.redisclient import RedisClient, Script
from warmside.store.rediscounters import RedisFailureCounters
from warmside.store.redispasswords import RedisPasswords

SCALE = 1000
"""Seconds of Redis in a second of a test."""
SHIFT = Script(
    """
local before = tonumber(redis.call('GET', KEYS[1]) or ARGV[1])
redis.call('SET', KEYS[1], ARGV[1])
local shift = ARGV[1] - before
if shift == 0 then return 0 end
for _, key in ipairs(redis.call('KEYS', ARGV[2])) do
    local left, kind = redis.call('PTTL', key), redis.call('TYPE', key).ok
    if kind == 'hash' then redis.call('HINCRBY', key, 'expires', -shift) end
    if kind == 'zset' then
        for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZINCRBY', key, -shift, member) end
    end
    if left >= 0 then redis.call('PEXPIRE', key, left - shift) end
end
return 1
"""
)
TIMEOUT = 60.0
"""Seconds to wait for a result."""
Clock = Callable[[], float]


class Loop:
    """A reactor that runs only while a result is awaited."""

    def __init__(self) -> None:
        self.reactor: Any = EPollReactor()

    def result(self, awaitable: Any) -> Any:
        """Run the reactor until the result is there; return it, or raise its exception."""
        if isinstance(awaitable, bool):
            return awaitable
        results: list[Any] = []
        deferred = awaitable if isinstance(awaitable, Deferred) else Deferred.fromCoroutine(awaitable)
        deferred.addBoth(results.append)
        self.until(lambda: bool(results))
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def until(self, condition: Callable[[], bool]) -> None:
        """Run the reactor until a condition is true."""
        deadline = monotonic() + TIMEOUT
        while not condition():
            assert monotonic() < deadline, f"nothing within {TIMEOUT:g} s"
            due = self.reactor.timeout()
            self.reactor.iterate(0.1 if due is None else min(due, 0.1))


LOOP = Loop()


class Client(RedisClient):
    """A connection that reports its commands."""

    def __init__(self, path: Path, prefix: str = "test:", loop: Loop = LOOP, database: int = 0) -> None:
        place = RedisPlace("", 0, False, path, None, database)
        super().__init__(loop.reactor, Shared(f"redis+unix://{path}", place, prefix=prefix))
        self.loop = loop
        self.before_command: Callable[[], None] | None = None
        self.commands = 0
        self._patient = False
        self.connected: Deferred[None] = Deferred()
        self.on_connected.append(self._now_connected)
        self.start()
        loop.result(self.connected)

    @property
    def under_way(self) -> int:
        """Commands whose replies are awaited."""
        return 0 if self._link is None else self._link._connection.under_way

    def _now_connected(self) -> None:
        if not self.connected.called:
            self.connected.callback(None)

    async def call(self, *command: Any, within: float = 1.0) -> Any:
        """See `RedisClient.call`."""
        if self.before_command is not None:
            self.before_command()
        self.commands += 1
        return await super().call(*command, within=TIMEOUT if self._patient else within)

    def wait_long(self) -> None:
        """Don't end the connection if a reply is late: the reactor may have stood still."""
        self._patient = True
        assert self._link is not None
        self._link._beat_call.stop()

    async def set_clock(self, clock: Clock) -> None:
        """Move all times in Redis back by what the clock has advanced."""
        before_command, self.before_command = self.before_command, None
        try:
            await self.run(SHIFT, (f"{self.prefix}clock",), (round(clock() * SCALE * 1000), self.key("*")))
        finally:
            self.before_command = before_command


class Passwords(RedisPasswords):
    """One-time passwords with a clock of a test, on a connection of their own."""

    def __init__(self, client: Client, clock: Clock) -> None:
        super().__init__(client)
        self.client = client
        self._clock = clock

    async def mint(self, bare: str, lifetime: float) -> OneTimePassword:
        """See `PasswordStore.mint`."""
        await self.client.set_clock(self._clock)
        return await super().mint(bare, lifetime * SCALE)

    def redeem(self, bare: str, password: bytes) -> "Deferred[bool]":
        """See `PasswordStore.redeem`."""

        async def redeem() -> bool:
            await self.client.set_clock(self._clock)
            return await super(Passwords, self).redeem(bare, password)

        return Deferred.fromCoroutine(redeem())

    async def revoke(self, password: OneTimePassword) -> RevocationStatus:
        """See `PasswordStore.revoke`."""
        await self.client.set_clock(self._clock)
        return await super().revoke(password)

    async def revoke_all(self, bare: str) -> int:
        """See `PasswordStore.revoke_all`."""
        await self.client.set_clock(self._clock)
        return await super().revoke_all(bare)

    async def close(self) -> None:
        """Close the connection."""
        await self.client.close()


class Counters(RedisFailureCounters):
    """Failure counters with a clock of a test, on a connection of their own."""

    def __init__(self, client: Client, clock: Clock) -> None:
        super().__init__(client)
        self._own = client
        self._clock = clock

    async def add(self, key: str, limit: int, window: float) -> bool:
        """See `FailureCounters.add`."""
        await self._own.set_clock(self._clock)
        return await super().add(key, limit, window * SCALE)

    async def count(self, key: str) -> tuple[int, float]:
        """See `FailureCounters.count`."""
        await self._own.set_clock(self._clock)
        count, seconds = await super().count(key)
        return count, round(seconds / SCALE, 1)

    def close(self) -> None:
        """Close the connection."""
        self._own.loop.result(self._own.close())


class RedisBackend:
    """A Redis server, and a prefix of its keys.

    :param where: path of the server's unix socket, and the prefix after a space.
    """

    kind = "redis"
    expires_itself = True

    def __init__(self, where: str) -> None:
        self.where = where
        self._path, self._prefix = Path(where.split()[0]), where.split()[1]
        self._clients: list[Client] = []

    def fresh(self) -> "RedisBackend":
        """Empty the server, and take another prefix."""
        self.close()
        client = self.client()
        LOOP.result(client.call("FLUSHDB"))
        return RedisBackend(f"{self._path} {secrets.token_hex(4)}:")

    def client(self) -> Client:
        """Open a connection."""
        self._clients.append(Client(self._path, self._prefix))
        self._clients[-1].wait_long()
        return self._clients[-1]

    def passwords(self, clock: Clock) -> Passwords:
        """Open the one-time passwords."""
        return Passwords(self.client(), clock)

    def counters(self, clock: Clock) -> Counters:
        """Open the failure counters."""
        return Counters(self.client(), clock)

    def users(self) -> Any:
        """Known users are in a file of each machine, too: see their own tests."""
        raise NotImplementedError

    def result(self, awaitable: Any) -> Any:
        """Wait for Redis."""
        return LOOP.result(awaitable)

    def on_step(self, store: Any, call: Callable[[], None] | None) -> None:
        """Redis runs one command at a time, a script included."""
        store.client.before_command = call

    def close(self) -> None:
        """Close all connections that are open."""
        for client in self._clients:
            LOOP.result(client.close())
        self._clients.clear()
