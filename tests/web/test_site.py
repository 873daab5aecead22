"""The limits of the HTTP server, on a connection in memory."""

import json
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from warmside.web.site import (
    DISCARD_TIMEOUT,
    FIRST_BYTE_TIMEOUT,
    IDLE_TIMEOUT,
    MAX_BODY,
    MAX_HEADER,
    REQUEST_TIMEOUT,
    BoundedSite,
)


class Echo(Resource):
    """Replies with the length of the body and the number of fields that Twisted has parsed."""

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
        """Send bytes; return what was received so far."""
        self.channel.dataReceived(data)
        reply: bytes = self.transport.value()
        return reply


def post(headers: bytes = b"", body: bytes = b"") -> bytes:
    return b"POST /x?a=b HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n" + body


@pytest.fixture
def connection() -> Connection:
    return Connection()


def test_a_body_of_64_kib_is_read_and_a_query_string_is_not_a_field(connection: Connection) -> None:
    reply = connection.send(post(b"Content-Length: %d\r\n" % MAX_BODY, b"x" * MAX_BODY))
    assert reply.startswith(b"HTTP/1.1 200") and reply.endswith(b"[65536, 0]")


def test_a_longer_body_is_rejected_by_its_length_before_it_is_read(connection: Connection) -> None:
    reply = connection.send(post(b"Content-Length: %d\r\n" % (MAX_BODY + 1)))
    assert reply.startswith(b"HTTP/1.1 413 Content Too Large\r\n")
    assert b"no-store" in reply
    assert b"X-Request-ID: " in reply
    assert_discards_and_closes(connection)


def test_a_longer_body_that_arrives_with_the_header_is_rejected(connection: Connection) -> None:
    reply = connection.send(post(b"Content-Length: %d\r\n" % (MAX_BODY + 1), b"x" * 1000))
    assert reply.startswith(b"HTTP/1.1 413 Content Too Large\r\n") and reply.count(b"HTTP/1.1") == 1
    assert_discards_and_closes(connection)


def test_the_target_star_reaches_the_site(connection: Connection) -> None:
    reply = connection.send(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
    assert reply.endswith(b"[0, 0]"), "Twisted has replied without the site"


def assert_discards_and_closes(connection: Connection) -> None:
    """Check that further bytes are discarded before the close, so that the client can read the reply."""
    reply = connection.transport.value()
    assert connection.send(b"x" * 100_000) == reply
    assert not connection.transport.disconnecting
    connection.clock.advance(DISCARD_TIMEOUT)
    assert connection.transport.disconnecting


def test_a_rejection_has_the_accepted_form(connection: Connection) -> None:
    headers = b"Accept: application/json\r\nX-Request-ID: abc\r\nExpect: 100-continue\r\n"
    reply = connection.send(post(headers + b"Content-Length: 99999\r\n"))
    assert b"application/problem+json" in reply and b"X-Request-ID: abc" in reply
    assert b"urn:warmside:too-large" in reply and b"100 Continue" not in reply


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        (b"nonsense\r\n\r\n", b"not well-formed HTTP"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"without a colon"),
        (b"GET / HTTP/1.1\r\n\r\n", b"no Host"),
        (b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", b"obs-fold"),
        (b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", b"NUL"),
        (b"GET / HTTP/1.1\r\nHost: x y\r\n\r\n", b"Host"),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"Transfer-Encoding"),
        (post(b"Host: x\r\n"), b"two Host lines"),
        (post(b"Host: y\r\n"), b"two Host lines"),
        (post(b"X-A: 1\r\n 2\r\n"), b"obs-fold"),
        (post(b"X-A: 1\r\n\t2\r\n"), b"obs-fold"),
        (post(b"X-A : 1\r\n"), b"whitespace before a colon"),
        (post(b"X(A: 1\r\n"), b"forbidden character"),
        (post(b": 1\r\n"), b"forbidden character"),
        (post(b"X-A: 1\r2\r\n"), b"CR"),
        (post(b"X-A: 1\n2\r\n"), b"LF"),
        (post(b"X-A: 1\x002\r\n"), b"NUL"),
        (post(b"Content-Length: -1\r\n"), b"Content-Length"),
        (post(b"Content-Length: +1\r\n", b"x"), b"Content-Length"),
        (post(b"Content-Length: " + b"9" * 5000 + b"\r\n"), b"Content-Length"),
        (post(b"Content-Length: 1\r\nContent-Length: 1\r\n", b"x"), b"two Content-Length lines"),
        (post(b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), b"Transfer-Encoding"),
        (post(b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", b"0\r\n\r\n"), b"Transfer-Encoding"),
        (post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"), b"Transfer-Encoding"),
        (post(b"Transfer-Encoding: identity\r\n"), b"Transfer-Encoding"),
    ],
)
def test_a_malformed_request_gets_400_that_names_the_fault(request_: bytes, named: bytes) -> None:
    processed: list[Request] = []

    class Recorder(Echo):
        def render(self, request: Request) -> bytes:
            processed.append(request)
            return super().render(request)

    connection = Connection(Recorder())  # type: ignore[no-untyped-call]
    reply = connection.send(request_ + post())
    assert reply.startswith(b"HTTP/1.1 400 Bad Request\r\n") and reply.count(b"HTTP/1.1 ") == 1
    assert b"Cache-Control: no-store" in reply and b"Connection: close" in reply and named in reply
    assert processed == []
    assert_discards_and_closes(connection)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [::1]:5281\r\nX-A: 1\r\nX-A: 2\r\nX-B:\t\xe9 \r\n\r\n",
        post(b"Transfer-Encoding: Chunked\r\n", b"0\r\nX-A: 1\r\n\r\n"),
    ],
)
def test_a_request_that_is_unusual_and_well_formed_is_served(connection: Connection, request_: bytes) -> None:
    assert b" 200 OK" in connection.send(request_)


def test_a_target_may_include_the_host(connection: Connection) -> None:
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
        raise AssertionError("a temporary file was opened")

    for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, forbidden)
    reply = connection.send(post(b"Transfer-Encoding: chunked\r\n", b"4000\r\n" + b"x" * 0x4000 + b"\r\n0\r\n\r\n"))
    assert reply.endswith(b"[16384, 0]")


