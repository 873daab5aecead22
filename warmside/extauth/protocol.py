"""ejabberd's extauth protocol on a byte stream: {packet,2} frames, one answer for each question, in order.

Whatever arrives, it is answered: with yes only if an authority said so, with no in every other case.
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

from warmside.extauth.authorities import Answer, AuthorityUnavailable, IAuthority, ask
from warmside.extauth.frames import NO, YES
from warmside.extauth.request import ExtauthRequest, MalformedRequest
from warmside.store.interface import StoreError

ANSWER_TIME = 25.0
"""Seconds after which a question is refused, whatever its authority is waiting for; ejabberd waits 30."""
MAX_WAITING = 1 << 18
"""Bytes of questions that may wait behind one that is being answered; then reading stops."""


def call_later(seconds: float, call: Callable[[], object]) -> Any:
    """The reactor's ``callLater``; the reactor is imported when it is needed, for there may be another one."""
    from twisted.internet import reactor

    clock: Any = reactor
    return clock.callLater(seconds, call)


@implementer(IHalfCloseableProtocol)
class ExtauthProtocol(Int16StringReceiver):
    """Answers the questions that arrive on its transport.

    :param authority: gives the authority to ask; called for each question, because what answers
        changes when the service comes to life or fails. ``None`` answers nothing any more: the stream is
        closed, and ejabberd asks another process.
    :param ended: called when no more questions come; what was asked is still answered.
    :param lost: called once, when the last answer is written or can't be.
    :param count: is told each question (``None`` if it was malformed), and whether it got a yes.
    """

    log = Logger()
    transport: Any
    write: Callable[[bytes], None]
    """Writes answers."""
    MAX_LENGTH = 0xFFFF

    def __init__(
        self,
        authority: Callable[[], IAuthority | None],
        ended: Callable[[], None] = lambda: None,
        lost: Callable[[], None] = lambda: None,
        count: Callable[[ExtauthRequest | None, bool], None] = lambda question, yes: None,
    ) -> None:
        self._authority = authority
        self._count = count
        self._question: ExtauthRequest | None = None
        self._said: list[tuple[ExtauthRequest | None, bool]] = []
        self._ended = ended
        self._lost = lost
        self._reading_stopped = False
        self._no_more_questions = False
        self._over = False

    def connectionMade(self) -> None:
        """Begin."""
        self.write = self.transport.write

    def stringReceived(self, string: bytes) -> None:
        """Answer one question; while its answer is awaited, later ones wait."""
        authority = self._authority()
        if authority is None:
            self._fall_silent()
            return
        self._question = None
        try:
            self._question = ExtauthRequest.parse(string)
            answer = ask(authority, self._question)
        except AuthorityUnavailable:
            answer = False
        except MalformedRequest as error:
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
        self._flush()
        if self.paused and len(self._unprocessed) > MAX_WAITING and not self._reading_stopped:
            self._reading_stopped = True
            self.transport.pauseProducing()

    def finish(self) -> None:
        """Read no further question; close when the last one is answered."""
        self.transport.pauseProducing()
        self.readConnectionLost()

    def readConnectionLost(self) -> None:
        """The other side asks nothing more: close when its last question is answered."""
        self._no_more_questions_come()
        self._close_if_done()

    def writeConnectionLost(self) -> None:
        """The other side reads no more answers, so there is nothing left to do."""
        self._no_more_answers()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The stream is closed both ways."""
        self._no_more_answers()

    def _fall_silent(self) -> None:
        self._over = self.paused = True
        self._flush()
        self.transport.loseConnection()

    def _no_more_answers(self) -> None:
        if not self._over:
            self._over = True
            self._no_more_questions_come()
            self._lost()

    def _no_more_questions_come(self) -> None:
        if not self._no_more_questions:
            self._no_more_questions = True
            self._ended()

    def _close_if_done(self) -> None:
        if self._no_more_questions and not self.paused and not self._over:
            self.transport.loseConnection()

    def _await(self, answer: "Deferred[bool]") -> None:
        answered = False

        def done(result: bool | Failure) -> None:
            nonlocal answered
            answered = True
            if isinstance(result, Failure):
                if self._authority() is None:
                    self._fall_silent()
                    return
                self._log_failure(result)
                result = False
            self._say(result)
            if self.paused:
                self._go_on()

        answer.addBoth(done)
        self.paused = not answered
        if self.paused:
            timer = call_later(ANSWER_TIME, answer.cancel)
            answer.addBoth(lambda _: timer.cancel() if timer.active() else None)

    def _log_failure(self, failure: Failure) -> None:
        if failure.check(AuthorityUnavailable):
            return
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
        self._close_if_done()

    def _say(self, answer: Answer) -> None:
        self._said.append((self._question, answer is True))

    def _flush(self) -> None:
        """Write what was answered, and count it afterwards: ejabberd waits for the one and not for the other."""
        if self._said:
            said, self._said = self._said, []
            self.write(b"".join(YES if yes else NO for _, yes in said))
            for question, yes in said:
                self._count(question, yes)
