"""Carry BOSH requests over HTTP with treq: persistent connections, a hard maximum of them, a fair queue.

A login reserves all connections that it may use at once before it starts, so that logins can't deadlock. The transport
does not read the bodies.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed, ResponseNeverReceived
from twisted.web.iweb import IResponse

from warmside.bosh.body import MAX_SIZE, InvalidBody, decode, encode
from warmside.bosh.errors import Busy, CertificateRejected, InvalidResponse, Unreachable
from warmside.bosh.pipelining import Pipelining
from warmside.bosh.session import CONTENT_TYPE
from warmside.compat.hostnames import PreparedURL
from warmside.config.urls import UNIX, split_unix
from warmside.httpclient.agent import Address, NoCookies, PreparedAgent, WholeBody
from warmside.httpclient.connection import InvalidHTTP
from warmside.httpclient.headers import PreparedHeaders
from warmside.httpclient.response import ResponseTooLong, read_body
from warmside.tls import connection_fault, first_error, is_certificate_fault, tls_fault

MAX_WAITING = 256
"""Maximum logins that wait for connections; the next one is rejected."""

NO_SESSION = encode({"rid": "1", "sid": "warmside-ready"})
"""Request that every connection manager rejects with a ``<body/>`` (XEP-0124, 17.2: ``item-not-found``)."""

CLOSED_HINTS = {
    "http": "if this persists, bosh.url leads to a port with TLS (use https:) or XMPP over TCP (use ejabberd_http)",
    "https": "if this persists, the port in bosh.url does not speak TLS (use http:)",
}
"""Further causes of a connection that was closed before the head of a response, by the scheme of ``bosh.url``."""

_NAMED_HEADERS = {b"Content-Type": CONTENT_TYPE.encode(), b"User-Agent": b"warmside"}
_HEADERS = PreparedHeaders(_NAMED_HEADERS)
LOST = (ConnectionClosed, ResponseNeverReceived, ResponseFailed)
NOT_CONNECTED = (ConnectError, DNSLookupError)


class ConnectionBroken(Unreachable):
    """A connection was lost before its response was complete. The request may have arrived."""


@dataclass(frozen=True, slots=True)
class Response:
    """HTTP response: its status and its whole body."""

    status: int
    body: bytes = field(repr=False)


class ConnectionManager:
    """Client of one connection manager.

    :param url: its address: http, https or http+unix.
    :param connections: hard maximum of open connections.
    :param ca_file: PEM file of the certificate authority for https; ``None`` means the system's.
    :param on_change: is called with each change of the number of reserved connections, such as 2 or -2.
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        connections: int,
        ca_file: Path | None = None,
        on_change: Callable[[int], None] = lambda change: None,
    ) -> None:
        self.url = url
        self._on_change = on_change
        self.connections = connections
        self.in_use = 0
        self.pipelining = Pipelining(reactor.seconds)
        path, url = split_unix(url) if url.startswith(UNIX) else (None, url)
        self._url = PreparedURL(url)
        self._reactor = reactor
        self._agent = PreparedAgent(reactor, Address(self._url, ca_file, path), MAX_SIZE, connections)
        no_cookies: Any = NoCookies()
        self._no_cookies = no_cookies
        self._client = HTTPClient(self._agent, cookiejar=no_cookies, data_to_body_producer=WholeBody)
        self._waiting: deque[tuple[int, Deferred[None]]] = deque()

    @property
    def waiting(self) -> int:
        """Number of logins that wait for connections."""
        return len(self._waiting)

    @asynccontextmanager
    async def reserve(self, wanted: int = 2, address: str | None = None) -> AsyncIterator["ConnectionLease"]:
        """Reserve connections; wait in the queue if none are free.

        :param wanted: connections to use at once; fewer if the manager's maximum is lower.
        :param address: the browser's IP address, sent as ``X-Forwarded-For``.
        :raises Busy: `MAX_WAITING` logins are waiting.
        """
        count = min(wanted, self.connections)
        if self._waiting or self.in_use + count > self.connections:
            if len(self._waiting) >= MAX_WAITING:
                raise Busy(f"{MAX_WAITING} logins are waiting for a connection; retry later")
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

    async def check(self) -> None:
        """Check that the manager responds, without opening a session: send a request of a session that does not exist.

        Nothing is sent while all connections are in use.

        :raises InvalidResponse: the response is not a connection manager's.
        :raises BoshError: the manager can't be reached, or responds with a server error.
        """
        if self._waiting or self.in_use >= self.connections:
            return
        async with self.reserve(1) as lease:
            response = await lease.post(NO_SESSION)
        if response.status >= 500:
            raise Unreachable(f"the connection manager responded with HTTP {response.status}")
        try:
            decode(response.body)
        except InvalidBody as error:
            raise InvalidResponse(f"no connection manager, HTTP {response.status}: {error}") from None

    def post(self, body: bytes, headers: PreparedHeaders) -> "Deferred[Response]":
        """Send one request.

        :raises ConnectionBroken: the connection was lost.
        :raises Unreachable: no connection can be opened.
        :raises InvalidResponse: the response is not HTTP, or longer than `MAX_SIZE`.
        """
        requested = self._client.request(
            "POST",
            self._url,
            headers=headers,
            data=body,
            cookies=self._no_cookies,  # else treq makes a jar for each request
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        return requested.addCallback(_read).addErrback(_explain, self._url.scheme)

    def close(self) -> "Deferred[None]":
        """Close the idle connections."""
        return self._agent.close()

    def _next(self) -> None:
        """Start waiting logins in order. A login that needs two connections is not overtaken by one that needs one."""
        while self._waiting and self.in_use + self._waiting[0][0] <= self.connections:
            count, turn = self._waiting.popleft()
            self._change(count)
            turn.callback(None)

    def _change(self, count: int) -> None:
        self.in_use += count
        self._on_change(count)

    def _give_up(self, cancelled: "Deferred[None]") -> None:
        self._waiting = deque(entry for entry in self._waiting if entry[1] is not cancelled)
        self._reactor.callLater(0, self._next)


class ConnectionLease:
    """Connections reserved for one login; ``width`` is the maximum number of requests at once."""

    def __init__(self, manager: ConnectionManager, width: int, address: str | None) -> None:
        self.width = width
        self._manager = manager
        self._headers = _HEADERS
        if address is not None:
            self._headers = PreparedHeaders(_NAMED_HEADERS | {b"X-Forwarded-For": address.encode("ascii")})

    def without_address(self) -> "ConnectionLease":
        """Return the same connections, on which no ``X-Forwarded-For`` is sent."""
        return ConnectionLease(self._manager, self.width, None)

    def post(self, body: bytes) -> "Deferred[Response]":
        """See `ConnectionManager.post`."""
        return self._manager.post(body, self._headers)


def _read(response: IResponse) -> Response:
    return Response(response.code, read_body(response, MAX_SIZE))


def _explain(failure: Failure, scheme: str) -> Response:
    """Raise the `BoshError` for a failure of treq or Twisted.

    :param scheme: ``http`` or ``https``.
    """
    error = first_error(failure)
    if failure.check(*NOT_CONNECTED):
        raise Unreachable(f"can't connect to the connection manager: {connection_fault(error)}") from None
    if failure.check(*LOST):
        fault = tls_fault(error, "bosh.url", "bosh.ca_file")
        if fault is not None:
            raise (CertificateRejected if is_certificate_fault(error) else Unreachable)(fault) from None
        hint = f"; {CLOSED_HINTS[scheme]}" if getattr(failure.value, "response", None) is None else ""
        fault = connection_fault(error)
        raise ConnectionBroken(f"the connection to the connection manager was lost: {fault}{hint}") from None
    if failure.check(InvalidHTTP):
        raise InvalidResponse(
            "the response is not HTTP: bosh.url must lead to an ejabberd_http listener, with https: if it has TLS, "
            "and not to XMPP over TCP (ejabberd_c2s)"
        ) from None
    if failure.check(ResponseTooLong):
        raise InvalidResponse(f"the response is too long: more than {MAX_SIZE} bytes") from None
    failure.raiseException()
    raise AssertionError("not reached")
