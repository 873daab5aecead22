"""Private interfaces of twisted.web's HTTP client and treq: each test names the one that it checks.

A failure here means that a release has changed an interface that `warmside/compat/httpclient.py` describes.
"""

from typing import Any

import pytest
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.web.client import HTTPConnectionPool, ResponseDone, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent
from zope.interface import implementer

from tests.support import now
from warmside.compat import httpclient
from warmside.compat.hostnames import PreparedURL

REQUEST = b"POST /bosh HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Transport(StringTransport):
    """A transport that records that it was aborted."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class Connection:
    """A pool, and an endpoint that connects it to a transport in memory."""

    def __init__(self) -> None:
        self.reactor = MemoryReactorClock()
        self.pool = HTTPConnectionPool(self.reactor)
        self.pool.retryAutomatically = False
        self.transports: list[Any] = []

    def connect(self, factory: Any) -> "Deferred[Any]":
        self.protocol = factory.buildProtocol(None)
        transport: Any = Transport()  # type: ignore[no-untyped-call]
        self.transports.append(transport)
        self.protocol.makeConnection(transport)
        return succeed(self.protocol)

    def post(self) -> "Deferred[Any]":
        return httpclient.post_prepared(self.pool, ("http", "localhost", 80), self, REQUEST)

    def close(self) -> None:
        self.pool.closeCachedConnections()


class Body(Protocol):
    """Collects a response's body, and the reason for its end."""

    def __init__(self) -> None:
        self.data = b""
        self.reason: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Any = None) -> None:
        self.reason = reason.value


def test_twisteds_http_client_writes_a_prepared_request_and_keeps_the_connection() -> None:
    connection = Connection()
    for _ in range(2):
        responding = connection.post()
        (transport,) = connection.transports
        assert transport.value() == REQUEST, "twisted.web._newclient.HTTP11ClientProtocol.request has changed"
        transport.clear()
        body = Body()
        connection.protocol.dataReceived(RESPONSE[:-2])
        response = now(responding)
        assert (response.code, response.length) == (200, 5)
        response.deliverBody(body)
        connection.protocol.dataReceived(RESPONSE[-2:])
        assert isinstance(body.reason, ResponseDone) and body.data == b"hello"
    connection.close()


def test_twisteds_http_client_reports_a_lost_connection_without_parse_error() -> None:
    connection = Connection()
    responding = connection.post()
    connection.protocol.connectionLost(Failure(ConnectionLost()))
    with pytest.raises(ResponseFailed) as caught:
        now(responding)
    assert not httpclient.is_not_http(caught.value.reasons[0].value), "a lost connection looks like a parse error"


@pytest.mark.parametrize("data", [b"SSH-2.0-OpenSSH_9.2\r\n", b"220 mail.example.org ESMTP\r\n", b"X/Y 200 OK\r\n"])
def test_twisteds_http_client_reports_bytes_that_are_not_http_as_parse_error(data: bytes) -> None:
    connection = Connection()
    responding = connection.post()
    connection.protocol.dataReceived(data)
    with pytest.raises(ResponseFailed) as caught:
        now(responding)
    assert httpclient.is_not_http(caught.value.reasons[0].value), "twisted.web._newclient.ParseError has changed"


@pytest.mark.parametrize("head", [b"Content-Length: 50", b"Transfer-Encoding: chunked"])
def test_twisteds_http_client_reports_a_cut_body_as_a_lost_connection_first(head: bytes) -> None:
    connection = Connection()
    responding = connection.post()
    connection.protocol.dataReceived(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n5\r\nhello")
    body = Body()
    now(responding).deliverBody(body)
    connection.protocol.connectionLost(Failure(ConnectionLost()))
    assert isinstance(body.reason, ResponseFailed)
    assert isinstance(body.reason.reasons[0].value, ConnectionLost), "the order of ResponseFailed.reasons has changed"


def test_twisteds_http_client_gives_a_body_a_transport_that_can_be_aborted() -> None:
    connection = Connection()
    responding = connection.post()
    connection.protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello")
    body = Body()
    now(responding).deliverBody(body)
    httpclient.abort_response(body.transport)
    assert connection.transports[0].aborted, "twisted.web._newclient.TransportProxyProducer._producer has changed"
    connection.protocol.connectionLost(Failure(ConnectionLost()))
    assert isinstance(body.reason, ResponseFailed)
    httpclient.abort_response(body.transport)


@implementer(IAgent)
class Agent:
    """Records the address of a request."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bytes]] = []

    def request(self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: Any = None) -> Any:
        self.seen.append((method, uri))
        return fail(ConnectionLost())


@pytest.mark.parametrize("host", ["xn--mnchen-3ya.example", "ejabberd_1", "[::1]"])
def test_treq_takes_a_prepared_url_as_it_is(host: str) -> None:
    agent, url = Agent(), PreparedURL(f"http://{host}:5282/bosh?x=%41#y")
    posted: Deferred[Any] = HTTPClient(agent).request("POST", url, data=b"", unbuffered=True)
    posted.addErrback(lambda failure: failure.trap(ConnectionLost))
    assert agent.seen == [(b"POST", f"http://{host}:5282/bosh?x=%41".encode())], (
        "treq.client.HTTPClient.request no longer calls EncodedURL.to_uri and to_text"
    )
