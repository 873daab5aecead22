"""Twisted's private interface that `write_now` uses: a failure means that a release has changed it."""

import socket
import threading
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from warmside.compat.sockets import write_now


class WriteNowTest(TestCase):
    """A real connection. Each test method is a coroutine."""

    timeout = 30

    async def connected(self) -> tuple[Any, socket.socket]:
        """Return a transport and the socket at the other end of its connection."""
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", listening.getsockname()[1])
            protocol: Any = await endpoint.connect(Factory.forProtocol(Protocol))
            peer, _ = listening.accept()
        peer.settimeout(10)
        lost: Deferred[None] = Deferred()
        protocol.connectionLost = lambda reason: lost.callback(None)

        def close() -> "Deferred[None]":
            peer.close()
            protocol.transport.abortConnection()
            return lost

        self.addCleanup(close)
        return protocol.transport, peer

    async def test_data_is_sent_without_a_turn_of_the_reactor(self) -> None:
        transport, peer = await self.connected()
        write_now(transport, b"request")
        assert peer.recv(100) == b"request", "twisted.internet.tcp.Connection.writeSomeData has changed"

    async def test_data_that_the_socket_does_not_take_follows_in_order(self) -> None:
        transport, peer = await self.connected()
        first, second = b"a" * 20_000_000, b"b" * 1000
        done: Deferred[bytes] = Deferred()

        def receive() -> None:
            received = bytearray()
            while len(received) < len(first) + len(second):
                received += peer.recv(1_000_000)
            reactor.callFromThread(done.callback, bytes(received))  # type: ignore[attr-defined]

        write_now(transport, first)
        write_now(transport, second)
        thread = threading.Thread(target=receive)
        thread.start()
        received = await done
        thread.join()
        assert received == first + second
