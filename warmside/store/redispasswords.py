"""One-time passwords in Redis, valid at every machine.

Each script is one atomic step and reads the time of Redis, so that clocks of the machines do not matter. A key holds
the SHA-256 digest of a password; its hash holds the digest of the JID, and both expire by themselves.

A replica may have been promoted without the last writes of the primary, such as a redeemed password's removal. Each
password therefore belongs to one reign of one Redis process: ``run_id`` changes with each start, ``master_replid`` with
each promotion. A password of another reign is void. Both are read in the same atomic step as the password.
"""

from collections.abc import Callable
from hashlib import sha256

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from warmside.otp import OneTimePassword, digest
from warmside.store.interface import PasswordStore, RevocationStatus, StoreError
from warmside.store.redisclient import RedisClient, Script

ACCEPTED, REJECTED, FENCED = 1, 0, -1
"""Results of `REDEEM`."""
STATUSES = (RevocationStatus.GONE, RevocationStatus.UNASKED, RevocationStatus.ASKED)
"""By the result of `REVOKE`."""

ASKED_TIME = 10.0
"""Seconds for which the machines know that a password that is in no store was tried: those of a login."""

IDENTITY = """
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
"""
NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
# KEYS: the password, the index of its JID. ARGV: digest of the JID, lifetime in ms, hex digest of the password.
# The index is a sorted set by expiry. It lets go of what has expired, and lives as long as its last password.
MINT = Script(
    IDENTITY
    + NOW
    + """
local expires = string.format('%.0f', now + ARGV[2])
redis.call('HSET', KEYS[1], 'jid', ARGV[1], 'run', run, 'replid', replid, 'expires', expires)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now))
redis.call('ZADD', KEYS[2], expires, ARGV[3])
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
return 1
"""
)
# KEYS: the password, the note that it was tried. ARGV: digest of the JID, time of the note in ms.
# An unknown password may be one of another machine's /warm, whose login has reached this machine.
REDEEM = Script(
    """
local found = redis.call('HMGET', KEYS[1], 'jid', 'run', 'replid', 'expires')
if not found[1] then
    redis.call('SET', KEYS[2], 1, 'PX', ARGV[2])
    return 0
end
"""
    + IDENTITY
    + NOW
    + """
if found[2] ~= run or found[3] ~= replid then
    redis.call('DEL', KEYS[1])
    return -1
end
if found[1] ~= ARGV[1] or now >= tonumber(found[4]) then
    redis.call('HSET', KEYS[1], 'asked', 1)
    return 0
end
redis.call('DEL', KEYS[1])
return 1
"""
)
# KEYS: the password.
REVOKE = Script(
    """
local asked = redis.call('HGET', KEYS[1], 'asked')
if redis.call('DEL', KEYS[1]) == 0 then return 0 end
return asked and 2 or 1
"""
)
# KEYS: the index of the JID. ARGV: start of the passwords' keys.
REVOKE_ALL = Script(
    """
local removed = 0
for _, digest in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    removed = removed + redis.call('DEL', ARGV[1] .. digest)
end
redis.call('DEL', KEYS[1])
return removed
"""
)


