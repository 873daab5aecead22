"""Replies that are not delivered, on real connections over loopback."""

import select
import socket
import ssl
import struct
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.certificates import certificate
from tests.sessions.fakemanager import run
from tests.web.interface import SESSION, Interface
from warmside.web.delivery import DELIVERY_TIMEOUT
from warmside.web.site import BoundedSite

reactor: Any = _reactor

KEPT = (
    b"POST /warm HTTP/1.1\r\nHost: x\r\nAuthorization: Basic d2ViOnNlY3JldA==\r\nAccept: application/json\r\n"
    b"Content-Type: application/json\r\nContent-Length: 22\r\n\r\n"
    b'{"jid": "a@b.example"}'
)
CLOSED = KEPT.replace(b"Host: x\r\n", b"Host: x\r\nConnection: close\r\n")
OLD = KEPT.replace(b"HTTP/1.1\r\nHost: x\r\n", b"HTTP/1.0\r\n")
NEXT = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


def reset(client: socket.socket) -> None:
    """Reset a connection."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def read_reply(client: socket.socket) -> bytes:
    """Read a reply with its body."""
    received = b""
    while b"\r\n\r\n" not in received or len(received.partition(b"\r\n\r\n")[2]) < content_length(received):
        data = client.recv(65536)
        assert data, received
        received += data
    return received


def content_length(received: bytes) -> int:
    head = received.partition(b"\r\n\r\n")[0]
    return int(next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")).split()[1])


def read_and_keep(client: socket.socket) -> socket.socket:
    read_reply(client)
    return client


class TestDelivery(TestCase):
    """Over plain TCP."""

    timeout = 60

    def setUp(self) -> None:
        self.interface = Interface()
        self.site = BoundedSite(self.interface.root, reactor)
        self.port = self.listen()
        self.addCleanup(self.port.stopListening)

    def listen(self) -> Any:
        return reactor.listenTCP(0, self.site, interface="127.0.0.1")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port.getHost().port), timeout=20)

    @property
    def ended(self) -> list[Any]:
        return self.interface.warmer.ended

    async def client(self, *steps: Any) -> Any:
        """Connect, and call each step with the socket, in a thread."""

        def act() -> Any:
            client = self.connect()
            result = None
            for step in steps:
                if isinstance(step, bytes):
                    client.sendall(step)
                else:
                    result = step(client)
            return result

        return await deferToThread(act)

    async def until(self, condition: Any) -> None:
        while not condition():
            await deferLater(reactor, 0.01)

    async def lost(self) -> None:
        """Wait until the server has no connection."""
        await self.until(lambda: not self.site.channels)

    @run
    async def test_a_reset_ends_the_session_whether_the_reply_was_read_or_not(self) -> None:
        for request in (KEPT, CLOSED, OLD):
            for reading in ((), (read_reply,)):
                self.ended.clear()
                await self.client(request, *(reading or (self.wait_for_reply,)), reset)
                await self.lost()
                assert self.ended == [SESSION], (request, reading)
        assert self.interface.metrics.outcomes.count("undelivered") == 6

    @run
    async def test_a_client_that_reads_the_reply_and_closes_keeps_the_session(self) -> None:
        for request in (KEPT, CLOSED, OLD):
            await self.client(request, read_reply, socket.socket.close)
            await self.lost()
        assert self.ended == []
        assert self.interface.metrics.outcomes == ["success"] * 3

    @run
    async def test_a_client_that_closes_without_reading_loses_the_session(self) -> None:
        for request in (KEPT, CLOSED, OLD):
            self.ended.clear()
            await self.client(request, self.wait_for_reply, socket.socket.close)
            await self.lost()
            assert self.ended == [SESSION], request

    @run
    async def test_a_connection_that_stays_open_loses_the_session_only_if_it_had_to_end(self) -> None:
        for request, ended in ((KEPT, []), (CLOSED, [SESSION]), (OLD, [SESSION])):
            self.ended.clear()
            client = await self.client(request, read_and_keep)
            if ended:
                await self.lost()
            else:
                await deferLater(reactor, DELIVERY_TIMEOUT * 1.5)
            reset(client)
            await self.lost()
            assert self.ended == ended, request

    @run
    async def test_the_next_request_shows_that_the_reply_was_read(self) -> None:
        await self.client(KEPT, read_reply, NEXT, read_reply, reset)
        await self.lost()
        assert self.ended == []

    @run
    async def test_only_the_last_reply_of_a_kept_connection_is_watched(self) -> None:
        requests = [KEPT, read_reply] * 2000
        await self.client(*requests, reset)
        await self.lost()
        assert self.ended == [SESSION]

    @run
    async def test_a_slow_client_that_reads_on_keeps_the_session(self) -> None:
        stanzas = tuple("x" * 100_000 for _ in range(100))
        self.interface.warmer.outcome = slow = replace(SESSION, stanzas=stanzas)
        for request in (KEPT, CLOSED):
            client = await self.client(request, lambda client: client)
            await deferLater(reactor, DELIVERY_TIMEOUT * 1.5)
            await deferToThread(read_reply, client)
            client.close()
            await self.lost()
            assert self.ended == []
        client = await self.client(CLOSED, lambda client: client)
        await deferLater(reactor, DELIVERY_TIMEOUT * 1.5)
        reset(client)
        await self.lost()
        assert self.ended == [slow]

    def wait_for_reply(self, client: socket.socket) -> None:
        """Wait until the reply has arrived, without reading it."""
        assert client.recv(1, socket.MSG_PEEK)


class TestDeliveryOverTLS(TestDelivery):
    """Over TLS, with clients that send no close_notify, as is usual."""

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        cert, key = certificate(Path(folder.name))
        self.contexts = DefaultOpenSSLContextFactory(str(key), str(cert))
        super().setUp()

    def listen(self) -> Any:
        return reactor.listenSSL(0, self.site, self.contexts, interface="127.0.0.1")

    def connect(self) -> socket.socket:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(super().connect())

    def wait_for_reply(self, client: socket.socket) -> None:
        select.select([client], [], [], 20)
