"""Response of the HTTP client: it has arrived as a whole, body included."""

from typing import Any

from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse
from zope.interface import implementer

SLICE = 64 * 1024
"""Bytes of a body that are delivered at once: a decoder must be able to stop a body that expands too far."""
DONE = Failure(ResponseDone())


class ResponseTooLong(Exception):
    """The response's body has more bytes than the agent accepts."""


class _Delivery:
    """Transport of a body's protocol. The body has arrived, so that only its delivery can be stopped."""

    stopped = False

    def loseConnection(self) -> None:
        self.stopped = True

    abortConnection = stopProducing = loseConnection

    def pauseProducing(self) -> None:
        """Do nothing: the body has arrived."""

    def resumeProducing(self) -> None:
        """Do nothing: the body has arrived."""


@implementer(IResponse)
class WholeResponse:
    """HTTP response whose body has arrived."""

    request = None
    phrase = b""
    """The reason phrase is not kept."""
    previousResponse: IResponse | None = None

    def __init__(self, version: str, code: int, headers: Headers, body: bytes) -> None:
        major, _, minor = version.partition(".")
        self.version = (b"HTTP", int(major), int(minor))
        self.code = code
        self.headers = headers
        self.length = len(body)
        self._body = body

    def deliverBody(self, protocol: Any) -> None:
        """Pass the body to a protocol, in slices, until it stops the transport."""
        delivery = _Delivery()
        protocol.makeConnection(delivery)
        for start in range(0, len(self._body), SLICE):  # Twisted's decoder overwrites the length
            if delivery.stopped:
                break
            protocol.dataReceived(self._body[start : start + SLICE])
        protocol.connectionLost(DONE)

    def setPreviousResponse(self, response: IResponse) -> None:
        """Set the response that redirected to this one."""
        self.previousResponse = response


class _Reader:
    """Collects a body, and stops its delivery if it is longer than a maximum, as a compressed one may be."""

    def __init__(self, max_size: int) -> None:
        self.parts: list[bytes] = []
        self.room = max_size

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport

    def dataReceived(self, data: bytes) -> None:
        self.room -= len(data)
        if self.room >= 0:
            self.parts.append(data)
        else:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure) -> None:
        pass


def read_body(response: IResponse, max_size: int) -> bytes:
    """Return the decoded body of a `WholeResponse` that treq has passed on.

    :raises ResponseTooLong: it has more than ``max_size`` bytes.
    :raises ResponseFailed: it can't be decoded.
    """
    reader = _Reader(max_size)
    response.deliverBody(reader)
    if reader.room < 0:
        raise ResponseTooLong
    return b"".join(reader.parts)
