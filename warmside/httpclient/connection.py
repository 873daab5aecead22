"""A connection of the HTTP client: one request at a time, and its response parsed by httptools."""

from collections.abc import Callable
from typing import Any

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpResponseParser
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from warmside.compat.sockets import write_now
from warmside.httpclient.response import ResponseTooLong, WholeResponse

MAX_HEAD = 64 * 1024
"""Bytes of a response's head, with the informational responses before it."""
NO_BODY = (204, 304)
"""Statuses of responses without a body (RFC 9112, 6.3)."""


class InvalidHTTP(Exception):
    """The peer sent bytes that are not an HTTP response."""


class Connection(Protocol):
    """One connection. It carries one request at a time, and is kept for the next one if the response allows it.

    :param max_size: maximum bytes of a response's body.
    :param on_idle: is called when the connection is ready for another request.
    :param on_lost: is called when the connection is lost.
    """

    usable = True
    """True until the connection is closed or lost."""
    _size: int
    """Bytes of the response, head and framing included."""
    _body_size: int
    _parts: list[bytes]
    _headers: list[tuple[bytes, bytes]]
    _length: int | None
    """Value of Content-Length."""
    _coded: bool
    """True if the response has a Transfer-Encoding."""
    _head_complete: bool
    _complete: bool
    _until_close: bool
    """True if the body ends with the connection."""
    _persistent: bool
    _more: bool
    """True if bytes of a further response, which no request asked for, follow."""

    def __init__(
        self, max_size: int, on_idle: "Callable[[Connection], None]", on_lost: "Callable[[Connection], None]"
    ) -> None:
        self._max_size = max_size
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._parser = HttpResponseParser(self)
        self._responding: Deferred[IResponse] | None = None
        self._fault: Exception | None = None
        self._reset()

    def request(self, data: bytes) -> "Deferred[IResponse]":
        """Send the bytes of a request.

        :returns: fires with the `WholeResponse`. Cancelling it aborts the connection.
        :raises ResponseNeverReceived: the connection was lost before the first byte of a response.
        :raises ResponseFailed: the connection was lost in the middle of the response.
        :raises InvalidHTTP: the response is not HTTP, or its head is longer than `MAX_HEAD`.
        :raises ResponseTooLong: the body is longer than ``max_size``.
        """
        self._reset()
        responding = self._responding = Deferred(lambda _: self.abort())
        write_now(self.transport, data)
        return responding

    def abort(self) -> None:
        """Close the connection at once. A response to come is dropped."""
        self._responding = None
        self.usable = False
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    def close(self) -> None:
        """Close the connection, which is idle."""
        self.usable = False
        if self.transport is not None:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Parse bytes of a response. Bytes without a request end the connection."""
        if self._responding is None:
            self.abort()
            return
        self._size += len(data)
        try:
            self._parser.feed_data(data)
            if not self._head_complete and self._size > MAX_HEAD:
                raise InvalidHTTP(f"the head of the response has more than {MAX_HEAD} bytes")
            if self._size > 2 * self._max_size + MAX_HEAD:  # chunks of a few bytes, or long chunk extensions
                raise ResponseTooLong
        except HttpParserCallbackError as error:
            self._fail(self._fault or error)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self._complete:  # bytes after a complete response end the connection, below
                self._fail(InvalidHTTP(str(error)))
        except (InvalidHTTP, ResponseTooLong) as error:
            self._fail(error)
        if self._complete:
            self._finish(keep=self._persistent and not self._more)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Complete a body that ends with the connection, or fail the response."""
        self.transport = None
        self.usable = False
        self._on_lost(self)
        responding = self._responding
        if responding is None:
            return
        if self._until_close:  # many TLS servers end the connection without close_notify, so the reason says nothing
            self._finish(keep=False)
            return
        self._responding = None
        if not self._size:
            responding.errback(Failure(ResponseNeverReceived([reason])))
        else:
            seen = self._response() if self._head_complete else None
            responding.errback(Failure(ResponseFailed([reason], seen)))

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """Note a second response: one that no request asked for."""
        self._more = self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer, which is dropped."""
        if self._more or self._head_complete:
            return
        name = name.lower()
        if name == b"content-length":
            self._length = int(value)  # the parser has accepted it
        elif name == b"transfer-encoding":
            self._coded = True
        elif name == b"content-encoding":  # treq decodes the body; no other header is read
            self._headers.append((name, value.lower()))  # RFC 9110, 8.4.1; treq compares the case, too

    def on_headers_complete(self) -> None:
        """Take the status. An informational response is followed by another one."""
        if self._more:
            return
        self._code = self._parser.get_status_code()
        if self._code == 101:
            self._fault = InvalidHTTP("the response is an upgrade to another protocol")
            raise self._fault
        if self._code < 200:
            self._reset_head()
            return
        self._head_complete = True
        if self._length is not None and self._length > self._max_size:
            self._fault = ResponseTooLong()
            raise self._fault
        self._until_close = self._length is None and not self._coded and self._code not in NO_BODY

    def on_body(self, data: bytes) -> None:
        """Take a part of the body."""
        if self._more:
            return
        self._body_size += len(data)
        if self._body_size > self._max_size:
            self._fault = ResponseTooLong()
            raise self._fault
        self._parts.append(data)

    def on_message_complete(self) -> None:
        """Note that the response is complete. The parser knows only now if the connection can be kept."""
        if not self._more:
            self._complete = self._head_complete
            self._persistent = self._parser.should_keep_alive()

    def _reset(self) -> None:
        self._size = self._body_size = 0
        self._parts = []
        self._complete = self._until_close = self._persistent = self._more = False
        self._reset_head()

    def _reset_head(self) -> None:
        self._code = 0
        self._headers = []
        self._length = None
        self._head_complete = self._coded = False

    def _response(self) -> WholeResponse:
        headers = Headers()
        for name, value in self._headers:
            headers.addRawHeader(name, value)
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        return WholeResponse(self._parser.get_http_version(), self._code, headers, body)

    def _finish(self, *, keep: bool) -> None:
        responding, self._responding = self._responding, None
        response = self._response()
        if keep:
            self._on_idle(self)
        else:
            self.close()
        if responding is not None:
            responding.callback(response)

    def _fail(self, error: Exception) -> None:
        responding = self._responding
        self.abort()
        if responding is not None:
            responding.errback(Failure(error))
