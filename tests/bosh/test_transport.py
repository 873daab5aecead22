"""Transport and agent on a connection in memory: bytes on the wire, limits, cancellation, errors."""

import gzip
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from tests.support import now
from warmside.bosh.body import MAX_SIZE
from warmside.bosh.errors import BoshError, InvalidResponse, Unreachable
from warmside.bosh.transport import ConnectionBroken, ConnectionLease, ConnectionManager, Response

HEAD = b"HTTP/1.1 200 OK\r\nSet-Cookie: session=secret\r\nContent-Length: %d\r\n\r\n"


class Transport(StringTransport):
    """A transport that records that it was aborted."""

    protocol: Any
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class Peer:
    """The connection manager's end of the connections."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.transports: list[Any] = []
        self.refuses = False
        monkeypatch.setattr("warmside.compat.hostnames._PlainHostnameEndpoint", lambda *_, **__: self)
        reactor = MemoryReactorClock()
        self.manager = ConnectionManager(reactor, "http://127.0.0.1:5282/bosh?x=1", 8)
        self.lease = ConnectionLease(self.manager, 1, "203.0.113.7")

    def connect(self, factory: Any) -> "Deferred[Any]":
        if self.refuses:
            return fail(ConnectionRefusedError())
        transport: Any = Transport()  # type: ignore[no-untyped-call]
        transport.protocol = factory.buildProtocol(None)
        transport.protocol.makeConnection(transport)
        self.transports.append(transport)
        return succeed(transport.protocol)

    def send(self, data: bytes) -> None:
        """Send bytes over the newest connection."""
        self.transports[-1].protocol.dataReceived(data)

    def lose(self) -> None:
        """Lose the newest connection."""
        self.transports[-1].protocol.connectionLost(Failure(ConnectionLost()))

    def is_aborted(self) -> bool:
        """Return True if warmside has aborted the newest connection; it is lost then."""
        self.lose()
        aborted: bool = self.transports[-1].aborted
        return aborted


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Peer:
    return Peer(monkeypatch)


def failure_of(posted: "Deferred[Response]") -> BoshError:
    with pytest.raises(BoshError) as caught:
        now(posted)
    return caught.value


def test_requests_are_single_writes_over_one_connection_and_carry_no_cookie(peer: Peer) -> None:
    for body in (b"<first/>", b"<second/>"):
        posted = peer.lease.post(body)
        (transport,) = peer.transports
        head, _, sent = transport.value().partition(b"\r\n\r\n")
        transport.clear()
        lines = head.split(b"\r\n")
        assert lines[:2] == [b"POST /bosh?x=1 HTTP/1.1", b"Host: 127.0.0.1:5282"] and sent == body
        assert {line.lower() for line in lines[2:]} >= {
            b"content-type: text/xml; charset=utf-8",
            b"x-forwarded-for: 203.0.113.7",
            b"content-length: %d" % len(body),
        }
        assert b"cookie" not in head.lower()
        responses: list[Any] = []
        posted.addBoth(responses.append)
        peer.send(HEAD % 5 + b"hel")
        assert not responses
        peer.send(b"lo")
        assert responses == [Response(200, b"hello")]
    closing = peer.manager.close()
    peer.lose()
    now(closing)


@pytest.mark.parametrize("coding", [b"gzip", b"GZip"])
def test_a_compressed_response_is_decoded(peer: Peer, coding: bytes) -> None:
    posted, data = peer.lease.post(b"<body/>"), gzip.compress(b"<body>hello</body>", mtime=0)
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n%b" % (coding, len(data), data))
    assert now(posted) == Response(200, b"<body>hello</body>")


@pytest.mark.parametrize("received", [b"", HEAD % 50, HEAD % 50 + b"hello"])
def test_a_cancelled_request_closes_its_connection_however_much_of_the_response_has_arrived(
    peer: Peer, received: bytes
) -> None:
    posted = peer.lease.post(b"<body/>")
    if received:
        peer.send(received)
    errors: list[Any] = []
    posted.addErrback(errors.append)
    posted.cancel()
    assert peer.is_aborted()
    assert errors[0].check(CancelledError, ConnectionBroken)


def test_a_response_that_announces_too_many_bytes_is_not_read(peer: Peer) -> None:
    posted = peer.lease.post(b"<body/>")
    peer.send(HEAD % (MAX_SIZE + 1))
    assert peer.is_aborted() and "too long" in str(failure_of(posted))


def test_a_response_that_becomes_too_long_is_not_read_to_its_end(peer: Peer) -> None:
    posted = peer.lease.post(b"<body/>")
    peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b" " * MAX_SIZE)
    assert not peer.transports[0].aborted
    peer.send(b" ")
    assert peer.is_aborted() and "too long" in str(failure_of(posted))


def test_a_connection_lost_before_the_end_of_the_response_is_broken_and_may_be_retried(peer: Peer) -> None:
    for received in (b"", HEAD % 50 + b"hello", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"):
        posted = peer.lease.post(b"<body/>")
        if received:
            peer.send(received)
        peer.lose()
        assert isinstance(failure_of(posted), ConnectionBroken)


def test_a_response_that_is_not_http_is_not_retried(peer: Peer) -> None:
    posted = peer.lease.post(b"<body/>")
    peer.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    peer.lose()
    error = failure_of(posted)
    assert isinstance(error, InvalidResponse) and str(error).startswith("the response is not HTTP: bosh.url ")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, b"<body xmlns='http://jabber.org/protocol/httpbind' type='terminate' condition='item-not-found'/>", None),
        (404, b"<body xmlns='http://jabber.org/protocol/httpbind' type='terminate' condition='item-not-found'/>", None),
        (200, b"<html/>", InvalidResponse),
        (200, b"", InvalidResponse),
        (301, b"", InvalidResponse),
        (400, b"", InvalidResponse),
        (401, b"", InvalidResponse),
        (404, b"<h1>Not Found</h1>", InvalidResponse),
        (502, b"", Unreachable),
    ],
)
def test_only_the_response_of_a_connection_manager_passes_the_check(
    peer: Peer, status: int, body: bytes, error: type[BoshError] | None
) -> None:
    checked = Deferred.fromCoroutine(peer.manager.check())
    assert b" sid='warmside-ready'" in peer.transports[0].value()
    peer.send(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
    if error is None:
        assert now(checked) is None
    else:
        with pytest.raises(error):
            now(checked)
    assert peer.manager.in_use == 0


def test_a_manager_that_refuses_connections_is_unreachable(peer: Peer) -> None:
    peer.refuses = True
    error = failure_of(peer.lease.post(b"<body/>"))
    assert isinstance(error, Unreachable) and not isinstance(error, ConnectionBroken)
    assert "can't connect to the connection manager: connection was refused" in str(error)
