"""An HTTP server that bounds what comes from outside, where Twisted's own does not.

Bodies stay in memory and are at most 64 KiB, a header block is at most 16 KiB, a whole request takes
at most ten seconds, and there is a most of connections. What is refused gets a reply that says so.
"""

from io import BytesIO
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

MAX_BODY = 64 * 1024
MAX_HEADER = 16 * 1024
REQUEST_TIME = 10.0
"""Seconds for a whole request to arrive."""
IDLE_TIME = 60
"""Seconds for which a connection without a request is kept."""
MOST_CONNECTIONS = 1000


class BoundedRequest(Request):
    """A request whose body is read into memory, up to the maximum, and never parsed for fields."""

    def gotLength(self, length: int | None) -> None:
        """The header has been read; ``length`` is that of the body, ``None`` if it is chunked."""
        self.content = BytesIO()
        self._size = 0
        if length is not None and length > MAX_BODY:
            self._too_large()

    def handleContentChunk(self, data: bytes) -> None:
        """A part of the body has arrived."""
        self._size += len(data)
        if self._size > MAX_BODY:
            self._too_large()
        elif self.content is not None:
            self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The whole request has arrived."""
        assert self.content is not None
        self.content.seek(0)
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.args = {}
        self.process()  # type: ignore[no-untyped-call]

    def _too_large(self) -> None:
        channel: Any = self.channel
        channel.refuse(b"413 Content Too Large")


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
    _refused = False

    def dataReceived(self, data: bytes) -> None:
        """Take bytes; the first ones of a request start its clock."""
        if self._refused:
            return
        if self._deadline is None and not self._handlingRequest:
            self._deadline = self.callLater(REQUEST_TIME, self.refuse, b"408 Request Timeout")
        super().dataReceived(data)  # type: ignore[no-untyped-call]

    def lineReceived(self, line: bytes) -> None:
        """Take a line of the header block."""
        self._header_size += len(line) + 2
        if self._header_size > MAX_HEADER:
            self.refuse(b"431 Request Header Fields Too Large")
        elif not self._refused:
            super().lineReceived(line)  # type: ignore[no-untyped-call]

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line of the header block is longer than the whole block may be."""
        self.refuse(b"431 Request Header Fields Too Large")

    def allContentReceived(self) -> None:
        """A request has arrived whole."""
        if self._refused:
            return
        self._stop_clock()
        self._header_size = 0
        super().allContentReceived()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The peer, or we, closed the connection."""
        self._stop_clock()
        self.site.connections -= 1
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def refuse(self, status: bytes) -> None:
        """Answer with a status, read nothing more, and close."""
        if self._refused:
            return
        self._refused = True
        self._stop_clock()
        text = status + b"\n"
        self.transport.write(
            b"HTTP/1.1 " + status + b"\r\nContent-Type: text/plain; charset=utf-8\r\n"
            b"Content-Length: %d\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
            b"Referrer-Policy: no-referrer\r\nConnection: close\r\n\r\n" % len(text) + text
        )
        self.loseConnection()  # type: ignore[no-untyped-call]

    def _stop_clock(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None


class BoundedSite(Site):
    """A site over `BoundedChannel`, with a most of connections and no access log: URIs may hold secrets."""

    protocol: Any = BoundedChannel

    def __init__(self, root: IResource, reactor: Any) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            root, requestFactory=BoundedRequest, timeout=IDLE_TIME, reactor=reactor
        )
        self.connections = 0
        self.noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A channel for a new connection; none when there are too many."""
        if self.connections >= MOST_CONNECTIONS:
            return None
        self.connections += 1
        return super().buildProtocol(addr)  # type: ignore[no-untyped-call]

    def log(self, request: Any) -> None:
        """Nothing: what is to be known of a request, the resources log."""
