"""ejabberd's extauth protocol on a byte stream: {packet,2} frames, one response for each request, in order.

Every frame gets a response: accepted only if a handler returned True, otherwise rejected.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from warmside.compat.streams import unprocessed_bytes
from warmside.extauth.authorities import Answer, AuthorityUnavailable
from warmside.extauth.frames import ACCEPTED, REJECTED
from warmside.extauth.handlers import RequestHandler
from warmside.extauth.request import ExtauthRequest, MalformedRequest
from warmside.store.interface import StoreError

RESPONSE_TIMEOUT = 25.0
"""Seconds after which a pending request is rejected; ejabberd waits 30 seconds."""
MAX_BUFFERED = 1 << 18
"""Bytes of requests that are buffered behind a pending one; reading stops beyond."""


def call_later(seconds: float, call: Callable[[], object]) -> Any:
    """Call the reactor's ``callLater``. Importing the reactor any earlier would install the default one."""
    from twisted.internet import reactor

    clock: Any = reactor
    return clock.callLater(seconds, call)


@implementer(IHalfCloseableProtocol)
class ExtauthProtocol(Int16StringReceiver):
    """Responds to the requests that arrive on its transport.

    :param current_handler: called for each request, because the handler changes when the service starts
        or stops. If it returns ``None``, the stream is closed without a response, and ejabberd sends the
        request to another process.
    :param input_ended: called once, when no more requests come. Pending requests still get a response.
    :param closed: called once, when the last response is written or can't be written.
    :param count: called after each response with the request (``None`` if malformed) and True if it was
        accepted.
    """

    log = Logger()
    transport: Any
    write: Callable[[bytes], None]
    """Writes responses."""
    MAX_LENGTH = 0xFFFF

    def __init__(
        self,
        current_handler: Callable[[], RequestHandler | None],
        input_ended: Callable[[], None] = lambda: None,
        closed: Callable[[], None] = lambda: None,
        count: Callable[[ExtauthRequest | None, bool], None] = lambda request, accepted: None,
    ) -> None:
        self._current_handler = current_handler
        self._call_input_ended = input_ended
        self._call_closed = closed
        self._count = count
        self._request: ExtauthRequest | None = None
        self._results: list[tuple[ExtauthRequest | None, bool]] = []
        self._reading_paused = False
        self._input_ended = False
        self._closed = False

    def connectionMade(self) -> None:
        """Write responses to the transport."""
        self.write = self.transport.write

    def stringReceived(self, string: bytes) -> None:
        """Respond to one request. Later requests are buffered while its response is pending."""
        handler = self._current_handler()
        if handler is None:
            self._close_without_response()
            return
        self._request = None
        try:
            self._request = ExtauthRequest.parse(string)
            answer = handler.answer(self._request)
        except AuthorityUnavailable:
            answer = False
        except MalformedRequest as error:
            self.log.warn("malformed extauth request rejected: {reason}", reason=str(error))
            answer = False
        except Exception:
            self._log_failure(Failure())
            answer = False
        if isinstance(answer, Deferred):
            self._wait_for(answer)
        else:
            self._add_result(answer)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes, cut anywhere; see `Int16StringReceiver`."""
        super().dataReceived(data)  # type: ignore[no-untyped-call]
        self._flush()
        if self.paused and unprocessed_bytes(self) > MAX_BUFFERED and not self._reading_paused:
            self._reading_paused = True
            self.transport.pauseProducing()

    def finish(self) -> None:
        """Read no further request, and close the stream after the last response."""
        self.transport.pauseProducing()
        self.readConnectionLost()

    def readConnectionLost(self) -> None:
        """Close the stream after the last response: no more requests come."""
        self._end_input()
        self._close_if_done()

    def writeConnectionLost(self) -> None:
        """Stop: the other side reads no more responses."""
        self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Stop: the stream is closed both ways."""
        self._close()

    def _close_without_response(self) -> None:
        self._closed = self.paused = True
        self._flush()
        self.transport.loseConnection()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._end_input()
            self._call_closed()

    def _end_input(self) -> None:
        if not self._input_ended:
            self._input_ended = True
            self._call_input_ended()

    def _close_if_done(self) -> None:
        if self._input_ended and not self.paused and not self._closed:
            self.transport.loseConnection()

    def _wait_for(self, answer: "Deferred[bool]") -> None:
        answered = False

        def done(result: bool | Failure) -> None:
            nonlocal answered
            answered = True
            if isinstance(result, Failure):
                if self._current_handler() is None:
                    self._close_without_response()
                    return
                self._log_failure(result)
                result = False
            self._add_result(result)
            if self.paused:
                self._resume()

        answer.addBoth(done)
        self.paused = not answered
        if self.paused:
            timer = call_later(RESPONSE_TIMEOUT, answer.cancel)
            answer.addBoth(lambda _: timer.cancel() if timer.active() else None)

    def _log_failure(self, failure: Failure) -> None:
        if failure.check(AuthorityUnavailable):
            return
        if failure.check(StoreError):
            self.log.error("extauth request rejected: {reason}", reason=failure.getErrorMessage())
        else:
            self.log.failure("extauth request rejected, because of an unexpected error", failure)

    def _resume(self) -> None:
        self.paused = False
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resumeProducing()
        self.dataReceived(b"")
        self._close_if_done()

    def _add_result(self, answer: Answer) -> None:
        self._results.append((self._request, answer is True))

    def _flush(self) -> None:
        """Write the responses first and count them afterwards: ejabberd waits for the response only."""
        if self._results:
            results, self._results = self._results, []
            self.write(b"".join(ACCEPTED if accepted else REJECTED for _, accepted in results))
            for request, accepted in results:
                self._count(request, accepted)
