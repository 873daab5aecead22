"""The bounds of the HTTP server, byte by byte on a connection without a network."""

import json
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from warmside.web.site import IDLE_TIME, LINGER_TIME, MAX_BODY, MAX_CONNECTIONS, MAX_HEADER, REQUEST_TIME, BoundedSite


class Echo(Resource):
    """Replies with the length of the body and the fields that Twisted has seen."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        assert request.content is not None
        return json.dumps([len(request.content.read()), len(request.args or {})]).encode()


class Connection:
    """A client's end of a connection."""

    def __init__(self, resource: Resource | None = None) -> None:
        self.clock = Clock()
        self.site = BoundedSite(resource or Echo(), self.clock)  # type: ignore[no-untyped-call]
        self.open()

    def open(self) -> None:
        self.transport: Any = StringTransport()
        self.channel: Any = self.site.buildProtocol(None)
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> bytes:
        """Send bytes; returns the reply so far."""
        self.channel.dataReceived(data)
        reply: bytes = self.transport.value()
        return reply


def post(headers: bytes = b"", body: bytes = b"") -> bytes:
    return b"POST /x?a=b HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n" + body


@pytest.fixture
def connection() -> Connection:
    return Connection()


def test_a_body_of_64_kib_is_read_and_a_query_string_is_no_field(connection: Connection) -> None:
    reply = connection.send(post(b"Content-Length: %d\r\n" % MAX_BODY, b"x" * MAX_BODY))
    assert reply.startswith(b"HTTP/1.1 200") and reply.endswith(b"[65536, 0]")


def test_a_longer_body_is_refused_by_its_length_before_it_is_read(connection: Connection) -> None:
    reply = connection.send(post(b"Content-Length: %d\r\n" % (MAX_BODY + 1)))
    assert reply.startswith(b"HTTP/1.1 413 Content Too Large\r\n")
    assert b"no-store" in reply
    assert b"X-Request-ID: " in reply
    assert_closes_after_lingering(connection)


def test_a_longer_body_that_comes_along_with_the_header_is_refused_too(connection: Connection) -> None:
    reply = connection.send(post(b"Content-Length: %d\r\n" % (MAX_BODY + 1), b"x" * 1000))
    assert reply.startswith(b"HTTP/1.1 413 Content Too Large\r\n") and reply.count(b"HTTP/1.1") == 1
    assert_closes_after_lingering(connection)


