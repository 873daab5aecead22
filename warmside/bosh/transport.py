"""Carrying BOSH requests over HTTP with treq: kept connections, a hard maximum of them, a fair queue.

A login reserves all connections that it may use at once before it starts, so that logins can't wait
for each other in a circle. Nothing here looks into a body.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from OpenSSL.SSL import Error as TLSError
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse

from warmside.bosh.agent import NoCookies, PreparedAgent, PreparedURL, WholeBody
from warmside.bosh.body import MAX_SIZE
from warmside.bosh.errors import Busy, InvalidResponse, Unreachable
from warmside.bosh.session import CONTENT_TYPE

IDLE_TIMEOUT = 30
"""Seconds for which a connection that nobody uses is kept."""
MAX_WAITING = 256
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


class ConnectionManager:
    """The way to one connection manager.

    :param url: its address, http or https.
    :param connections: hard maximum of open connections.
    :param ca_file: PEM file of the certificate authority for https; the system's if ``None``.
    :param tell: is told by how much the number of reserved connections changes.
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        connections: int,
        ca_file: Path | None = None,
        tell: Callable[[int], None] = lambda change: None,
    ) -> None:
        self.url = url
        self._tell = tell
        self.connections = connections
        self.in_use = 0
        self._url = PreparedURL(url)
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = connections
        self._pool.cachedConnectionTimeout = IDLE_TIMEOUT
        self._pool.retryAutomatically = False
        agent = PreparedAgent(reactor, self._url, ca_file, self._pool)
        no_cookies: Any = NoCookies()
        self._client = HTTPClient(agent, cookiejar=no_cookies, data_to_body_producer=WholeBody)
        self._waiting: deque[tuple[int, Deferred[None]]] = deque()

    @property
    def waiting(self) -> int:
        """How many logins wait for connections."""
        return len(self._waiting)

    @asynccontextmanager
    async def reserve(self, wanted: int = 2, address: str | None = None) -> AsyncIterator["ConnectionLease"]:
        """Reserve connections, waiting for one's turn.

        :param wanted: how many to use at once; fewer if the maximum is lower.
        :param address: the browser's IP address, passed on as ``X-Forwarded-For``.
        :raises Busy: too many wait already.
        """
        count = min(wanted, self.connections)
        if self._waiting or self.in_use + count > self.connections:
            if len(self._waiting) >= MAX_WAITING:
                raise Busy("too many logins wait for a connection already")
            turn: Deferred[None] = Deferred(lambda cancelled: self._give_up(cancelled))
            self._waiting.append((count, turn))
            await turn
        else:
            self._change(count)
        try:
            yield ConnectionLease(self, count, address)
        finally:
            self._change(-count)
            self._next()

    async def look(self) -> None:
        """See whether the manager answers, without opening a session: by a request that is no XML, which it refuses.

        When all connections are in use it is not asked: logins under way will tell.

        :raises BoshError: it can't be reached, or answers that it is broken.
        """
        if self._waiting or self.in_use >= self.connections:
            return
        async with self.reserve(1) as lease:
            response = await lease.post(b"\n")
        if response.status >= 500:
            raise Unreachable(f"the connection manager answered with status {response.status}")

    def post(self, body: bytes, headers: Headers) -> "Deferred[Response]":
        """Send one request.

        :raises ConnectionBroken: the connection was lost.
        :raises Unreachable: there is no connection to be had.
        :raises InvalidResponse: the response is too long.
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
            self._change(count)
            turn.callback(None)

    def _change(self, count: int) -> None:
        self.in_use += count
        self._tell(count)

    def _give_up(self, cancelled: "Deferred[None]") -> None:
        self._waiting = deque(entry for entry in self._waiting if entry[1] is not cancelled)
        self._reactor.callLater(0, self._next)


class ConnectionLease:
    """Connections reserved for one login; ``width`` is how many requests may be under way at once."""

    def __init__(self, manager: ConnectionManager, width: int, address: str | None) -> None:
        self.width = width
        self._manager = manager
        self._headers = Headers({b"Content-Type": [CONTENT_TYPE.encode()], b"User-Agent": [b"warmside"]})
        if address is not None:
            self._headers.setRawHeaders(b"X-Forwarded-For", [address.encode("ascii")])

    def post(self, body: bytes) -> "Deferred[Response]":
        """See `ConnectionManager.post`."""
        return self._manager.post(body, self._headers)


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
            self._finished.errback(Failure(InvalidResponse("the connection manager's answer is far too long")))
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
            raise InvalidResponse("what answers there does not speak HTTP") from None
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
