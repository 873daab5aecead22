"""ejabberd's extauth protocol on a byte stream: {packet,2} frames, one answer for each question, in order.

Whatever arrives, it is answered: with yes only if an authority said so, with no in every other case.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure

from warmside.extauth.authorities import Answer, IAuthority, ask
from warmside.extauth.questions import MalformedQuestion, Question
from warmside.onetime import StoreError

YES = b"\x00\x02\x00\x01"
NO = b"\x00\x02\x00\x00"

MOST_WAITING = 1 << 18
"""Bytes of questions that may wait behind one that is being answered; then reading stops."""


class ExtauthProtocol(Int16StringReceiver):
    """Answers the questions that arrive on its transport.

    :param authority: gives the authority to ask; called for each question, because what answers
        changes when the service comes to life or fails.
    :param lost: called once when the other side has closed the stream.
    """

    log = Logger()
    transport: Any
    MAX_LENGTH = 0xFFFF

    def __init__(self, authority: Callable[[], IAuthority], lost: Callable[[], None] = lambda: None) -> None:
        self._authority = authority
        self._lost = lost
        self._reading_stopped = False

    def stringReceived(self, string: bytes) -> None:
        """Answer one question; while its answer is awaited, later ones wait."""
        try:
            answer = ask(self._authority(), Question.parse(string))
        except MalformedQuestion as error:
            self.log.warn("a malformed question was refused: {reason}", reason=str(error))
            answer = False
        except Exception:
            self._log_failure(Failure())
            answer = False
        if isinstance(answer, Deferred):
            self._await(answer)
        else:
            self._say(answer)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes in any portions; see `Int16StringReceiver`."""
        super().dataReceived(data)  # type: ignore[no-untyped-call]
        if self.paused and len(self._unprocessed) > MOST_WAITING and not self._reading_stopped:
            self._reading_stopped = True
            self.transport.pauseProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The other side has closed the stream."""
        self._lost()

    def _await(self, answer: "Deferred[bool]") -> None:
        answered = False

        def done(result: bool | Failure) -> None:
            nonlocal answered
            answered = True
            if isinstance(result, Failure):
                self._log_failure(result)
                result = False
            self._say(result)
            if self.paused:
                self._go_on()

        answer.addBoth(done)
        self.paused = not answered

    def _log_failure(self, failure: Failure) -> None:
        if failure.check(StoreError):
            self.log.error("a question was refused: {reason}", reason=failure.getErrorMessage())
        else:
            self.log.failure("a question could not be answered and was refused", failure)

    def _go_on(self) -> None:
        self.paused = False
        if self._reading_stopped:
            self._reading_stopped = False
            self.transport.resumeProducing()
        self.dataReceived(b"")

    def _say(self, answer: Answer) -> None:
        self.transport.write(YES if answer is True else NO)
