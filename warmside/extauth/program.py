"""The extauth program that ejabberd ran before: some copies of it answer for ordinary passwords.

Each copy is asked one question at a time, as ejabberd does, so that an answer can belong to nothing
but the question before it. A copy that says anything else, or nothing in time, is ended.
"""

import os
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from warmside.extauth.authorities import Answer, AuthorityUnavailable, ForwardingAuthority
from warmside.extauth.frames import NO, REPEATABLE, YES

DEADLINE = 20.0
"""Seconds for a question, waiting for a copy included; ejabberd waits 30."""
PATIENCE = 5.0
"""Seconds for which a question waits when no copy runs."""
MIN_BACKOFF, MAX_BACKOFF = 0.1, 30.0
"""Seconds before a copy that ended is started again: doubled each time that it ends without an answer."""
HOPELESS = 2.0
"""When the wait is as long as this, questions are refused at once."""
TIME_TO_END = 0.3
"""Seconds for a copy to end by itself when its stdin is closed."""
MAX_WAITING = 1000

NEVER_KEPT = ("PROMETHEUS_MULTIPROC_DIR", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""Variables of warmside's own environment that a copy does not get."""


@dataclass(eq=False)
class _Asked:
    """A question under way. One that may be asked twice goes to another copy when its copy dies."""

    frame: bytes = field(repr=False)
    repeatable: bool
    answer: "Deferred[bool]" = field(repr=False)
    since: float = 0.0
    timer: Any = None
    copy: "_Copy | None" = None


class ProgramAuthority(ForwardingAuthority):
    """Answers with an extauth program.

    :param command: the program, with its absolute path, and its arguments.
    :param copies: how many run.
    """

    log = Logger()

    def __init__(self, reactor: Any, command: Sequence[str], copies: int) -> None:
        self._reactor = reactor
        self._command = command
        self._waiting: deque[_Asked] = deque()
        self._closed = False
        self._copies = [_Copy(self, reactor) for _ in range(copies)]
        for copy in self._copies:
            copy.start()

    def forward(self, operation: str, user: str, host: str, secret: bytes | None) -> Answer:
        """What the program says."""
        running = any(copy.running for copy in self._copies)
        hopeless = not running and all(copy.backoff >= HOPELESS for copy in self._copies)
        if self._closed or hopeless or len(self._waiting) >= MAX_WAITING:
            raise AuthorityUnavailable
        fields = [operation.encode(), user.encode(), host.encode()] + ([] if secret is None else [secret])
        payload = b":".join(fields)
        frame = struct.pack("!H", len(payload)) + payload
        asked = _Asked(frame, operation in REPEATABLE, Deferred(), self._reactor.seconds())
        asked.timer = self._reactor.callLater(DEADLINE if running else PATIENCE, self._too_late, asked)
        self._waiting.append(asked)
        self.serve()
        return asked.answer

    def close(self) -> "Deferred[None]":
        """End the copies; fires when they have ended."""
        self._closed = True
        for asked in list(self._waiting):
            self._fail(asked)
        ended = DeferredList([copy.end() for copy in self._copies])
        return ended.addCallback(lambda _: None)

    def spawn(self, protocol: ProcessProtocol) -> Any:
        """Start a copy. Its stderr is warmside's."""
        environ = {name: value for name, value in os.environ.items() if name not in NEVER_KEPT}
        return self._reactor.spawnProcess(
            protocol, self._command[0], self._command, env=environ, childFDs={0: "w", 1: "r", 2: 2}
        )

    def ended(self, copy: "_Copy", asked: _Asked | None, why: str) -> None:
        """A copy has ended, and with it the question that it was asked."""
        if not self._closed:
            self.log.error(
                "a copy of {program} {why}; it is started again in {delay} s",
                program=Path(self._command[0]).name,
                why=why,
                delay=round(copy.backoff, 1),
            )
        if asked is not None and not asked.answer.called:
            asked.copy = None
            if asked.repeatable and not self._closed:
                asked.repeatable = False
                self._waiting.appendleft(asked)
                self.serve()
            else:
                self._fail(asked)

    def serve(self) -> None:
        """Give the questions that wait to the copies that are free."""
        for copy in self._copies:
            if not self._waiting:
                return
            if copy.free:
                asked = self._waiting.popleft()
                asked.copy = copy
                asked.timer.reset(max(0.0, asked.since + DEADLINE - self._reactor.seconds()))
                copy.ask(asked)

    def answered(self, asked: _Asked, answer: bool) -> None:
        """A copy has answered."""
        asked.timer.cancel()
        asked.answer.callback(answer)

    def _too_late(self, asked: _Asked) -> None:
        if asked.copy is not None:
            # Its answer may come yet, and would be taken for that of the next question.
            asked.copy.kill(f"did not answer within {DEADLINE:g} seconds and was ended")
        self._fail(asked)

    def _fail(self, asked: _Asked) -> None:
        if asked in self._waiting:
            self._waiting.remove(asked)
        if asked.timer.active():
            asked.timer.cancel()
        if not asked.answer.called:
            asked.answer.errback(AuthorityUnavailable())


class _Copy(ProcessProtocol):
    """One process of the program, started again whenever it ends."""

    transport: Any

    def __init__(self, authority: ProgramAuthority, reactor: Any) -> None:
        self.backoff = MIN_BACKOFF
        self.running = False
        self._authority = authority
        self._reactor = reactor
        self._asked: _Asked | None = None
        self._received = b""
        self._why = ""
        self._restart: Any = None
        self._last_resort: Any = None
        self._closing: list[Deferred[None]] = []

    @property
    def free(self) -> bool:
        """Whether it can be asked."""
        return self.running and self._asked is None

    def start(self) -> None:
        """Start the process."""
        self._restart = None
        self._received, self._why = b"", ""
        try:
            self._authority.spawn(self)
        except OSError as error:
            self._start_again(f"can't be started: {error.strerror}")

    def connectionMade(self) -> None:
        """The process runs."""
        self.running = True
        self._authority.serve()

    def ask(self, asked: _Asked) -> None:
        """Write a question."""
        self._asked = asked
        self.transport.write(asked.frame)

    def outReceived(self, data: bytes) -> None:
        """Take what the process has written: the answer to its one question, and nothing else."""
        self._received += data
        if self._asked is None or self._received not in (YES, NO):
            if self._asked is None or not (YES.startswith(self._received) or NO.startswith(self._received)):
                self.kill("wrote something that is no answer and was ended")
            return
        asked, answer = self._asked, self._received == YES
        self._asked, self._received = None, b""
        self.backoff = MIN_BACKOFF
        self._authority.answered(asked, answer)
        self._authority.serve()

    def kill(self, why: str) -> None:
        """End the process at once."""
        self.running = False
        self._why = self._why or why
        try:
            self.transport.signalProcess("KILL")
        except ProcessExitedAlready:
            pass

    def processExited(self, reason: Failure) -> None:
        """The process has ended; if it was a shell, a child of its own may still hold the pipes: let go of them."""
        self.running = False
        self.transport.loseConnection()

    def processEnded(self, reason: Failure) -> None:
        """The process has ended and all that it wrote was read."""
        status = getattr(reason.value, "exitCode", None)
        self._start_again(self._why or (f"ended with status {status}" if status is not None else "was ended"))

    def end(self) -> "Deferred[None]":
        """End for good: by closing stdin, and by force if that is not enough."""
        ended: Deferred[None] = Deferred()
        if self._restart is not None and self._restart.active():
            self._restart.cancel()
        if self.transport is None or self.transport.pid is None:
            ended.callback(None)
            return ended
        if not self._closing:
            self._last_resort = self._reactor.callLater(TIME_TO_END, self.kill, "was ended")
            self.transport.closeStdin()
        self._closing.append(ended)
        return ended.addTimeout(2 * TIME_TO_END, self._reactor, lambda result, _: None)

    def _start_again(self, why: str) -> None:
        self.running = False
        asked, self._asked = self._asked, None
        if self._closing:
            if self._last_resort.active():
                self._last_resort.cancel()
        else:
            self._restart = self._reactor.callLater(self.backoff, self.start)
        self._authority.ended(self, asked, why)
        self.backoff = min(2 * self.backoff, MAX_BACKOFF)
        for ended in self._closing:
            if not ended.called:
                ended.callback(None)
        self._closing.clear()
