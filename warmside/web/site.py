"""An HTTP server that bounds what comes from outside, where Twisted's own does not.

Bodies stay in memory and are at most 64 KiB, a header block is at most 16 KiB, a whole request takes
at most ten seconds, and there is a most of connections. What is refused gets a reply that says so.
"""

import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from warmside.web.headers import accepted_form, request_id
from warmside.web.negotiate import Form
from warmside.web.replies import Problem, phrase
from warmside.web.replies import problem as problem_reply

MAX_BODY = 64 * 1024
MAX_HEADER = 16 * 1024
LINGER_TIME = 5.0
"""Seconds for which the rest of a refused request is thrown away."""
REQUEST_TIME = 10.0
"""Seconds for a whole request to arrive."""
IDLE_TIME = 60
"""Seconds for which a connection without a request is kept."""
MAX_CONNECTIONS = 1000

MALFORMED = Problem("malformed", "this is not a well-formed HTTP request")
TOO_SLOW = Problem("too-slow", f"the request did not arrive within {REQUEST_TIME:g} seconds")
TOO_LARGE = Problem("too-large", f"the body is longer than {MAX_BODY} bytes")
TOO_LONG_HEADER = Problem("header-too-large", f"the header is longer than {MAX_HEADER} bytes")

ABSOLUTE_FORM = re.compile(rb"^https?://[^/?]*", re.I)
"""How a request target begins that names the host, too (RFC 9112, 3.2.2)."""


