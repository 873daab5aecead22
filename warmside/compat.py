"""Private interfaces of Twisted and wokkel that warmside depends on, each with the reason.

Nothing outside this module may use an interface that these projects do not document. `tests/test_compat.py`
checks each one and names it when a release changes it. The module imports nothing of warmside.

It stays one module: once Twisted is loaded, wokkel costs 2 ms, and every process that serves needs both.
"""

import warnings
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import ITransport
from twisted.web._newclient import ParseError
from twisted.web.client import HTTPConnectionPool
from twisted.web.iweb import IResponse
from twisted.words.xish.domish import Element, escapeToXml

# --- wokkel ---------------------------------------------------------------------------------------------------------
#
# wokkel 18.0.0 (2018) is the latest release. It imports names that Twisted has deprecated since, such as
# `twisted.python.compat.unicode`. A run with `-W error` must not fail for that, so every name of wokkel that
# warmside uses is imported here. wokkel's PresenceProtocol calls such a name whenever it sends presence, so
# warmside sends presence by itself.

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from wokkel.generic import Request
    from wokkel.subprotocols import StreamManager, XMPPHandler
    from wokkel.xmppim import RosterClientProtocol, RosterItem, RosterRequest

__all__ = [
    "Request",
    "RosterClientProtocol",
    "RosterItem",
    "RosterRequest",
    "StreamManager",
    "XMPPHandler",
    "abort_response",
    "escaped_namespace",
    "is_claimed",
    "is_not_http",
    "post_prepared",
]


def is_claimed(element: Element) -> bool:
    """True if a handler's request awaited this element.

    Reason: `StreamManager` marks a response with an attribute ``handled`` and has no callback for the others.
    The attribute is read from ``__dict__``, because `Element` looks every other name up among its children.
    """
    return bool(element.__dict__.get("handled"))


# --- twisted.web: the HTTP client -----------------------------------------------------------------------------------


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


# --- twisted.words: domish ------------------------------------------------------------------------------------------


def escaped_namespace(uri: str) -> str:
    """Return a namespace as `Element` must hold it.

    Reason: `Element.toXml` escapes texts and attributes, but writes namespaces as they are. The namespaces of a
    foreign stanza could otherwise inject elements into a reply.
    """
    escaped: str = escapeToXml(uri, 1)
    return escaped
