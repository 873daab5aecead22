"""Carrying BOSH requests over HTTP with treq: kept connections, a hard maximum of them, a fair queue.

A login reserves all connections that it may use at once before it starts, so that logins can't wait
for each other in a circle. Nothing here looks into a body.
"""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

from hyperlink import EncodedURL
from OpenSSL.SSL import Error as TLSError
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.python.failure import Failure
from twisted.web.client import (
    URI,
    Agent,
    BrowserLikePolicyForHTTPS,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from warmside.bosh.body import MAX_SIZE
from warmside.bosh.errors import Busy, NotUnderstood, Unreachable
from warmside.bosh.session import CONTENT_TYPE

CONNECT_TIMEOUT = 5.0
IDLE_TIMEOUT = 30
"""Seconds for which a connection that nobody uses is kept."""
MOST_WAITING = 256
"""Logins that may wait for connections; one more is turned away."""

LOST = (ConnectionClosed, RequestTransmissionFailed, ResponseNeverReceived, ResponseFailed)
NOT_CONNECTED = (ConnectError, DNSLookupError)


class ConnectionBroken(Unreachable):
    """A connection was lost before its response was complete: the request may or may not have arrived."""


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response: its status, and the whole body."""

    status: int
    body: bytes = field(repr=False)


class Manager:
    """The way to one connection manager.

    :param url: its address, http or https.
    :param connections: hard maximum of open connections.
    :param ca_file: PEM file of the certificate authority for https; the system's if ``None``.
    """

    def __init__(self, reactor: Any, url: str, connections: int, ca_file: Path | None = None) -> None:
        self.url = url
        self.connections = connections
        self.in_use = 0
        self._url = _PreparedURL(url)
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = connections
        self._pool.cachedConnectionTimeout = IDLE_TIMEOUT
        self._pool.retryAutomatically = False
        agent = Agent.usingEndpointFactory(reactor, _OneEndpoint(reactor, url, ca_file), self._pool)
        no_cookies: Any = _NoCookies()
        self._client = HTTPClient(agent, cookiejar=no_cookies, data_to_body_producer=_Whole)
        self._waiting: deque[tuple[int, Deferred[None]]] = deque()

    @property
    def waiting(self) -> int:
        """How many logins wait for connections."""
        return len(self._waiting)

    @asynccontextmanager
    async def reserve(self, wanted: int = 2, address: str | None = None) -> AsyncIterator["Lane"]:
        """Reserve connections, waiting for one's turn.

        :param wanted: how many to use at once; fewer if the maximum is lower.
        :param address: the browser's IP address, passed on as ``X-Forwarded-For``.
        :raises Busy: too many wait already.
        """
        count = min(wanted, self.connections)
        if self._waiting or self.in_use + count > self.connections:
            if len(self._waiting) >= MOST_WAITING:
                raise Busy("too many logins wait for a connection already")
            turn: Deferred[None] = Deferred(lambda cancelled: self._give_up(cancelled))
            self._waiting.append((count, turn))
            await turn
        else:
            self.in_use += count
        try:
            yield Lane(self, count, address)
        finally:
            self.in_use -= count
            self._next()

    def post(self, body: bytes, headers: Headers) -> "Deferred[Response]":
        """Send one request.

        :raises ConnectionBroken: the connection was lost.
        :raises Unreachable: there is no connection to be had.
        :raises NotUnderstood: the response is too long.
        """
        requested = self._client.request(
            "POST",
            self._url,
            headers=headers,
            data=body,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        return requested.addCallback(_read).addErrback(_explain)

    def close(self) -> "Deferred[None]":
        """Close the kept connections."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed

    def _next(self) -> None:
        """Let in whoever waits, in order; a wide login is not overtaken by narrow ones."""
        while self._waiting and self.in_use + self._waiting[0][0] <= self.connections:
            count, turn = self._waiting.popleft()
            self.in_use += count
            turn.callback(None)

    def _give_up(self, cancelled: "Deferred[None]") -> None:
        self._waiting = deque(entry for entry in self._waiting if entry[1] is not cancelled)
        self._reactor.callLater(0, self._next)


class Lane:
    """Connections reserved for one login; ``width`` is how many requests may be under way at once."""

    def __init__(self, manager: Manager, width: int, address: str | None) -> None:
        self.width = width
        self._manager = manager
        self._headers = Headers({b"Content-Type": [CONTENT_TYPE.encode()], b"User-Agent": [b"warmside"]})
        if address is not None:
            self._headers.setRawHeaders(b"X-Forwarded-For", [address.encode("ascii")])

    def post(self, body: bytes) -> "Deferred[Response]":
        """See `Manager.post`."""
        return self._manager.post(body, self._headers)


class _PreparedURL(EncodedURL):
    """A URL whose host need not be IDNA-encoded anew for each request."""

    def __init__(self, url: str) -> None:
        parsed = EncodedURL.from_text(url).to_uri()
        super().__init__(parsed.scheme, parsed.host, parsed.path, parsed.query, port=parsed.port, rooted=True)
        self._text = parsed.to_text()

    def to_uri(self) -> "_PreparedURL":
        return self

    def to_text(self, with_password: bool = False) -> str:
        return self._text


class _NoCookies(CookieJar):
    """Keeps no cookies: a manager's or proxy's cookie for one user must never go along with another."""

    def add_cookie_header(self, request: Any) -> None:
        pass

    def extract_cookies(self, response: Any, request: Any) -> None:
        pass


@implementer(IAgentEndpointFactory)
class _OneEndpoint:
    """The one endpoint that there is to connect to, made once."""

    def __init__(self, reactor: Any, url: str, ca_file: Path | None) -> None:
        uri = URI.fromBytes(EncodedURL.from_text(url).to_uri().to_text().encode("ascii"))
        self._endpoint: Any = HostnameEndpoint(reactor, uri.host.strip(b"[]"), uri.port, timeout=CONNECT_TIMEOUT)
        if uri.scheme == b"https":
            connection = _https(ca_file).creatorForNetloc(uri.host, uri.port)
            self._endpoint = wrapClientTLS(connection, self._endpoint)

    def endpointForURI(self, uri: URI) -> Any:
        return self._endpoint


def _https(ca_file: Path | None) -> BrowserLikePolicyForHTTPS:
    if ca_file is None:
        return BrowserLikePolicyForHTTPS()
    begin = b"-----BEGIN CERTIFICATE-----"
    pems = [begin + rest for rest in ca_file.read_bytes().split(begin)[1:]]
    return BrowserLikePolicyForHTTPS(trustRootFromCertificates([Certificate.loadPEM(pem) for pem in pems]))


@implementer(IBodyProducer)
class _Whole:
    """A request body that is there already: one write, no producer loop."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> "Deferred[None]":
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass


def _read(response: IResponse) -> "Deferred[Response]":
    finished: Deferred[bytes] = Deferred(lambda _: reader.abort())
    reader = _Reader(finished)
    status: int = response.code
    if response.length is not UNKNOWN_LENGTH and response.length > MAX_SIZE:
        reader.too_long = True
    response.deliverBody(reader)
    return finished.addCallback(lambda body: Response(status, body))


class _Reader(Protocol):
    """Collects a response's body up to the maximum; past it the connection is closed."""

    def __init__(self, finished: "Deferred[bytes]") -> None:
        self.transport: Any = None
        self._finished = finished
        self._parts: list[bytes] = []
        self._size = 0
        self.too_long = False

    def connectionMade(self) -> None:
        if self.too_long:
            self.abort()

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_SIZE:
            self.too_long = True
            self._parts.clear()
            self.abort()
        elif not self.too_long:
            self._parts.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._finished.called:
            return
        if self.too_long:
            self._finished.errback(Failure(NotUnderstood("the connection manager's answer is far too long")))
        elif reason.check(ResponseDone, PotentialDataLoss):
            self._finished.callback(b"".join(self._parts))
        else:
            self._finished.errback(reason)

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()


def _explain(failure: Failure) -> Response:
    """Turn treq's and Twisted's failures into those of this room."""
    if failure.check(*NOT_CONNECTED):
        raise Unreachable(f"no connection to the connection manager: {_why(failure)}") from None
    if failure.check(*LOST):
        if isinstance(_innermost(failure), TLSError):
            raise Unreachable("TLS failed: nobody vouches for the manager's certificate (bosh.ca_file)") from None
        if type(_innermost(failure)).__name__ in ("ParseError", "BadStatusLine", "_DataLoss"):
            raise NotUnderstood("what answers there does not speak HTTP") from None
        raise ConnectionBroken(f"the connection to the connection manager was lost: {_why(failure)}") from None
    failure.raiseException()
    raise AssertionError("not reached")


def _innermost(failure: Failure) -> object:
    reasons = getattr(failure.value, "reasons", None)
    return reasons[0].value if reasons else failure.value


def _why(failure: Failure) -> str:
    """The kind of a failure, for a person; nothing that the other side sent."""
    error = _innermost(failure)
    text = type(error).__doc__ or type(error).__name__
    return text.strip().splitlines()[0].rstrip(".").lower() if len(text) < 200 else type(error).__name__
