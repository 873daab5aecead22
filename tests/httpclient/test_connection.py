"""The HTTP client's connection: any split of any response has the same result or error as in Twisted's own client."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http import PotentialDataLoss

from tests.support import now
from warmside.httpclient.connection import MAX_HEAD, Connection, InvalidHTTP
from warmside.httpclient.response import ResponseTooLong, read_body

MAX_SIZE = 1000
NAMES = st.sampled_from([b"Content-Type", b"X-A", b"Server", b"Connection", b"Content-Encoding"])
VALUES = st.sampled_from([b"text/xml; charset=utf-8", b"keep-alive", b"close", b"", b"a, b"])
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=4)
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
INFORMATIONAL = st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", HINTS, HINTS + HINTS])
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
Outcome = tuple[str, int, bytes]


class Transport(StringTransport):
    """A transport that records how it was closed."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


def chunked(body: bytes, sizes: list[int], extension: bytes, trailer: bytes) -> bytes:
    """Return a body in chunks of these sizes; the rest is the last chunk."""
    parts = []
    for size in [*sizes, len(body)]:
        part, body = body[:size], body[size:]
        if part:
            parts.append(b"%x%s\r\n%s\r\n" % (len(part), extension, part))
    return b"".join(parts) + b"0\r\n" + trailer + b"\r\n"


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """A response as a server may send it: its body has a length, is chunked, ends with the connection, or is empty."""
    head = b"HTTP/1.%d %d %s\r\n" % (
        draw(st.integers(0, 1)),
        draw(st.sampled_from([200, 204, 304, 301, 404, 500])),
        draw(st.sampled_from([b"OK", b"Not Found", b""])),
    )
    headers = draw(HEADERS)
    if draw(st.booleans()):
        headers = [(name, value) for name, value in headers if name != b"Connection"]
    body = draw(st.binary(max_size=40))
    framing = draw(st.sampled_from(["length", "chunks", "close"]))
    if head.split()[1] in (b"204", b"304"):
        body, framing = b"", "close"
    if framing == "length":
        headers.append((b"Content-Length", b"%d" % len(body)))
    elif framing == "chunks":
        headers.append((b"Transfer-Encoding", b"chunked"))
        extension = draw(st.sampled_from([b"", b";a=b"]))
        trailer = draw(st.sampled_from([b"", b"X-Trailer: 1\r\n"]))
        body = chunked(body, draw(st.lists(st.integers(1, 10), max_size=4)), extension, trailer)
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return draw(INFORMATIONAL) + head + lines + b"\r\n" + body


def outcome(result: Any) -> Outcome:
    """Reduce a response or a failure to its kind, status and body."""
    if not isinstance(result, Failure):
        return ("complete", *result)
    if result.check(ResponseNeverReceived, ResponseFailed):
        return ("broken", 0, b"")
    return ("error", 0, b"") if result.check(InvalidHTTP) else (str(result.type), 0, b"")


def ours(parts: list[bytes], reason: Exception) -> tuple[Outcome, bool]:
    """Receive these parts and the end of the connection; return the outcome, and True if the connection was kept."""
    idle: list[Connection] = []
    connection = Connection(MAX_SIZE, idle.append, lambda _: None)
    connection.makeConnection(Transport())  # type: ignore[no-untyped-call]
    results: list[Any] = []
    connection.request(b"request").addCallback(lambda r: (r.code, read_body(r, MAX_SIZE))).addBoth(results.append)
    for part in parts:
        if connection.transport is None or connection.transport.disconnecting:  # type: ignore[attr-defined]
            break
        connection.dataReceived(part)
    kept = bool(idle)
    if connection.transport is not None:
        connection.connectionLost(Failure(reason))
    (result,) = results
    return outcome(result), kept


class Endpoint:
    """An endpoint of Twisted's client that connects to a transport in memory."""

    protocol: Any

    def connect(self, factory: Any) -> "Deferred[Any]":
        self.protocol = factory.buildProtocol(None)
        self.transport: Any = Transport()  # type: ignore[no-untyped-call]
        self.protocol.makeConnection(self.transport)
        return succeed(self.protocol)

    def endpointForURI(self, uri: object) -> "Endpoint":
        return self


def twisteds(parts: list[bytes], reason: Exception) -> Outcome:
    """Receive the same in Twisted's client."""
    reactor = MemoryReactorClock()
    pool = HTTPConnectionPool(reactor)
    pool.retryAutomatically = False
    endpoint = Endpoint()
    agent: Any = Agent.usingEndpointFactory(reactor, endpoint, pool=pool)
    results: list[Any] = []
    responding = agent.request(b"POST", b"http://localhost/")
    responding.addCallback(collect)
    responding.addBoth(results.append)
    for part in parts:
        if endpoint.transport.disconnecting:
            break
        endpoint.protocol.dataReceived(part)
    endpoint.protocol.connectionLost(Failure(reason))
    pool.closeCachedConnections()
    (result,) = results
    return outcome(result)


