"""``warmside relay``: carries ejabberd's questions to a running daemon, and its answers back.

Standard library only, and little of it: ejabberd starts several of these, and each must be there at
once. It never ends before its stdin does. While the daemon is away a question waits for a moment and
is then refused; a question that was under way when the daemon went away is asked again if asking
twice does no harm, and refused if it does. Answers leave in the order of the questions, always.
"""

import os
import select
import socket
import stat
import sys
import time
from collections import deque

from warmside.extauth.frames import NO, REPEATABLE, YES

ONE_TIME = b"warmside-otp-"

ANSWER_TIME = 20.0
"""Seconds for which an answer is waited for; ejabberd waits 30."""
PATIENCE = 5.0
"""Seconds for which questions wait for a daemon that is away; after that they are refused at once."""
MIN_BACKOFF, MAX_BACKOFF = 0.05, 1.0
REMIND = 60.0
TIME_TO_END = 0.8
"""Seconds after stdin's end for answers that are due."""
MAX_WAITING = 4096
"""Questions under way; beyond, stdin is not read."""
CHUNK = 1 << 16


def run(arguments: "list[str]") -> int:
    """Run the relay until stdin ends.

    :param arguments: what followed ``warmside relay``.
    :returns: the exit status.
    """
    where = arguments[0] if len(arguments) == 1 and not arguments[0].startswith("-") else None
    fault = ""
    if where is None:
        fault = "its command line is wrong: give one SOCKET, such as /run/warmside/extauth.sock"
    elif _address(where) is None:
        fault = f"{where} is neither the path of a socket nor tcp:PORT"
    if fault and not is_pipe(0):
        print(f"warmside relay: {fault}", file=sys.stderr)
        return 2
    Relay(0, 1, None if fault else _address(where or ""), fault or str(where)).run()
    return 2 if fault else 0


