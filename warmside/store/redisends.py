"""Ended users and sessions, at every machine.

A mark is published by Redis and written to the file of each machine, so that a login compares it without a round trip.
Redis keeps the marks of the last `MARK_LIFETIME` seconds for machines that were not connected.
"""

from typing import Any

from cachetools import TTLCache
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from warmside.store.ends import MARK_LIFETIME, SQLiteEnds
from warmside.store.interface import StoreError
from warmside.store.redisclient import RedisClient, Script

MAX_MARKS = 100_000
"""Marks that Redis keeps; beyond, the oldest are removed."""
MAX_LEASE = 300.0
"""Seconds that a lease lasts at most; see `SessionEnds.begin`."""
MAX_LOST = 1000
"""Leases that are remembered after a lost response; the oldest one is dropped."""
PORTION = 500
"""Marks that are read at a time."""

# KEYS: the marks, a sorted set by time in microseconds. ARGV: channel, JID, lifetime in ms, maximum of marks.
MARK = Script(
    """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[3] * 1000))
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PUBLISH', ARGV[1], ARGV[2])
return 1
"""
)
# KEYS: the marks. ARGV: the score behind which to begin, how many. Returns JIDs, each with its age in µs and its score.
READ = Script(
    """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local found = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local marks = {}
for i = 1, #found, 2 do
    marks[#marks + 1] = {found[i], string.format('%.0f', now - found[i + 1]), found[i + 1]}
end
return marks
"""
)
# KEYS: the lease. ARGV: its text.
RELEASE = Script("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end")


class SharedEnds:
    """`SessionEnds` of all machines: leases in Redis, marks in Redis and in this machine's file.

    `begin` and `mark` raise `StoreError` if Redis is away, and then change nothing.

    :param local: the file of this machine.
    :param client: the connection.
    :param reactor: the reactor that receives the marks of other machines.
    """

    log = Logger()

    def __init__(self, local: SQLiteEnds, client: RedisClient, reactor: Any) -> None:
        self._local = local
        self._client = client
        self._reactor = reactor
        self.now = local.now
        self._lost: TTLCache[str, str] = TTLCache(MAX_LOST, MAX_LEASE, reactor.seconds)
        """JIDs by leases that may be held although no call uses them: Redis's response was lost."""
        client.listen(client.channel("ended"), self._heard)
        client.on_connected.append(self._release_lost)

    async def begin(self, bare: str, lease: str, seconds: float) -> bool:
        """See `SessionEnds.begin`."""
        milliseconds = max(1, round(seconds * 1000))
        try:
            return await self._client.call("SET", self._lease(bare), lease, "NX", "PX", milliseconds) is not None
        except StoreError:
            self._lost[lease] = bare
            raise

    async def release(self, bare: str, lease: str) -> None:
        """See `SessionEnds.release`. A lease that Redis could not end is ended with the next connection, or expires."""
        try:
            await self._client.run(RELEASE, (self._lease(bare),), (lease,))
        except StoreError as error:
            self._lost[lease] = bare
            self.log.warn("sessions of {jid} can be ended again later: {reason}", jid=bare, reason=str(error))

    async def mark(self, jid: str) -> None:
        """See `SessionEnds.mark`. Redis comes first, so that nothing is marked without it."""
        arguments = (self._client.channel("ended"), jid, round(MARK_LIFETIME * 1000), MAX_MARKS)
        await self._client.run(MARK, (self._client.key("ends"),), arguments)
        await self._local.mark(jid)

    async def ended_since(self, began: float, *jids: str) -> bool:
        """See `SessionEnds.ended_since`. No command is sent.

        The reactor gets a turn first. It then has read each mark that arrived before the response of the connection
        manager that this call follows. A login thus either finds the mark, or was bound before it and is listed.
        """
        await deferLater(self._reactor, 0)
        return await self._local.ended_since(began, *jids)

    async def sweep(self) -> None:
        """Remove old marks from the file. Redis removes them with the next mark."""
        await self._local.sweep()

    def close(self) -> None:
        """Close the file."""
        self._local.close()

    def _lease(self, bare: str) -> str:
        return self._client.key(f"ending:{bare}")

    def _release_lost(self) -> None:
        lost = list(self._lost.items())
        self._lost.clear()
        for lease, bare in lost:
            Deferred.fromCoroutine(self.release(bare, lease))

    def _heard(self, message: bytes) -> None:
        """Take a mark, or read the marks that were missed (``b""``)."""
        if not message:
            Deferred.fromCoroutine(self._read_missed()).addErrback(
                lambda failure: self.log.failure("the marks of ended sessions could not be read", failure)
            )
            return
        try:
            self._local.mark_at({message.decode(): self.now()})
        except (StoreError, UnicodeDecodeError) as error:
            self.log.error("the mark of an ended session could not be stored: {reason}", reason=str(error))

    async def _read_missed(self) -> None:
        """Read all marks that Redis has. A loss of the connection ends this; the next one begins it again."""
        behind = "-inf"
        try:
            while marks := await self._client.run(READ, (self._client.key("ends"),), (behind, PORTION)):
                now = self.now()
                self._local.mark_at({jid.decode(): now - max(0.0, int(age) / 1e6) for jid, age, _ in marks})
                behind = f"({marks[-1][2].decode()}"
        except StoreError as error:
            self.log.warn(
                "sessions that were ended at another machine are not known here yet: {reason}", reason=str(error)
            )
