"""The HTTP agent under treq for one connection manager: what stays the same is prepared once.

A login is four or five requests to one address. Twisted's general `Agent` parses that address, looks
for its endpoint and builds the request's head anew each time, which costs more than all of BOSH.
"""

from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

from hyperlink import EncodedURL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IConsumer, ITransport
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.web.client import URI, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

CONNECT_TIMEOUT = 5.0


class PreparedURL(EncodedURL):
    """A URL whose host need not be IDNA-encoded for each request."""

    def __init__(self, url: str) -> None:
        parsed = EncodedURL.from_text(url).to_uri()
        super().__init__(parsed.scheme, parsed.host, parsed.path, parsed.query, port=parsed.port, rooted=True)
        self._text = parsed.to_text()

    def to_uri(self) -> "PreparedURL":
        """This URL: it is a URI already."""
        return self

    def to_text(self, with_password: bool = False) -> str:
        """The URL as text."""
        return self._text


class NoCookies(CookieJar):
    """Keeps no cookies: a manager's or proxy's cookie for one user must never go along with another."""

    def add_cookie_header(self, request: Any) -> None:
        """Add nothing."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Keep nothing."""


@implementer(IBodyProducer)
class WholeBody:
    """A request body that is there already: one write, no producer loop."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> "Deferred[None]":
        """Write it."""
        consumer.write(self.body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """There is nothing to pause."""

    def resumeProducing(self) -> None:
        """There is nothing to resume."""

    def stopProducing(self) -> None:
        """There is nothing to stop."""


@implementer(IAgent)
class PreparedAgent:
    """An agent that POSTs whole bodies to one address, over the connections of a pool.

    :param url: the address, http or https.
    :param ca_file: PEM file of the certificate authority for https; the system's if ``None``.
    """

    def __init__(self, reactor: Any, url: PreparedURL, ca_file: Path | None, pool: HTTPConnectionPool) -> None:
        uri = URI.fromBytes(url.to_text().encode("ascii"))
        self._pool: Any = pool
        self._key = (uri.scheme, uri.host, uri.port)
        self._endpoint: Any = HostnameEndpoint(reactor, uri.host.strip(b"[]"), uri.port, timeout=CONNECT_TIMEOUT)
        if uri.scheme == b"https":
            self._endpoint = wrapClientTLS(_policy(ca_file).creatorForNetloc(uri.host, uri.port), self._endpoint)
        self._head = b"POST " + uri.originForm + b" HTTP/1.1\r\nHost: " + uri.netloc + b"\r\n"

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: Any = None
    ) -> "Deferred[IResponse]":
        """See `IAgent`; the method and the address are those that were prepared."""
        lines = [self._head]
        for name, values in headers.getAllRawHeaders() if headers is not None else ():
            lines.extend(name + b": " + value + b"\r\n" for value in values)
        body = bodyProducer.body
        lines.append(b"Content-Length: %d\r\n\r\n" % len(body))
        lines.append(body)
        request = _PreparedRequest(b"".join(lines))
        connected: Deferred[Any] = self._pool.getConnection(self._key, self._endpoint)
        return connected.addCallback(lambda connection: connection.request(request))


class _PreparedRequest:
    """A request as Twisted's HTTP/1.1 client protocol takes it: head and body in one write."""

    method = b"POST"
    persistent = True

    def __init__(self, data: bytes) -> None:
        self._data = data

    def writeTo(self, transport: ITransport) -> "Deferred[None]":
        transport.write(self._data)
        return succeed(None)

    def stopWriting(self) -> None:
        pass


def _policy(ca_file: Path | None) -> BrowserLikePolicyForHTTPS:
    if ca_file is None:
        return BrowserLikePolicyForHTTPS()
    begin = b"-----BEGIN CERTIFICATE-----"
    pems = [begin + rest for rest in ca_file.read_bytes().split(begin)[1:]]
    return BrowserLikePolicyForHTTPS(trustRootFromCertificates([Certificate.loadPEM(pem) for pem in pems]))
