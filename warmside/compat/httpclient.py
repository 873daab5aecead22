"""The HTTP client of twisted.web."""

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import ITransport
from twisted.web._newclient import ParseError
from twisted.web.client import HTTPConnectionPool
from twisted.web.iweb import IResponse


class _PreparedRequest:
    """A request whose bytes are ready, with the attributes that `HTTP11ClientProtocol` reads.

    It reads ``method`` (a response to HEAD has no body) and ``persistent`` (keep the connection), and calls
    ``writeTo``. It would call ``stopWriting`` only before the result of ``writeTo`` fires, which fires at once.
    """

    method = b"POST"
    persistent = True

    def __init__(self, data: bytes) -> None:
        self._data = data

    def writeTo(self, transport: ITransport) -> "Deferred[None]":
        transport.write(self._data)
        return succeed(None)


def post_prepared(pool: HTTPConnectionPool, key: object, endpoint: Any, data: bytes) -> "Deferred[IResponse]":
    """Write the bytes of a POST request, head and body, to a connection of a pool; return its response.

    Reason: `Agent.request` parses the URL and builds the head again for each request. A login sends four or five
    requests to one address, and that work takes longer than BOSH itself.

    Private: `HTTPConnectionPool.getConnection` is meant for agents. `HTTP11ClientProtocol.request` is meant for
    `twisted.web._newclient.Request`.

    :param key: connections with the same key are interchangeable.
    :param endpoint: the client endpoint that opens a new connection.
    """
    connected: Deferred[Any] = pool.getConnection(key, endpoint)
    return connected.addCallback(lambda connection: connection.request(_PreparedRequest(data)))


def is_not_http(error: object) -> bool:
    """True if a response failed because its bytes are not HTTP.

    Reason: such a response must not be retried. Twisted's public error, `ResponseFailed`, is the same as for a
    lost connection; only its first reason, of a private class, tells them apart.
    """
    return isinstance(error, ParseError)


def abort_response(transport: Any) -> None:
    """Abort the connection that a response's body arrives on; do nothing if the body is complete.

    Reason: a body over the limit must not be read to its end, and a cancelled one must not keep its connection.
    The transport of a body's protocol is a proxy that passes on `loseConnection` only, which waits for the peer
    over TLS. The proxy's ``_producer`` is the connection's own transport; it is ``None`` after the body.
    """
    connection = transport._producer
    if connection is not None:
        connection.abortConnection()
