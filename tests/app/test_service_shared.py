"""The service with ``shared.url`` and a real Redis: it starts without Redis, and says how Redis is."""

import json
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import deferLater

from tests.app.test_service import ServiceWithHTTP, reactor
from tests.redisserver import RedisServer
from tests.support import logging
from warmside.app.service import WarmsideService
from warmside.extauth.request import ExtauthRequest
from warmside.store import redislink


class SharedServices(ServiceWithHTTP):
    """Each test has a Redis that does not run yet."""

    timeout = 60

    def setUp(self) -> None:
        super().setUp()
        self.redis = RedisServer("--requirepass", "one")
        self.addCleanup(self.redis.stop)
        self.secret = self.folder.path / "redis-password"
        self.secret.write_text("one\n")
        self.folder.write(f'[shared]\nurl = "{self.redis.url}"\npassword_file = "{self.secret}"\nprefix = "test:"\n')

    async def until_shared(self, made: WarmsideService, state: str) -> dict[str, Any]:
        """Wait until ``/ready`` has a state of Redis; return the reply."""
        while True:
            response = await self.get(made, "/ready")
            ready: dict[str, Any] = json.loads(response.text)
            if ready["shared"] == state:
                return ready
            await deferLater(reactor, 0.1)

    async def test_service_starts_while_redis_is_away_and_uses_it_once_it_is_there(self) -> None:
        with logging() as logged:
            made = await self.serving()
        self.assertTrue(any(f"shared.url {self.redis.url}, prefix test:" in line for line in logged))
        self.assertEqual((await self.until_shared(made, "away"))["store"], "ok")
        self.redis.start()
        await self.until_shared(made, "ok")
        self.assertEqual(self.redis.replies(("AUTH", "one"), ("GET", "test:1:ready"))[1], b"")
        metrics = (await self.get(made, "/metrics")).text.decode()
        self.assertIn("warmside_redis_connects_total 1.0", metrics)
        self.assertRegex(metrics, r"warmside_redis_seconds_count [1-9]")
        stores = made._stores.stores
        minted = await stores.credentials.mint("juliet@example.org")
        self.assertEqual(made._stores.plain.redeem("juliet@example.org", minted.text.encode()), False)
        assert made.authority is not None
        request = ExtauthRequest("auth", "juliet", "example.org", minted.text.encode())
        answers = [await maybeDeferred(made.authority.answer, request) for _ in range(2)]
        self.assertEqual(answers, [True, False])
        minted = await stores.passwords.mint("juliet@example.org")
        self.assertTrue(stores.credentials.store.redeem("juliet@example.org", minted.text.encode()))
        self.assertEqual(await made._stores.users.announce(["romeo@example.org"]), 1)
        self.redis.replies(("AUTH", "one"), ("CONFIG", "SET", "maxmemory", "1"))
        await self.until_shared(made, "full")

    async def test_changed_password_is_read_at_the_next_connection(self) -> None:
        self.redis.start()
        made = await self.serving()
        await self.until_shared(made, "ok")
        self.redis.replies(("AUTH", "one"), ("CONFIG", "SET", "requirepass", "two"))
        self.redis.replies(("AUTH", "two"), ("CLIENT", "KILL", "TYPE", "normal"))
        await self.until_shared(made, "away")
        self.secret.write_text("two\n")
        await self.until_shared(made, "ok")

    async def test_refused_redis_has_its_word_and_users_of_this_machine_are_known(self) -> None:
        self.patch(redislink, "EXAMINE_EACH", 1)
        self.redis.start()
        made = await self.serving()
        await self.until_shared(made, "ok")
        made._stores.users.remember("juliet@example.org")
        self.redis.replies(("AUTH", "one"), ("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"))
        await self.until_shared(made, "evicts")
        self.assertTrue(made._stores.users.exists("juliet@example.org"))
