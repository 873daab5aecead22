"""An HTTP server with limits that Twisted's own does not have.

Bodies stay in memory and have at most 64 KiB, a header has at most 16 KiB, a whole request arrives within
10 seconds, and the number of connections is limited. Every rejected request gets a reply with the reason.
"""

import re
import resource
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from warmside.compat.httpserver import InMemoryRequest, ObservableHTTPChannel
from warmside.compat.sockets import observe_end
from warmside.web.delivery import Delivery
from warmside.web.headers import accepted_form, request_id
from warmside.web.negotiate import Form
from warmside.web.problems import Problem, phrase
from warmside.web.replies import problem_reply
from warmside.web.syntax import HeaderSyntax

MAX_BODY = 64 * 1024
"""Maximum size of a body in bytes."""
MAX_HEADER = 16 * 1024
"""Maximum size of a header in bytes."""
MAX_CONNECTIONS = 1000
"""Maximum of open connections; fewer if the process may open few files, see `max_connections`."""
RESERVED_FILES = 256
"""Files that are left for connections to ejabberd, for databases and for extauth."""
FIRST_BYTE_TIMEOUT = 10.0
"""Seconds after which a new connection is closed if nothing was received."""
REQUEST_TIMEOUT = 10.0
"""Seconds within which a whole request must arrive."""
DISCARD_TIMEOUT = 5.0
"""Seconds for which the rest of a rejected request is read and discarded."""
IDLE_TIMEOUT = 60
"""Seconds after which a connection without a request is closed."""

MALFORMED = Problem("malformed", "the request is not well-formed HTTP")
TOO_SLOW = Problem("too-slow", f"the request did not arrive within {REQUEST_TIMEOUT:g} seconds")
TOO_LARGE = Problem("too-large", f"the body is longer than {MAX_BODY} bytes")
TOO_LONG_HEADER = Problem("header-too-large", f"the header is longer than {MAX_HEADER} bytes")

ABSOLUTE_FORM = re.compile(rb"^https?://[^/?]*", re.I)
"""Start of a request target that includes the host (RFC 9112, 3.2.2)."""


class BoundedRequest(InMemoryRequest):
    """A request whose body has a maximum size."""

    _size = 0

    def accept_chunk(self, data: bytes) -> bool:
        """Count the body; reject the request when the body exceeds the maximum."""
        channel: Any = self.channel
        self._size += len(data)
        if self._size > MAX_BODY:
            channel.reject(TOO_LARGE)
        return not channel.rejected

    def prepare_target(self, target: bytes) -> bytes:
        """Remove scheme and host from a target; treat ``*`` (RFC 9112, 3.2.4) like every unknown address."""
        return b"/*" if target == b"*" else ABSOLUTE_FORM.sub(b"", target) or b"/"


