"""HTTP agent of treq for one connection manager: everything that is the same for each request is prepared once.

A login sends four or five requests to one address. Twisted's general `Agent` parses that address, looks up its
endpoint and builds the request's head for each of them. That takes longer than the BOSH work.
"""

from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.web.client import URI, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from warmside.compat.hostnames import EndpointFactory, PreparedURL
from warmside.compat.httpclient import post_prepared
from warmside.tls import trust_policy


class NoCookies(CookieJar):
    """Cookie jar that keeps nothing: a cookie of one user's session must never be sent with another's."""

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


@implementer(IAgent)
class PreparedAgent:
    """Agent that POSTs whole bodies to one address, over the connections of a pool.

    :param url: the address, http or https.
    :param ca_file: PEM file of the certificate authority for https; ``None`` means the system's.
    """

    def __init__(self, reactor: Any, url: PreparedURL, ca_file: Path | None, pool: HTTPConnectionPool) -> None:
        uri = URI.fromBytes(url.to_text().encode("ascii"))
        self._pool = pool
        self._key = (uri.scheme, uri.host, uri.port)
        self._endpoint = EndpointFactory(reactor, trust_policy(ca_file)).endpointForURI(uri)
        self._head = b"POST " + uri.originForm + b" HTTP/1.1\r\nHost: " + uri.netloc + b"\r\n"

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: Any = None
    ) -> "Deferred[IResponse]":
        """See `IAgent`. Method and address are ignored: the prepared ones are used."""
        lines = [self._head]
        for name, values in headers.getAllRawHeaders() if headers is not None else ():
            lines.extend(name + b": " + value + b"\r\n" for value in values)
        body = bodyProducer.body
        lines.append(b"Content-Length: %d\r\n\r\n" % len(body))
        lines.append(body)
        return post_prepared(self._pool, self._key, self._endpoint, b"".join(lines))