@pytest.mark.parametrize(
    "header", [b"X: " + b"x" * MAX_HEADER + b"\r\n", b"X: y\r\n" * 3000, b"X: " + b"x" * 3 * MAX_HEADER]
)
def test_a_header_over_16_kib_gets_431(connection: Connection, header: bytes) -> None:
    reply = connection.send(post(header))
    assert reply.startswith(b"HTTP/1.1 431 ")
    assert reply.count(b"HTTP/1.1") == 1
    assert_discards_and_closes(connection)


def test_a_header_under_16_kib_is_read(connection: Connection) -> None:
    assert connection.send(post(b"X: " + b"x" * (MAX_HEADER - 200) + b"\r\n")).startswith(b"HTTP/1.1 200")


def test_the_limit_applies_to_the_header_of_each_request(connection: Connection) -> None:
    request = post(b"X: " + b"x" * (MAX_HEADER - 200) + b"\r\n")
    assert connection.send(request * 3).count(b"HTTP/1.1 200") == 3


@pytest.mark.parametrize("slow", [post(b"Content-Length: 1000\r\n"), b"POST / HTTP/1.1\r\nHost"])
def test_a_slow_request_gets_408_after_ten_seconds(connection: Connection, slow: bytes) -> None:
    connection.send(slow)
    for _ in range(int(REQUEST_TIMEOUT) - 1):
        connection.clock.advance(1)
        assert connection.send(b"x") == b""
    connection.clock.advance(1)
    assert connection.transport.value().startswith(b"HTTP/1.1 408 ")
    assert_discards_and_closes(connection)


def test_the_time_limit_ends_with_the_request(connection: Connection) -> None:
    assert connection.send(post()).startswith(b"HTTP/1.1 200")
    connection.clock.advance(REQUEST_TIMEOUT * 2)
    assert connection.send(post()).count(b"HTTP/1.1 200") == 2


def test_an_idle_connection_is_closed(connection: Connection) -> None:
    connection.send(post())
    connection.clock.advance(IDLE_TIMEOUT + 1)
    assert connection.transport.disconnecting


def test_a_stopping_site_closes_idle_connections_and_the_others_after_their_reply(connection: Connection) -> None:
    connection.send(post())
    idle = connection.transport
    connection.open()
    new = connection.transport
    assert connection.channel.awaited
    connection.site.stop()
    assert idle.disconnecting and not new.disconnecting
    assert b"Connection: close" in connection.send(post()) and new.disconnecting
    assert not connection.channel.awaited


def test_a_stopping_site_closes_a_busy_connection_after_its_reply() -> None:
    received: list[Request] = []

    class Slow(Resource):
        isLeaf = True

        def render(self, request: Request) -> int:
            received.append(request)
            return NOT_DONE_YET

    connection = Connection(Slow())  # type: ignore[no-untyped-call]
    connection.send(post())
    assert connection.channel.busy
    connection.site.stop()
    assert not connection.transport.disconnecting
    received[0].finish()
    assert b"Connection: close" in connection.transport.value() and connection.transport.disconnecting
    connection.channel.connectionLost(Failure(ConnectionDone()))
    assert not connection.site.channels


def test_a_stopping_site_awaits_the_rest_of_a_request(connection: Connection) -> None:
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


def test_the_number_of_connections_is_limited(connection: Connection) -> None:
    connection.site.max_connections = 2
    connection.send(b"POST")
    connection.open()
    connection.send(b"POST")
    served = connection.channel
    connection.open()
    assert connection.transport.disconnected
    served.connectionLost(Failure(ConnectionDone()))
    connection.open()
    assert connection.send(post()).startswith(b"HTTP/1.1 200")


def test_the_oldest_idle_connection_makes_room_for_a_new_one(connection: Connection) -> None:
    connection.site.max_connections = 3
    connection.send(b"POST")
    begun = connection.transport
    connection.open()
    first, transport = connection.channel, connection.transport
    connection.open()
    second = connection.transport
    first.dataReceived(post())  # a served request makes a connection the newest one
    connection.open()
    assert second.disconnected and not begun.disconnected and not transport.disconnected
    connection.open()
    assert transport.disconnected and not begun.disconnected
    assert connection.send(post()).startswith(b"HTTP/1.1 200") and len(connection.site.channels) == 3


def test_the_first_byte_is_due_within_ten_seconds(connection: Connection) -> None:
    connection.clock.advance(FIRST_BYTE_TIMEOUT - 0.1)
    assert not connection.transport.disconnecting
    connection.clock.advance(0.1)
    assert connection.transport.disconnecting
    connection.open()
    connection.send(post())
    connection.clock.advance(FIRST_BYTE_TIMEOUT + 1)
    assert not connection.transport.disconnecting


@pytest.mark.parametrize(("files", "maximum"), [(1024, 768), (4096, 1000), (-1, 1000), (100, 1)])
def test_the_maximum_leaves_files_for_everything_else(
    monkeypatch: pytest.MonkeyPatch, files: int, maximum: int
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (files, -1))
    assert Connection().site.max_connections == maximum
