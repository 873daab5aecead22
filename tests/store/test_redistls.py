"""TLS to a real Redis: the certificate is verified with the name and the authority.

These tests run the global reactor, because Twisted's TLS uses its clock.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.certificates import certificate
from tests.redisserver import RedisServer
from warmside.config.settings import Shared
from warmside.store.redisclient import RedisClient


class TLS(TestCase):
    """Each test has a Redis with TLS, whose certificate is for a host name."""

    timeout = 60

    def serve(self, host: str = "localhost") -> tuple[RedisServer, Path]:
        """Start a server; return it and the authority of its certificate."""
        authority, both = certificate(Path(mkdtemp()), host)
        return self.start(tls=both), authority

    def start(self, **options: Any) -> RedisServer:
        """Start a server that ends with the test."""
        server = RedisServer(**options).start()
        self.addCleanup(server.stop)
        return server

    async def opened(self, settings: Shared) -> RedisClient:
        """Return a client that can be used, or whose first attempt has failed."""
        client = RedisClient(reactor, settings)
        self.addCleanup(client_closed(client))
        client.start()
        while "not connected yet" in client.state:
            await deferLater(reactor, 0.01)
        return client

    async def test_certificate_of_the_authority_is_accepted(self) -> None:
        server, authority = self.serve()
        client = await self.opened(server.settings(ca_file=authority))
        self.assertEqual(client.state, "ok")
        heard: list[bytes] = []
        client.listen(client.channel("news"), heard.append)
        while heard != [b""]:
            await deferLater(reactor, 0.01)
        self.assertEqual(await client.call("SET", client.key("a"), "1"), b"OK")

    async def test_certificate_of_no_known_authority_is_rejected(self) -> None:
        server, _ = self.serve()
        _, other = self.serve()
        for ca_file in (None, other):
            client = await self.opened(server.settings(ca_file=ca_file))
            self.assertIn("away: certificate verification failed", client.state)
            self.assertIn("set shared.ca_file", client.state)

    async def test_certificate_for_another_name_is_rejected(self) -> None:
        server, authority = self.serve("redis.example.org")
        client = await self.opened(server.settings(ca_file=authority))
        self.assertIn("away: the certificate is for another name than the one in shared.url", client.state)

    async def test_tls_on_one_side_alone_is_named(self) -> None:
        secure, authority = self.serve()
        plain = self.start()
        places = [each.settings().place for each in (secure, plain)]
        assert places[0] is not None and places[1] is not None
        mixed = replace(places[0], port=plain.port), replace(places[1], port=secure.port)
        client = await self.opened(Shared("rediss://x", mixed[0], ca_file=authority))
        self.assertIn("no response within 2 s to TLS", client.state)
        client = await self.opened(Shared("redis://x", mixed[1]))
        self.assertIn("away: it closed the connection", client.state)


def client_closed(client: RedisClient) -> "Callable[[], Any]":
    """Return a function that closes a client, for `TestCase.addCleanup`."""
    return lambda: Deferred.fromCoroutine(client.close())
