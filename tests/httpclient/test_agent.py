"""The HTTP client's agent: kept connections, their maximum and their end."""

import socket
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.http_headers import Headers

from tests.extauth.support import temporary_folder
from tests.support import now
from warmside.compat.hostnames import PreparedURL
from warmside.httpclient.agent import IDLE_TIMEOUT, RETRY_INTERVAL, Address, PreparedAgent, UnixEndpoint, WholeBody
from warmside.httpclient.response import read_body

RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


class Transport(StringTransport):
    """A transport that loses its connection when a test says so."""

    protocol: Any

    def abortConnection(self) -> None:
        self.loseConnection()  # type: ignore[no-untyped-call]


class Server:
    """The other end of an agent's connections."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.transports: list[Any] = []
        self.reactor = MemoryReactorClock()
        monkeypatch.setattr("warmside.compat.hostnames._PlainHostnameEndpoint", lambda *_, **__: self)
        self.agent = PreparedAgent(self.reactor, Address(PreparedURL("http://127.0.0.1:5282/bosh")), 1000, 2)

    def connect(self, factory: Any) -> "Deferred[Any]":
        transport: Any = Transport()  # type: ignore[no-untyped-call]
        transport.protocol = factory.buildProtocol(None)
        transport.protocol.makeConnection(transport)
        self.transports.append(transport)
        return succeed(transport.protocol)

    def post(self) -> "Deferred[Any]":
        return self.agent.request(b"POST", b"", Headers({"X-A": ["b"]}), WholeBody(b"<body/>"))

    def exchange(self, *numbers: int) -> None:
        """Send as many requests at once, and respond over the connections with these numbers."""
        posted = [self.post() for _ in numbers]
        for number in numbers:
            self.transports[number].protocol.dataReceived(RESPONSE)
        assert [read_body(now(each), 9) for each in posted] == [b"hi"] * len(numbers)

    def lose(self, number: int) -> None:
        """Lose a connection."""
        self.transports[number].protocol.connectionLost(Failure(ConnectionDone()))

    def closed(self) -> list[bool]:
        """Return for each connection: True if the agent closes it."""
        return [each.disconnecting for each in self.transports]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


def test_a_request_is_one_write_with_head_and_body(server: Server) -> None:
    posted = server.post()
    (transport,) = server.transports
    assert transport.value() == (
        b"POST /bosh HTTP/1.1\r\nHost: 127.0.0.1:5282\r\nX-A: b\r\nContent-Length: 7\r\n\r\n<body/>"
    )
    transport.protocol.dataReceived(RESPONSE)
    assert now(posted).code == 200


def test_the_connection_that_was_used_last_is_used_next_and_the_others_time_out(server: Server) -> None:
    server.exchange(0, 1)
    server.reactor.advance(IDLE_TIMEOUT - 1)
    server.exchange(1)
    server.reactor.advance(1)
    assert server.closed() == [True, False], "one timer closes each connection in its time"
    server.lose(0)
    server.reactor.advance(IDLE_TIMEOUT - 2)
    assert server.closed() == [True, False]
    server.reactor.advance(1)
    assert server.closed() == [True, True] and not server.reactor.getDelayedCalls()


def test_no_more_idle_connections_are_kept_than_the_maximum(server: Server) -> None:
    server.exchange(0, 1, 2)
    assert server.closed() == [False, False, True]


def test_a_connection_that_the_server_closed_or_that_is_no_longer_usable_is_not_used_again(server: Server) -> None:
    server.exchange(0, 1)
    server.lose(1)
    server.transports[0].protocol.dataReceived(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    server.post().addErrback(lambda _: None)
    assert len(server.transports) == 3 and server.transports[2].value()


def test_closing_waits_for_the_idle_connections_and_keeps_no_further_one(server: Server) -> None:
    server.exchange(0, 1)
    posted = server.post()
    closed = server.agent.close()
    assert server.closed() == [True, False] and not closed.called and not server.reactor.getDelayedCalls()
    server.lose(0)
    assert closed.called
    server.transports[1].protocol.dataReceived(RESPONSE)
    assert now(posted).code == 200 and server.closed() == [True, True]


class UnixEndpointTest(TestCase):
    """A real unix socket. Each test method is a coroutine."""

    timeout = 30

    def setUp(self) -> None:
        self.path = str(temporary_folder(self) / "bosh.sock")
        self.listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.listening.close)
        self.endpoint = UnixEndpoint(reactor, self.path)

    async def test_a_full_backlog_is_waited_for(self) -> None:
        self.listening.bind(self.path)
        self.listening.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(self.path)
            connecting = self.endpoint.connect(Factory.forProtocol(Protocol))
            await deferLater(reactor, 5 * RETRY_INTERVAL)
            assert not connecting.called
            self.listening.accept()[0].close()
            protocol = await connecting
            protocol.transport.abortConnection()
            await deferLater(reactor, 0)

    async def test_a_socket_that_is_missing_or_without_a_listener_is_an_error_at_once(self) -> None:
        with pytest.raises(ConnectError):
            await self.endpoint.connect(Factory.forProtocol(Protocol))
        self.listening.bind(self.path)
        with pytest.raises(ConnectError):
            await self.endpoint.connect(Factory.forProtocol(Protocol))