class Body(Protocol):
    """Collects the body of Twisted's response."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.data = b""
        self.done: Deferred[tuple[int, bytes]] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback((self.code, self.data))
        else:
            self.done.errback(reason)


def collect(response: Any) -> "Deferred[tuple[int, bytes]]":
    """Return the status and the body of Twisted's response."""
    body = Body(response.code)
    response.deliverBody(body)
    return body.done


def split(data: bytes, positions: list[int]) -> list[bytes]:
    """Cut data at these positions."""
    cuts = sorted({0, len(data), *(position % (len(data) + 1) for position in positions)})
    return [data[start:end] for start, end in itertools.pairwise(cuts)]


@settings(max_examples=300, deadline=None)
@given(
    responses(),
    st.lists(st.integers(0, 10**6), max_size=8),
    st.one_of(st.none(), st.integers(0, 10**6)),
    st.sampled_from([ConnectionDone, ConnectionLost]),
)
def test_any_split_of_any_response_has_the_same_outcome_as_in_twisteds_client(
    response: bytes, positions: list[int], end: int | None, reason: type[Exception]
) -> None:
    data = response if end is None else response[: end % (len(response) + 1)]
    seen, _ = ours(split(data, positions), reason())
    assert seen == twisteds([data], reason())


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=60), st.lists(st.integers(0, 100), max_size=3))
def test_bytes_that_are_not_http_are_an_error(data: bytes, positions: list[int]) -> None:
    seen, kept = ours(split(b"\x00" + data, positions), ConnectionDone())
    assert seen == ("error", 0, b"") and not kept


@pytest.mark.parametrize(
    ("response", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi\x00", False),
        (b"HTTP/1.1 200 OK\r\n\r\nhi", False),
    ],
    ids=["length", "chunks", "204", "http-1.0-keep-alive", "close", "http-1.0", "second", "rubbish", "until-close"],
)
def test_a_connection_is_kept_if_the_response_is_complete_and_allows_it(response: bytes, kept: bool) -> None:
    body = b"" if b"204" in response else b"hi"
    seen, was_kept = ours([response], ConnectionDone())
    assert (seen[0], seen[2], was_kept) == ("complete", body, kept)


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MAX_SIZE + 1), ResponseTooLong),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (MAX_SIZE + 1), ResponseTooLong),
        (CHUNKED + b"1\r\nx\r\n" * (MAX_SIZE + 1), ResponseTooLong),
        (
            CHUNKED + b"1;" + b"e" * (MAX_HEAD + 2 * MAX_SIZE),
            ResponseTooLong,
        ),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEAD, InvalidHTTP),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (MAX_HEAD // 6 + 1), InvalidHTTP),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_HEAD // 25 + 1), InvalidHTTP),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", InvalidHTTP),
    ],
    ids=["announced", "until-close", "chunks", "extension", "line", "headers", "informational", "upgrade"],
)
def test_each_bound_aborts_the_connection(response: bytes, error: type[Exception]) -> None:
    transport: Any = Transport()  # type: ignore[no-untyped-call]
    connection = Connection(MAX_SIZE, lambda _: None, lambda _: None)
    connection.makeConnection(transport)  # type: ignore[no-untyped-call]
    responding = connection.request(b"request")
    for part in split(response, list(range(0, len(response), 4096))):
        if not transport.aborted:
            connection.dataReceived(part)
    assert transport.aborted and not connection.usable
    connection.connectionLost(Failure(ConnectionLost()))
    with pytest.raises(error):
        now(responding)


def test_a_cancelled_request_aborts_its_connection_and_drops_the_response() -> None:
    transport: Any = Transport()  # type: ignore[no-untyped-call]
    connection = Connection(MAX_SIZE, lambda _: None, lambda _: None)
    connection.makeConnection(transport)  # type: ignore[no-untyped-call]
    responding = connection.request(b"request")
    responding.cancel()
    assert transport.aborted and not connection.usable
    connection.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    with pytest.raises(CancelledError):
        now(responding)


def test_a_body_that_expands_too_far_is_not_decoded_to_its_end() -> None:
    class Doubling:
        """Decodes each slice to the same slice twice."""

        taken = 0

        def __init__(self, response: Any) -> None:
            self.response = response

        def deliverBody(self, protocol: Any) -> None:
            outer = self

            class Decoder:
                def makeConnection(self, transport: Any) -> None:
                    protocol.makeConnection(transport)

                def dataReceived(self, data: bytes) -> None:
                    outer.taken += len(data)
                    protocol.dataReceived(data + data)

                def connectionLost(self, reason: Any) -> None:
                    protocol.connectionLost(reason)

            self.response.deliverBody(Decoder())

    connection = Connection(2**20, lambda _: None, lambda _: None)
    connection.makeConnection(Transport())  # type: ignore[no-untyped-call]
    responding = connection.request(b"request")
    connection.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 2**20 + b"x" * 2**20)
    decoded: Any = Doubling(now(responding))
    with pytest.raises(ResponseTooLong):
        read_body(decoded, 2**18)
    assert decoded.taken < 2**19
