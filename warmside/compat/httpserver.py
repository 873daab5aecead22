"""The HTTP server of twisted.web."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

from twisted.web.http import HTTPChannel
from twisted.web.server import Request


class InMemoryRequest(Request):
    """A request whose body stays in memory and whose form fields Twisted does not parse.

    Reason: Twisted writes bodies of 100 kB and chunked bodies to disk, and adds the query string to the fields.

    Private: `gotLength`, `handleContentChunk` and `requestReceived` are documented as not intended for users.
    """

    def accept_chunk(self, data: bytes) -> bool:
        """Return True if a part of the body is to be kept."""
        return True

    def prepare_target(self, target: bytes) -> bytes:
        """Return the address that a request target means, with its query string."""
        return target

    def gotLength(self, length: int | None) -> None:
        """Take the length of the body, in bytes; ``None`` if it is chunked."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Take a part of the body."""
        if self.accept_chunk(data) and self.content is not None:
            self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Process the request, which has arrived completely."""
        assert self.content is not None
        self.content.seek(0)
        self.method, self.clientproto = command, version
        self.uri = self.prepare_target(path)
        self.path = self.uri.partition(b"?")[0]
        self.args = {}
        self.process()  # type: ignore[no-untyped-call]


class ObservableHTTPChannel(HTTPChannel):
    """An HTTP connection that reports how far a request has arrived, and lets a subclass reject it.

    Reason: `HTTPChannel` rejects what exceeds its limits with an empty response or none, has no time limit for a
    whole request, and does not report whether a request is being processed.

    Private: `_handlingRequest`, `_networkProducer`, `_respondToBadRequestAndDisconnect`, `requests`, `length`,
    `persistent`, `allHeadersReceived`, `allContentReceived`, and a request's `startedWriting`. `callLater` is set by
    the factory.

    A subclass overrides the methods that end in ``_received``. Once one of them has returned False, or a malformed
    request was reported, all of them must return False: Twisted continues to read the rest of the same bytes.

    :cvar max_header_size: maximum size of a line of the header in bytes. A subclass limits the whole header.
    """

    max_header_size = 16384
    transport: Any
    callLater: Any

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.MAX_LENGTH = self.max_header_size
        # Twisted's own limits must never be reached before that of the subclass.
        self.maxHeaders = self.max_header_size
        self.totalHeadersSize = 2 * self.max_header_size

    @property
    def is_processing(self) -> bool:
        """True if a request has arrived completely and its response is not complete."""
        return bool(self._handlingRequest)

    @property
    def current_request(self) -> Any:
        """The request that is being read or processed; ``None`` between requests."""
        return self.requests[-1] if self.requests else None

    def call_later(self, seconds: float, call: Callable[..., object], *arguments: object) -> Any:
        """Schedule a call on the site's reactor."""
        return self.callLater(seconds, call, *arguments)

    def close_after(self, request: Any) -> None:
        """Close the connection after the response to a request; the response says so if it has not begun."""
        self.persistent = False
        if not request.startedWriting:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def stop_producing(self) -> None:
        """Stop to take part in the flow control of the transport, so that the end of writing is not held back."""
        producer: Any = self._networkProducer
        producer.unregisterProducer()

    def header_line_received(self, line: bytes) -> bool:
        """Return True if a line of the header, without its CRLF, is acceptable."""
        return True

    def header_received(self, length: int | None) -> bool:
        """Return True if a header and the length of its body are acceptable.

        :param length: bytes; ``None`` if the body is chunked.
        """
        return True

    def body_received(self) -> bool:
        """Return True if a request that has arrived completely is to be processed."""
        return True

    def malformed_received(self) -> None:
        """Handle a request that is not well-formed."""

    def lineReceived(self, line: bytes) -> None:
        """Take a line of the header."""
        if self.header_line_received(line):
            super().lineReceived(line)  # type: ignore[no-untyped-call]

    def allHeadersReceived(self) -> None:
        """Take the end of a header."""
        if self.header_received(self.length):
            super().allHeadersReceived()  # type: ignore[no-untyped-call]

    def allContentReceived(self) -> None:
        """Take the end of a request."""
        if self.body_received():
            super().allContentReceived()  # type: ignore[no-untyped-call]

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.malformed_received()