def test_a_star_is_an_address_like_any_other(connection: Connection) -> None:
    reply = connection.send(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
    assert reply.endswith(b"[0, 0]"), "Twisted has answered it past the site"


def assert_closes_after_lingering(connection: Connection) -> None:
    """What still comes is thrown away for a while, so that the peer gets to read the reply."""
    reply = connection.transport.value()
    assert connection.send(b"x" * 100_000) == reply
    assert not connection.transport.disconnecting
    connection.clock.advance(LINGER_TIME)
    assert connection.transport.disconnecting


def test_a_refusal_comes_in_the_form_that_was_asked_for(connection: Connection) -> None:
    headers = b"Accept: application/json\r\nX-Request-ID: abc\r\nExpect: 100-continue\r\n"
    reply = connection.send(post(headers + b"Content-Length: 99999\r\n"))
    assert b"application/problem+json" in reply and b"X-Request-ID: abc" in reply
    assert b"urn:warmside:too-large" in reply and b"100 Continue" not in reply


@pytest.mark.parametrize(
    "request_", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", post(b"Content-Length: -1\r\n")]
)
def test_what_is_no_http_is_refused_like_everything_else(connection: Connection, request_: bytes) -> None:
    reply = connection.send(request_)
    assert reply.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Cache-Control: no-store" in reply and b"not a well-formed HTTP request" in reply


def test_a_target_may_name_the_host(connection: Connection) -> None:
    assert connection.send(b"GET http://localhost:1/x HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_a_chunked_body_is_counted(connection: Connection) -> None:
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    reply = connection.send(post(b"Transfer-Encoding: chunked\r\n", chunk * 4))
    assert reply == b""
    reply = connection.send(chunk)
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert connection.send(b"0\r\n\r\n") == reply


def test_a_chunked_body_is_never_written_to_disk(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("a temporary file")

    for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, forbidden)
    reply = connection.send(post(b"Transfer-Encoding: chunked\r\n", b"4000\r\n" + b"x" * 0x4000 + b"\r\n0\r\n\r\n"))
    assert reply.endswith(b"[16384, 0]")


@pytest.mark.parametrize(
    "header", [b"X: " + b"x" * MAX_HEADER + b"\r\n", b"X: y\r\n" * 3000, b"X: " + b"x" * 3 * MAX_HEADER]
)
def test_a_header_block_over_16_kib_is_refused_with_a_reply(connection: Connection, header: bytes) -> None:
    reply = connection.send(post(header))
    assert reply.startswith(b"HTTP/1.1 431 ")
    assert reply.count(b"HTTP/1.1") == 1
    assert_closes_after_lingering(connection)


def test_a_header_block_under_16_kib_is_read(connection: Connection) -> None:
    assert connection.send(post(b"X: " + b"x" * (MAX_HEADER - 200) + b"\r\n")).startswith(b"HTTP/1.1 200")


def test_each_request_has_a_header_block_of_its_own(connection: Connection) -> None:
    request = post(b"X: " + b"x" * (MAX_HEADER - 200) + b"\r\n")
    assert connection.send(request * 3).count(b"HTTP/1.1 200") == 3


@pytest.mark.parametrize("slow", [post(b"Content-Length: 1000\r\n"), b"POST / HTTP/1.1\r\nHost"])
def test_a_request_that_trickles_in_is_refused_after_ten_seconds(connection: Connection, slow: bytes) -> None:
    connection.send(slow)
    for _ in range(int(REQUEST_TIME) - 1):
        connection.clock.advance(1)
        assert connection.send(b"x") == b""
    connection.clock.advance(1)
    assert connection.transport.value().startswith(b"HTTP/1.1 408 ")
    assert_closes_after_lingering(connection)


def test_the_clock_of_a_request_ends_with_it(connection: Connection) -> None:
    assert connection.send(post()).startswith(b"HTTP/1.1 200")
    connection.clock.advance(REQUEST_TIME * 2)
    assert connection.send(post()).count(b"HTTP/1.1 200") == 2


def test_an_idle_connection_is_closed(connection: Connection) -> None:
    connection.clock.advance(IDLE_TIME + 1)
    assert connection.transport.disconnecting


def test_at_the_end_idle_connections_are_closed_and_the_others_after_their_reply(connection: Connection) -> None:
    connection.send(post())
    idle = connection.transport
    connection.open()
    newcomer = connection.transport
    assert connection.channel.awaited
    connection.site.stop()
    assert idle.disconnecting and not newcomer.disconnecting
    assert b"Connection: close" in connection.send(post()) and newcomer.disconnecting
    assert not connection.channel.awaited


def test_at_the_end_a_request_under_way_is_the_last_of_its_connection() -> None:
    asked: list[Request] = []

    class Slow(Resource):
        isLeaf = True

        def render(self, request: Request) -> int:
            asked.append(request)
            return NOT_DONE_YET

    connection = Connection(Slow())  # type: ignore[no-untyped-call]
    connection.send(post())
    assert connection.channel.busy
    connection.site.stop()
    assert not connection.transport.disconnecting
    asked[0].finish()
    assert b"Connection: close" in connection.transport.value() and connection.transport.disconnecting
    connection.channel.connectionLost(Failure(ConnectionDone()))
    assert not connection.site.channels


def test_at_the_end_a_request_that_is_half_there_is_waited_for(connection: Connection) -> None:
    connection.send(post())
    connection.send(post(b"Content-Length: 2\r\n"))
    connection.site.stop()
    assert connection.channel.awaited and not connection.transport.disconnecting
    assert connection.send(b"ab").endswith(b"[2, 0]") and connection.transport.disconnecting
    assert not connection.channel.awaited


def test_stop_leaves_a_connection_alone_whose_last_response_is_being_written(connection: Connection) -> None:
    connection.send(post(b"Connection: close\r\n"))
    assert connection.channel.busy and connection.transport.disconnecting
    connection.site.stop()


def test_there_is_a_most_of_connections(connection: Connection) -> None:
    for _ in range(MAX_CONNECTIONS - 1):
        connection.open()
    served = connection.channel
    connection.open()
    assert connection.transport.disconnected
    served.connectionLost(None)
    connection.open()
    assert connection.send(post()).startswith(b"HTTP/1.1 200")
