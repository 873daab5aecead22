"""HTTP client under treq: an `IAgent` that POSTs to one address over kept connections."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.web.client import URI
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from warmside.compat.hostnames import CONNECT_TIMEOUT, EndpointFactory, PreparedURL
from warmside.httpclient.connection import Connection
from warmside.httpclient.headers import PreparedHeaders, lines_of
from warmside.tls import trust_policy

IDLE_TIMEOUT = 30.0
"""Seconds that an idle connection is kept."""
RETRY_INTERVAL = 0.01
"""Seconds between attempts to connect to a unix socket whose backlog is full."""


class NoCookies(CookieJar):
    """Cookie jar that keeps nothing: a cookie of one user's session must never be sent with another's."""

    def __iter__(self) -> Iterator[Any]:
        """Return an iterator over no cookies."""
        return iter(())

    def add_cookie_header(self, request: Any) -> None:
        """Add nothing."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Keep nothing."""


@implementer(IBodyProducer)
class WholeBody:
    """Request body that is complete: one write, no producer loop."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> "Deferred[None]":
        """Write the body."""
        consumer.write(self.body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing: the body is written at once."""

    def resumeProducing(self) -> None:
        """Do nothing: the body is written at once."""

    def stopProducing(self) -> None:
        """Do nothing: the body is written at once."""


@dataclass(frozen=True)
class Address:
    """Address of a server.

    :ivar url: http or https; over a unix socket it names the request only.
    :ivar ca_file: PEM file of the certificate authority for https; ``None`` means the system's.
    :ivar socket: path of a unix socket; ``None`` means TCP.
    """

    url: PreparedURL
    ca_file: Path | None = None
    socket: str | None = None


class UnixEndpoint:
    """Client endpoint of a unix socket.

    Linux rejects a connection at once if the server's backlog is full, where TCP sends its SYN again. This endpoint
    tries again for `CONNECT_TIMEOUT`.
    """

    def __init__(self, reactor: Any, path: str) -> None:
        self._reactor = reactor
        self._endpoint = UNIXClientEndpoint(reactor, path, timeout=CONNECT_TIMEOUT)

    def connect(self, factory: Factory) -> "Deferred[Any]":
        """Connect.

        :raises ConnectError: nothing listens on the socket, or its backlog stays full.
        """
        return Deferred.fromCoroutine(self._connect(factory))

    async def _connect(self, factory: Factory) -> Any:
        deadline = self._reactor.seconds() + CONNECT_TIMEOUT
        while True:
            try:
                return await self._endpoint.connect(factory)
            except ConnectError as error:
                # Twisted reports a full backlog as an error without a number.
                if error.osError is not None or self._reactor.seconds() >= deadline:
                    raise
            await deferLater(self._reactor, RETRY_INTERVAL)


@implementer(IAgent)
class PreparedAgent:
    """Agent that POSTs whole bodies to one address, over kept connections.

    It opens a connection for each request that finds none idle: the caller limits the requests at once.

    :param max_size: maximum bytes of a response's body.
    :param max_idle: maximum number of idle connections.
    """

    def __init__(self, reactor: Any, address: Address, max_size: int, max_idle: int) -> None:
        uri = URI.fromBytes(address.url.to_text().encode("ascii"))
        self._reactor = reactor
        self._max_idle = max_idle
        self._endpoint: Any
        if address.socket is None:
            self._endpoint = EndpointFactory(reactor, trust_policy(address.ca_file)).endpointForURI(uri)
        else:
            self._endpoint = UnixEndpoint(reactor, address.socket)
        self._factory = Factory.forProtocol(lambda: Connection(max_size, self._keep, self._drop))
        self._factory.noisy = False
        self._head = b"POST " + uri.originForm + b" HTTP/1.1\r\nHost: " + uri.netloc + b"\r\n"
        self._idle: deque[tuple[float, Connection]] = deque()
        self._timer: Any = None
        self._closing: dict[Connection, Deferred[None]] = {}

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: Any = None
    ) -> "Deferred[IResponse]":
        """See `IAgent` and `Connection.request`. Method and address are ignored: the prepared ones are used.

        :param headers: `PreparedHeaders` are rendered already.
        :param bodyProducer: a `WholeBody`.
        """
        body = bodyProducer.body
        lines = headers.lines if isinstance(headers, PreparedHeaders) else lines_of(headers or Headers())
        data = b"%b%bContent-Length: %d\r\n\r\n%b" % (self._head, lines, len(body), body)
        while self._idle:
            connection = self._idle.pop()[1]
            if connection.usable:
                return connection.request(data)
        connected: Deferred[Connection] = self._endpoint.connect(self._factory)
        return connected.addCallback(lambda opened: opened.request(data))

    def close(self) -> "Deferred[None]":
        """Close the idle connections; fire when they are closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._max_idle = 0
        closed = [self._close(connection) for _, connection in self._idle]
        self._idle.clear()
        return DeferredList(closed).addCallback(lambda _: None)

    def _close(self, connection: Connection) -> "Deferred[None]":
        closed = self._closing[connection] = Deferred()
        connection.close()
        return closed

    def _keep(self, connection: Connection) -> None:
        if len(self._idle) >= self._max_idle:
            self._close(connection)
            return
        self._idle.append((self._reactor.seconds(), connection))
        if self._timer is None:
            self._timer = self._reactor.callLater(IDLE_TIMEOUT, self._close_old)

    def _drop(self, connection: Connection) -> None:
        closed = self._closing.pop(connection, None)
        if closed is not None:
            closed.callback(None)
        else:
            self._idle = deque(entry for entry in self._idle if entry[1] is not connection)

    def _close_old(self) -> None:
        """Close connections that were idle for `IDLE_TIMEOUT`; look again when the next one is due."""
        self._timer = None
        now = self._reactor.seconds()
        while self._idle and now - self._idle[0][0] >= IDLE_TIMEOUT:
            self._close(self._idle.popleft()[1])
        if self._idle:
            self._timer = self._reactor.callLater(self._idle[0][0] + IDLE_TIMEOUT - now, self._close_old)