class BoundedRequest(Request):
    """A request whose body is read into memory, up to the maximum, and never parsed for fields."""

    def gotLength(self, length: int | None) -> None:
        """The header has been read; ``length`` is that of the body, ``None`` if it is chunked."""
        self.content = BytesIO()
        self._size = 0

    def handleContentChunk(self, data: bytes) -> None:
        """A part of the body has arrived; that of a refused request may have come along with its header."""
        channel: Any = self.channel
        if channel.refused:
            return
        self._size += len(data)
        if self._size > MAX_BODY:
            channel.refuse(TOO_LARGE)
        elif self.content is not None:
            self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The whole request has arrived."""
        assert self.content is not None
        self.content.seek(0)
        self.method, self.clientproto = command, version
        # "*" (RFC 9112, 3.2.4) is an address like any other here; Twisted would answer it past the site.
        self.uri = b"/*" if path == b"*" else ABSOLUTE_FORM.sub(b"", path) or b"/"
        self.path = self.uri.partition(b"?")[0]
        self.args = {}
        self.process()  # type: ignore[no-untyped-call]


class BoundedChannel(HTTPChannel):
    """A connection whose requests must arrive in time and whose header blocks are bounded."""

    requestFactory = BoundedRequest
    site: Any
    transport: Any
    callLater: Any
    maxHeaders = MAX_HEADER
    totalHeadersSize = 2 * MAX_HEADER  # our own count comes first
    MAX_LENGTH = MAX_HEADER
    _header_size = 0
    _deadline: Any = None
    refused = False
    _has_asked = False
    _reset: Callable[[], object] | None = None

    @property
    def awaited(self) -> bool:
        """Whether a request is to be expected: the first one, or the rest of one."""
        begun = self._deadline is not None and not self.busy
        return not self.refused and (begun or not self._has_asked)

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return bool(self._handlingRequest)

    def end(self) -> None:
        """Read no request after the one that is being answered; close at once if none is to be expected."""
        if self.busy:
            # A connection that is not kept has no request any more while its last response is written.
            for request in self.requests[:1]:
                self._end_with(request)
        elif not self.awaited and not self.refused:
            self.loseConnection()  # type: ignore[no-untyped-call]

    def if_reset(self, call: Callable[[], object]) -> None:
        """Have something called if the connection is reset before the next request: the reply was not read."""
        self._reset = call

    def dataReceived(self, data: bytes) -> None:
        """Take bytes; the first ones of a request start its clock."""
        if self.refused:
            return
        if self._deadline is None and not self._handlingRequest:
            self._deadline = self.callLater(REQUEST_TIME, self.refuse, TOO_SLOW)
        super().dataReceived(data)  # type: ignore[no-untyped-call]

    def lineReceived(self, line: bytes) -> None:
        """Take a line of the header block."""
        self._header_size += len(line) + 2
        if self._header_size > MAX_HEADER:
            self.refuse(TOO_LONG_HEADER)
        elif not self.refused:
            super().lineReceived(line)  # type: ignore[no-untyped-call]

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line of the header block is longer than the whole block may be."""
        self.refuse(TOO_LONG_HEADER)

    def allHeadersReceived(self) -> None:
        """The header block is there; a body that is too long is refused before it is asked for."""
        if self.length is not None and self.length > MAX_BODY:
            self.refuse(TOO_LARGE)
        else:
            super().allHeadersReceived()  # type: ignore[no-untyped-call]

    def allContentReceived(self) -> None:
        """A request has arrived whole."""
        if self.refused:
            return
        self._stop_clock()
        self._has_asked = True
        if self.site.stopping:
            self._end_with(self.requests[-1])
        self._reset = None
        self._header_size = 0
        super().allContentReceived()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The peer, or we, closed the connection."""
        self._stop_clock()
        self.site.channels.discard(self)
        if self._reset is not None and not reason.check(ConnectionDone):
            self._reset()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def refuse(self, problem: Problem) -> None:
        """Reply with a problem, in the form that was asked for as far as that was heard, and close.

        What still arrives is read and thrown away for a while: closing at once would reset the
        connection, and the peer would never see the reply.
        """
        if self.refused:
            return
        self.refused = True
        self._stop_clock()
        request = self.requests[-1] if self.requests and not self._handlingRequest else Request(self)
        reply = problem_reply(problem, accepted_form(request, error=True) or Form.TEXT)
        headers = reply.all_headers(request_id(request)) | {"Connection": "close"}
        head = f"HTTP/1.1 {reply.status} {phrase(reply.status)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(head.encode("latin-1") + b"\r\n" + reply.body)
        self.setTimeout(None)  # type: ignore[no-untyped-call]
        self._deadline = self.callLater(LINGER_TIME, self.loseConnection)
        if hasattr(self.transport, "loseWriteConnection"):
            self.transport.loseWriteConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Twisted's own reply to what it can't parse has neither a body nor the headers of ours."""
        self.refuse(MALFORMED)

    def _end_with(self, request: Any) -> None:
        self.persistent = False
        if not request.startedWriting:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def _stop_clock(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None


class _TooMany(Protocol):
    """Closes its connection. Without any protocol, one with TLS would stay open."""

    def connectionMade(self) -> None:
        self.transport.abortConnection()  # type: ignore[union-attr]


class BoundedSite(Site):
    """A site over `BoundedChannel`, with a most of connections and no access log: URIs may hold secrets."""

    protocol: Any = BoundedChannel

    def __init__(self, root: IResource, reactor: Any) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            root, requestFactory=BoundedRequest, timeout=IDLE_TIME, reactor=reactor
        )
        self.channels: set[BoundedChannel] = set()
        """The connections."""
        self.stopping = False
        """Whether connections end with the request that they are at."""
        self.noisy = False

    def stop(self) -> None:
        """Let each connection end with the request that it is at, or at once if it is at none."""
        self.stopping = True
        for channel in list(self.channels):
            channel.end()

    def buildProtocol(self, addr: "IAddress | None") -> Any:
        """A channel for a new connection; one that is closed at once when there are too many."""
        if len(self.channels) >= MAX_CONNECTIONS:
            return _TooMany()
        channel: Any = super().buildProtocol(addr)  # type: ignore[no-untyped-call]
        self.channels.add(channel)
        return channel

    def log(self, request: Any) -> None:
        """Nothing: what is to be known of a request, the resources log."""