class Relay:
    """Carries frames between two file descriptors and a daemon's socket.

    :param questions: read from; ``answers``: written to.
    :param address: the daemon's; ``None`` refuses everything.
    :param name: what to call it in the log.
    """

    def __init__(self, questions: int, answers: int, address: "tuple[int, object] | None", name: str) -> None:
        self._questions = questions
        self._answers = answers
        self._address = address
        self._name = name
        self._socket: socket.socket | None = None
        self._ended_at: float | None = None
        self._asked: deque[tuple[bytes | None, float]] = deque()
        """The questions that are not answered, in order, and when they came; ``None`` if it is to be refused."""
        self._partial = b""
        self._received = b""
        self._to_send = b""
        self._to_answer = b""
        self._away_since = time.monotonic()
        self._next_attempt = 0.0
        self._backoff = MIN_BACKOFF
        self._said_at: float | None = None
        self._poll = select.poll()
        self._watched: dict[int, int] = {}

    def run(self) -> None:
        """Carry on until stdin has ended and what is due is answered, or nobody reads answers any more."""
        os.set_blocking(self._questions, False)
        os.set_blocking(self._answers, False)
        try:
            while not self._done():
                self._turn()
        except BrokenPipeError:
            pass

    def _done(self) -> bool:
        if self._ended_at is None:
            return False
        return not (self._asked or self._to_answer) or time.monotonic() > self._ended_at + TIME_TO_END

    def _turn(self) -> None:
        now = time.monotonic()
        if self._socket is None and self._address is not None and now >= self._next_attempt:
            self._connect(now)
        self._refuse_late(now)
        reading = self._ended_at is None and len(self._asked) < MAX_WAITING
        self._watch(self._questions, select.POLLIN if reading else 0)
        self._watch(self._answers, select.POLLOUT if self._to_answer else 0)
        if self._socket is not None:
            self._watch(self._socket.fileno(), select.POLLIN | (select.POLLOUT if self._to_send else 0))
        for fd, events in self._poll.poll(self._wait(now)):
            if fd == self._questions:
                self._read_questions()
            elif fd == self._answers:
                self._write_answers()
            elif self._socket is not None:
                self._exchange(events)

    def _watch(self, fd: int, events: int) -> None:
        if self._watched.get(fd, 0) != events:
            self._watched[fd] = events
            if events:
                self._poll.register(fd, events)
            else:
                self._poll.unregister(fd)

    def _wait(self, now: float) -> float:
        """Milliseconds until something has to be done though nothing arrives."""
        moment = now + 60
        if self._socket is None and self._address is not None:
            moment = min(moment, self._next_attempt)
        if self._asked:
            moment = min(moment, self._deadline())
        if self._ended_at is not None:
            moment = min(moment, self._ended_at + TIME_TO_END)
        return max(1.0, (moment - now) * 1000)

    def _read_questions(self) -> None:
        try:
            data = os.read(self._questions, CHUNK)
        except BlockingIOError:
            return
        if not data:
            self._ended_at = time.monotonic()
            return
        now = time.monotonic()
        buffer = self._partial + data if self._partial else data
        start, length = 0, len(buffer)
        asked = self._asked
        while start + 2 <= length:
            end = start + 2 + (buffer[start] << 8 | buffer[start + 1])
            if end > length:
                break
            asked.append((buffer[start:end], now))
            start = end
        self._partial = buffer[start:]
        if self._socket is not None:
            self._to_send += buffer[:start]
            self._send()
        else:
            self._refuse_late(now)

    def _exchange(self, events: int) -> None:
        assert self._socket is not None
        if events & ~select.POLLOUT:
            try:
                data = self._socket.recv(CHUNK)
            except BlockingIOError:
                data = None
            except OSError:
                data = b""
            if data == b"":
                self._disconnect("the daemon closed the connection")
                return
            if data and not self._take_answers(data):
                self._disconnect("the daemon sent something that is no answer")
                return
        if events & select.POLLOUT:
            self._send()

    def _take_answers(self, data: bytes) -> bool:
        """Pass answers on, each in the place of its question; whether all were answers."""
        buffer = self._received + data if self._received else data
        whole = len(buffer) & ~3
        for at in range(0, whole, 4):
            answer = buffer[at : at + 4]
            if answer not in (YES, NO) or not self._asked:
                return False
            self._asked.popleft()
            self._to_answer += answer
            self._flush_refused()
        self._received = buffer[whole:]
        self._backoff = MIN_BACKOFF
        self._write_answers()
        return True

    def _flush_refused(self) -> None:
        while self._asked and self._asked[0][0] is None:
            self._asked.popleft()
            self._to_answer += NO

    def _write_answers(self) -> None:
        try:
            written = os.write(self._answers, self._to_answer)
        except BlockingIOError:
            return
        self._to_answer = self._to_answer[written:]

    def _send(self) -> None:
        assert self._socket is not None
        try:
            sent = self._socket.send(self._to_send)
        except BlockingIOError:
            return
        except OSError:
            self._disconnect("the daemon closed the connection")
            return
        self._to_send = self._to_send[sent:]

    def _connect(self, now: float) -> None:
        assert self._address is not None
        family, address = self._address
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(1)
            connection.connect(address)  # type: ignore[arg-type]
            connection.setblocking(False)
        except OSError as error:
            connection.close()
            self._next_attempt = now + self._backoff
            self._backoff = min(2 * self._backoff, MAX_BACKOFF)
            self._say(now, f"no connection: {error.strerror or error}")
            return
        if family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._said_at is not None:
            _log(f"{self._name}: connected")
        self._said_at = None
        self._socket = connection
        self._to_send = b"".join(question for question, _ in self._asked if question is not None)
        if self._to_send:
            self._send()

    def _disconnect(self, why: str) -> None:
        """What was under way is asked again, or refused where asking twice is not safe."""
        if self._socket is not None:
            self._watch(self._socket.fileno(), 0)
            self._socket.close()
        now = time.monotonic()
        self._socket = None
        self._received = self._to_send = b""
        self._away_since = now
        self._next_attempt = now + self._backoff
        self._backoff = min(2 * self._backoff, MAX_BACKOFF)
        self._asked = deque((question if _may_repeat(question) else None, came) for question, came in self._asked)
        self._flush_refused()
        self._write_answers()
        self._say(now, why)

    def _deadline(self) -> float:
        """When the first question is refused."""
        came = self._asked[0][1]
        if self._address is None:
            return came
        if self._socket is None:
            return min(came + ANSWER_TIME, max(came, self._away_since + PATIENCE))
        return came + ANSWER_TIME

    def _refuse_late(self, now: float) -> None:
        if not self._asked or now < self._deadline():
            return
        if self._socket is not None:
            # Its answer may come yet, and would be taken for that of the next question.
            self._asked[0] = (None, self._asked[0][1])
            self._disconnect(f"the daemon did not answer within {ANSWER_TIME:g} seconds")
            return
        if self._address is None:
            self._say(now, "every question is refused")
        while self._asked and now >= self._deadline():
            self._asked.popleft()
            self._to_answer += NO
            self._flush_refused()
        self._write_answers()

    def _say(self, now: float, what: str) -> None:
        if self._said_at is None or now - self._said_at >= REMIND:
            self._said_at = now
            _log(f"{self._name}: {what}")


def _may_repeat(frame: "bytes | None") -> bool:
    if frame is None:
        return False
    operation, *fields = frame[2:].split(b":", 3)
    one_time = len(fields) == 3 and fields[2].startswith(ONE_TIME)
    return bool(fields) and operation.decode("latin-1") in REPEATABLE and not one_time


def _address(where: str) -> "tuple[int, object] | None":
    """The family and address of a socket: a path, or what ``extauth.listen`` says of it."""
    kind, _, rest = where.partition(":")
    if kind == "tcp":
        port = rest.partition(":")[0]
        return (socket.AF_INET, ("127.0.0.1", int(port))) if port.isdigit() and int(port) < 65536 else None
    path = rest.partition(":")[0] if kind == "unix" else where
    return (socket.AF_UNIX, path) if path.startswith("/") else None


def is_pipe(fd: int) -> bool:
    """Whether another program is at the other end of a file descriptor."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _log(text: str) -> None:
    try:
        os.write(2, f"warmside relay: {text}\n".encode("utf-8", "replace"))
    except OSError:
        pass
