"""Sessions, credentials, ends and removals with stores that several machines share, with and without a real Redis."""

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.redisserver import RedisServer
from tests.sessions.fakemanager import run
from tests.sessions.listing import Ending
from warmside.extauth.handlers import OneTimeAuthority, UsersAuthority
from warmside.extauth.request import ExtauthRequest
from warmside.jids import prepare
from warmside.otp import OneTimePassword
from warmside.sessions.accounts import UserAccounts
from warmside.sessions.ended import EndedMeanwhile
from warmside.sessions.passwords import OneTimePasswords, Stores
from warmside.store.ends import SQLiteEnds
from warmside.store.interface import StoreError
from warmside.store.redisclient import RedisClient
from warmside.store.redisends import SharedEnds
from warmside.store.redispasswords import RedisPasswords, SharedPasswords
from warmside.store.sqlite import SQLiteKnownUsers

BARE = "juliet@example.org"
JULIET = prepare(BARE)
LIFETIME = 3600
"""Seconds until a credential expires: no test lasts as long."""


class TestSharedStores(Ending):
    """One machine; a second client of Redis is the other one."""

    def setUp(self) -> "Deferred[None]":  # type: ignore[override]
        self.server = RedisServer().start()
        self.addCleanup(self.server.stop)
        self.client, self.other = (self.connect() for _ in range(2))
        self.users = SQLiteKnownUsers(None)
        super().setUp()
        self.accounts = UserAccounts(reactor, self.users, self.stores, self.ender)
        self.authority = OneTimeAuthority(self.stores.credentials.store, UsersAuthority(self.users))
        return Deferred.fromCoroutine(self.until(lambda: self.client.state == self.other.state == "ok"))

    def connect(self) -> RedisClient:
        client = RedisClient(reactor, self.server.settings(unix=True))
        client.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(client.close()))
        return client

    def make_stores(self, passwords: OneTimePasswords) -> Stores:
        credentials = OneTimePasswords(SharedPasswords(self.store, RedisPasswords(self.client)), LIFETIME)
        return Stores(passwords, credentials, self.verdicts, SharedEnds(self.ends, self.client, reactor))

    async def redeemed(self, minted: OneTimePassword) -> bool:
        """Redeem a password at the other machine."""
        return await RedisPasswords(self.other).redeem(BARE, minted.text.encode())

    async def without_redis(self) -> None:
        self.server.kill()
        await self.until(lambda: self.client.state != "ok")

    @run
    async def test_credential_is_valid_at_the_other_machine_and_revoked_if_it_is_not_delivered(self) -> None:
        minted, undelivered = await self.warmer.mint(JULIET), await self.warmer.mint(JULIET)
        self.nothing_left()
        self.assertTrue(await self.redeemed(minted))
        self.warmer.revoke_later(undelivered)
        await self.until(lambda: len(self.server.command("KEYS", "*:otp:*")) == 0)
        self.assertFalse(await self.redeemed(undelivered))

    @run
    async def test_warm_session_uses_no_redis(self) -> None:
        await self.warm()
        calls = self.server.info("commandstats")
        self.assertFalse([each for each in calls if "hset" in each or "del" in each], calls)
        await self.without_redis()
        await self.warm()

    @run
    async def test_without_redis_a_credential_is_refused_and_nothing_is_done(self) -> None:
        await self.probed()
        await self.without_redis()
        with self.assertRaises(StoreError):
            await self.warmer.mint(JULIET)
        self.assertEqual(self.remembered, [])
        self.nothing_left()

    @run
    async def test_end_at_the_other_machine_ends_calls_that_began_before(self) -> None:
        await self.probed()
        began = self.ends.now()
        other = SharedEnds(SQLiteEnds(None), self.other, reactor)
        await other.mark(BARE)
        await self.until(lambda: self.ends._run("SELECT jid FROM ends"))
        with self.assertRaises(EndedMeanwhile):
            await self.warmer.mint(JULIET, began)
        self.assertEqual(self.server.command("KEYS", "*:otp:*"), [])
        await self.warmer.mint(JULIET)

    @run
    async def test_end_and_removal_revoke_the_passwords_of_all_machines(self) -> None:
        for end in (lambda: self.ender.end(JULIET), lambda: self.accounts.remove(JULIET)):
            here, everywhere = await self.store.mint(BARE, 30), await RedisPasswords(self.other).mint(BARE, 30)
            await end()
            self.assertFalse(self.store.redeem(BARE, here.text.encode()))
            self.assertFalse(await self.redeemed(everywhere))
        self.assertEqual(self.server.command("KEYS", "*:ending:*"), [], "a lease is left")

    @run
    async def test_removal_revokes_before_another_call_has_ended_the_sessions(self) -> None:
        await self.users.announce([BARE])
        other = SharedEnds(SQLiteEnds(None), self.other, reactor)
        await other.begin(BARE, "other", 60)
        minted = await RedisPasswords(self.other).mint(BARE, LIFETIME)
        removal = Deferred.fromCoroutine(self.accounts.remove(JULIET))
        await self.until(lambda: not self.users.exists(BARE))
        self.assertFalse(await self.redeemed(minted))
        self.assertFalse(removal.called)
        await other.release(BARE, "other")
        await removal

    @run
    async def test_without_redis_no_end_and_no_removal_changes_anything(self) -> None:
        await self.users.announce([BARE])
        self.listing.clients = {"a": 0}
        here = await self.store.mint(BARE, 30)
        began = self.ends.now()
        await self.without_redis()
        removal = ExtauthRequest.parse(b"removeuser:juliet:example.org")
        for call in (self.ender.end(JULIET), self.accounts.remove(JULIET), self.authority.answer(removal)):
            with self.assertRaises(StoreError):
                await call  # type: ignore[misc] # a bool is returned at once, and then there is no error
        self.assertFalse(await self.ends.ended_since(began, BARE))
        self.assertTrue(self.users.exists(BARE))
        self.assertEqual(self.listing.clients, {"a": 0})
        self.assertTrue(self.store.redeem(BARE, here.text.encode()))

    @run
    async def test_removal_by_ejabberd_revokes_the_passwords_of_all_machines(self) -> None:
        await self.users.announce([BARE])
        minted = await RedisPasswords(self.other).mint(BARE, 30)
        answer = self.authority.answer(ExtauthRequest.parse(b"removeuser:juliet:example.org"))
        assert isinstance(answer, Deferred)
        self.assertTrue(await answer)
        self.assertFalse(await self.redeemed(minted))
        self.assertFalse(self.users.exists(BARE))