class BoundedChannel(ObservableHTTPChannel):
    """A connection whose requests must arrive in time and whose headers have a maximum size.

    :ivar rejected: True if a request was rejected; the connection reads no further request.
    """

    requestFactory = BoundedRequest
    max_header_size = MAX_HEADER
    site: Any
    rejected = False
    _header_size = 0
    _syntax: HeaderSyntax | None = None
    _timer: Any = None
    _has_begun = False
    """True if a part of a request was received."""
    _has_received = False
    _first_byte: Any = None
    _delivery: Delivery | None = None
    _observed = False

    @property
    def idle(self) -> bool:
        """True if no request is being read, processed or answered."""
        delivering = self._delivery is not None and self._delivery.pending
        begun = self._has_begun or self.current_request is not None
        return not (begun or self.busy or self.rejected or delivering)

    def connectionMade(self) -> None:
        """Start to wait for the first byte."""
        super().connectionMade()  # type: ignore[no-untyped-call]
        self._first_byte = self.call_later(FIRST_BYTE_TIMEOUT, self.loseConnection)

    @property
    def awaited(self) -> bool:
        """True if a request is expected: the connection's first one, or the rest of one."""
        begun = self._timer is not None and not self.busy
        return not self.rejected and (begun or not self._has_received)

    @property
    def busy(self) -> bool:
        """True if a request is being processed."""
        return self.is_processing

    def end(self) -> None:
        """Read no request after the one that is being processed; close at once if none is expected."""
        if self.busy:
            # A connection that is not kept has no request while its last response is written.
            if self.current_request is not None:
                self.close_after(self.current_request)
        elif not self.awaited and not self.rejected:
            self.loseConnection()

    def watch_delivery(self, undelivered: Callable[[], object]) -> None:
        """Watch the reply that is about to be written; see `Delivery`."""
        if not self._observed:
            self._observed = True
            observe_end(self.transport, self._end_observed)
        self._delivery = Delivery(self, undelivered)

    def loseConnection(self) -> None:
        """Close the connection. After a watched reply only writing ends, until the client ends the connection."""
        delivery = self._delivery
        if delivery is None or not delivery.pending or self.persistent:
            super().loseConnection()  # type: ignore[no-untyped-call]
        elif not delivery.closing:
            self.setTimeout(None)  # type: ignore[no-untyped-call]
            self.stop_producing()
            delivery.close()

    def dataReceived(self, data: bytes) -> None:
        """Take bytes; the first ones of a request start its timer."""
        if self.rejected or (self._delivery is not None and self._delivery.closing):
            return
        self._cancel_first_byte()
        self._has_begun = True
        if self._timer is None and not self.busy:
            self._timer = self.call_later(REQUEST_TIMEOUT, self.reject, TOO_SLOW)
        super().dataReceived(data)  # type: ignore[no-untyped-call]

    def header_line_received(self, line: bytes) -> bool:
        """Count and check the header; reject the request when the header exceeds the maximum or is malformed."""
        self._header_size += len(line) + 2
        self._syntax = self._syntax or HeaderSyntax()
        if self._header_size > MAX_HEADER:
            self.reject(TOO_LONG_HEADER)
        elif (error := self._syntax.error(line)) is not None:
            self.reject(Problem("malformed", error))
        return not self.rejected

    def lineLengthExceeded(self, line: bytes) -> None:
        """Reject a request with a line that is longer than the maximum of the whole header."""
        self.reject(TOO_LONG_HEADER)

    def header_received(self, length: int | None) -> bool:
        """Reject a body by its length before the client sends it."""
        if length is not None and length > MAX_BODY:
            self.reject(TOO_LARGE)
        return not self.rejected

    def body_received(self) -> bool:
        """Stop the request's timer; close after this request if the site is stopping."""
        if self.rejected:
            return False
        self._stop_timer()
        self._has_received = True
        self._has_begun = False
        self.site.used(self)
        if self.site.stopping:
            self.close_after(self.current_request)
        if self._delivery is not None:
            self._delivery.succeeded()
            self._delivery = None
        self._header_size = 0
        self._syntax = None
        return True

    def malformed_received(self) -> None:
        """Reject a request that is not well-formed."""
        self.reject(MALFORMED)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Report a reset, and remove the connection from the site's."""
        self._stop_timer()
        self._cancel_first_byte()
        self.site.channels.pop(self, None)
        if self._delivery is not None:
            self._delivery.lost(not reason.check(ConnectionDone))
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def reject(self, problem: Problem) -> None:
        """Reply with a problem in the form that the request accepts, as far as it was read, and close.

        Further bytes are read and discarded for a while. Closing at once would reset the connection, and the
        client would not see the reply.
        """
        if self.rejected:
            return
        self.rejected = True
        self._stop_timer()
        request = self.current_request
        if request is None or self.busy:
            request = Request(self)
        reply = problem_reply(problem, accepted_form(request, error=True) or Form.TEXT)
        headers = reply.all_headers(request_id(request)) | {"Connection": "close"}
        head = f"HTTP/1.1 {reply.status} {phrase(reply.status)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(head.encode("latin-1") + b"\r\n" + reply.body)
        self.setTimeout(None)  # type: ignore[no-untyped-call]
        self._timer = self.call_later(DISCARD_TIMEOUT, self.loseConnection)
        if hasattr(self.transport, "loseWriteConnection"):
            self.transport.loseWriteConnection()

    def _end_observed(self, reset: bool, unread: int) -> None:
        if self._delivery is not None:
            self._delivery.ended(reset, unread)

    def _cancel_first_byte(self) -> None:
        if self._first_byte is not None and self._first_byte.active():
            self._first_byte.cancel()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


def max_connections() -> int:
    """Return the maximum of connections for the number of files that this process may open."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else max(1, min(MAX_CONNECTIONS, files - RESERVED_FILES))


class _ClosedProtocol(Protocol):
    """Closes its connection. Without a protocol, a connection over TLS would stay open."""

    def connectionMade(self) -> None:
        self.transport.abortConnection()  # type: ignore[union-attr]


class BoundedSite(Site):
    """A site over `BoundedChannel` with a maximum of connections and no access log: addresses may hold secrets.

    :ivar channels: the open connections, in the order of their last request.
    :ivar stopping: True if each connection closes after its current request.
    """

    protocol: Any = BoundedChannel

    def __init__(self, root: IResource, reactor: Any) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            root, requestFactory=BoundedRequest, timeout=IDLE_TIMEOUT, reactor=reactor
        )
        self.channels: dict[BoundedChannel, None] = {}
        self.max_connections = max_connections()
        self.stopping = False
        self.noisy = False

    def stop(self) -> None:
        """Close each connection after its current request, or at once if it has none."""
        self.stopping = True
        for channel in list(self.channels):
            channel.end()

    def buildProtocol(self, addr: "IAddress | None") -> Any:
        """Return a channel for a new connection; the oldest idle one makes room if there are too many.

        Without an idle one, return a protocol that closes the new one.
        """
        if len(self.channels) >= self.max_connections:
            oldest = next((each for each in self.channels if each.idle), None)
            if oldest is None:
                return _ClosedProtocol()
            del self.channels[oldest]
            oldest.transport.abortConnection()
        channel: Any = super().buildProtocol(addr)  # type: ignore[no-untyped-call]
        self.channels[channel] = None
        return channel

    def used(self, channel: BoundedChannel) -> None:
        """Take note of a request: the connection is the newest one."""
        if channel in self.channels:
            del self.channels[channel]
            self.channels[channel] = None

    def log(self, request: Any) -> None:
        """Write no access log: each resource logs its own requests."""