class RedisPasswords:
    """A `PasswordStore` in Redis.

    Every method raises `StoreError` if Redis is away. No command is repeated: after a lost connection it is unknown
    whether Redis has run it. A password whose `mint` was lost that way is in no reply, and expires.

    :param client: the connection.
    :param fenced: called for each attempt at a password of another reign of Redis; see the module.
    """

    def __init__(self, client: RedisClient, fenced: Callable[[], None] = lambda: None) -> None:
        self._client = client
        self._fenced = fenced

    @property
    def available(self) -> bool:
        """True if commands can be sent to Redis now."""
        return self._client.state == "ok"

    async def mint(self, bare: str, lifetime: float) -> OneTimePassword:
        """See `PasswordStore.mint`."""
        password = OneTimePassword.mint()
        name = password.digest.hex()
        keys = (self._client.key(f"otp:{name}"), self._index(bare))
        await self._client.run(MINT, keys, (_jid_digest(bare), max(1, round(lifetime * 1000)), name))
        return password

    def redeem(self, bare: str, password: bytes) -> "Deferred[bool]":
        """See `PasswordStore.redeem`. Fails with `StoreError` if Redis has not answered."""
        return Deferred.fromCoroutine(self._redeem(bare, digest(password).hex()))

    async def revoke(self, password: OneTimePassword) -> RevocationStatus:
        """See `PasswordStore.revoke`."""
        return STATUSES[await self._client.run(REVOKE, (self._client.key(f"otp:{password.digest.hex()}"),), ())]

    async def revoke_all(self, bare: str) -> int:
        """See `PasswordStore.revoke_all`."""
        return int(await self._client.run(REVOKE_ALL, (self._index(bare),), (self._client.key("otp:"),)))

    async def asked_elsewhere(self, password: OneTimePassword) -> bool:
        """Return True if another machine was asked to redeem a password that only this machine has.

        :param password: minted by the store of this machine, which was not asked. False if Redis is away.
        """
        if not self.available:
            return False
        try:
            return bool(await self._client.call("EXISTS", self._client.key(f"asked:{password.digest.hex()}")))
        except StoreError:
            return False

    async def sweep(self) -> int:
        """Return 0: Redis removes expired passwords itself."""
        return 0

    async def close(self) -> None:
        """Do nothing: the connection is closed where it was opened."""

    async def _redeem(self, bare: str, name: str) -> bool:
        keys = (self._client.key(f"otp:{name}"), self._client.key(f"asked:{name}"))
        result = await self._client.run(REDEEM, keys, (_jid_digest(bare), round(ASKED_TIME * 1000)))
        if result == FENCED:
            self._fenced()
        return bool(result == ACCEPTED)

    def _index(self, bare: str) -> str:
        return self._client.key(f"otps:{_jid_digest(bare).hex()}")


class SharedPasswords:
    """A `PasswordStore` whose passwords are valid at every machine; it redeems those of this machine, too.

    This machine's passwords, those of ``POST /warm``, are looked up first and cost no command of Redis.

    :param local: passwords of this machine.
    :param shared: passwords of all machines.
    """

    log = Logger()

    def __init__(self, local: PasswordStore, shared: RedisPasswords) -> None:
        self._local = local
        self._shared = shared

    async def mint(self, bare: str, lifetime: float) -> OneTimePassword:
        """Create a password in Redis; see `PasswordStore.mint`."""
        return await self._shared.mint(bare, lifetime)

    def redeem(self, bare: str, password: bytes) -> "bool | Deferred[bool]":
        """See `PasswordStore.redeem`. The result is False if Redis is away or its response was lost."""
        accepted = self._local.redeem(bare, password)
        if isinstance(accepted, Deferred):
            return accepted.addCallback(lambda result: result or self._redeem_shared(bare, password))
        return accepted or self._redeem_shared(bare, password)

    async def revoke(self, password: OneTimePassword) -> RevocationStatus:
        """Invalidate a password that `mint` has returned."""
        return await self._shared.revoke(password)

    async def revoke_all(self, bare: str) -> int:
        """Invalidate all passwords of a JID, in Redis first: without Redis none is invalidated."""
        return await self._shared.revoke_all(bare) + await self._local.revoke_all(bare)

    async def sweep(self) -> int:
        """Remove expired passwords of this machine."""
        return await self._local.sweep()

    async def close(self) -> None:
        """Close the store of this machine's passwords."""
        await self._local.close()

    def _redeem_shared(self, bare: str, password: bytes) -> "bool | Deferred[bool]":
        if not self._shared.available:
            return False
        return self._shared.redeem(bare, password).addErrback(self._not_redeemed)

    def _not_redeemed(self, failure: Failure) -> bool:
        failure.trap(StoreError)
        self.log.warn("one-time password rejected, because Redis did not check it: {reason}", reason=failure.value)
        return False


def _jid_digest(bare: str) -> bytes:
    return sha256(bare.encode()).digest()
