"""The relay, beside a daemon that a test controls: every question gets one answer, in order, whatever happens."""

import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.parts import WARMSIDE, run
from warmside.extauth import relay
from warmside.extauth.frames import NO, YES
from warmside.extauth.relay import Relay
from warmside.otp import PREFIX

ONE_TIME = f"auth:juliet:example.org:{PREFIX}x".encode()


def frame(payload: bytes) -> bytes:
    return struct.pack("!H", len(payload)) + payload


class Daemon:
    """Takes one connection at a time; a test says what it answers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connections: list[socket.socket] = []
        self.connection: socket.socket | None = None
        self.listen()

    def listen(self) -> None:
        self.path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(self.path))
        self.socket.listen(8)
        self.socket.settimeout(10)

    def accept(self) -> None:
        self.connection, _ = self.socket.accept()
        self.connections.append(self.connection)
        self.connection.settimeout(10)

    def question(self) -> bytes:
        """The next question."""
        assert self.connection is not None
        length = struct.unpack("!H", self._exactly(2))[0]
        return self._exactly(length)

    def _exactly(self, number: int) -> bytes:
        assert self.connection is not None
        data = b""
        while len(data) < number:
            more = self.connection.recv(number - len(data))
            assert more, "the relay closed the connection"
            data += more
        return data

    def say(self, data: bytes) -> None:
        assert self.connection is not None
        self.connection.sendall(data)

    def hang_up(self) -> None:
        assert self.connection is not None
        self.connection.close()
        self.connection = None

    def go_away(self) -> None:
        for connection in self.connections:
            connection.close()
        self.socket.close()
        self.path.unlink(missing_ok=True)


class World:
    """A relay in a thread, between pipes and a daemon."""

    def __init__(self, folder: Path) -> None:
        self.daemon = Daemon(folder / "extauth.sock")
        stdin, self.stdin = os.pipe()
        self.stdout, stdout = os.pipe()
        address = relay._address(str(self.daemon.path))
        self.relay = Relay(stdin, stdout, address, "test")
        self.thread = threading.Thread(target=self.relay.run, daemon=True)
        self.fds = [stdin, stdout, self.stdout]
        self.thread.start()

    def ask(self, *questions: bytes) -> None:
        os.write(self.stdin, b"".join(map(frame, questions)))

    def answers(self, number: int) -> list[bytes]:
        """That many answers."""
        data = b""
        while len(data) < 4 * number:
            data += os.read(self.stdout, 4 * number - len(data))
        return [data[at : at + 4] for at in range(0, len(data), 4)]

    def nothing_comes(self) -> bool:
        """Whether no answer is there."""
        time.sleep(0.1)
        os.set_blocking(self.stdout, False)
        try:
            return not os.read(self.stdout, 1)
        except BlockingIOError:
            return True
        finally:
            os.set_blocking(self.stdout, True)

    def end(self) -> None:
        """Close stdin; the relay ends."""
        os.close(self.stdin)
        self.thread.join(10)
        assert not self.thread.is_alive()

    def close(self) -> None:
        if self.thread.is_alive():
            self.end()
        self.daemon.go_away()
        if self.relay._socket is not None:
            self.relay._socket.close()
        for fd in self.fds:
            os.close(fd)


@pytest.fixture
def world(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def test_questions_and_answers_are_carried_in_order(world: World) -> None:
    world.daemon.accept()
    world.ask(b"auth:a:h:x", b"isuser:b:h", b"nonsense", b"")
    assert [world.daemon.question() for _ in range(4)] == [b"auth:a:h:x", b"isuser:b:h", b"nonsense", b""]
    world.daemon.say(YES + NO)
    world.daemon.say(NO[:3])
    assert world.answers(2) == [YES, NO]
    world.daemon.say(NO[3:] + YES)
    assert world.answers(2) == [NO, YES]


def test_frames_may_come_in_any_portions(world: World) -> None:
    world.daemon.accept()
    for byte in frame(b"auth:a:h:" + b"x" * 300) + frame(b"isuser:b:h"):
        os.write(world.stdin, bytes([byte]))
    assert world.daemon.question() == b"auth:a:h:" + b"x" * 300
    assert world.daemon.question() == b"isuser:b:h"
    for byte in YES + NO:
        world.daemon.say(bytes([byte]))
    assert world.answers(2) == [YES, NO]


def test_what_may_be_asked_twice_is_asked_again_and_what_may_not_is_refused_each_in_its_place(world: World) -> None:
    world.daemon.accept()
    questions = [b"isuser:a:h", ONE_TIME, b"auth:b:h:pass", b"tryregister:c:h:p", b"setpass:d:h:p", b"removeuser:e:h"]
    world.ask(*questions)
    assert [world.daemon.question() for _ in questions] == questions
    world.daemon.hang_up()
    world.daemon.accept()
    assert [world.daemon.question() for _ in range(3)] == [b"isuser:a:h", b"auth:b:h:pass", b"setpass:d:h:p"]
    assert world.nothing_comes()
    world.daemon.say(YES + YES + YES)
    assert world.answers(6) == [YES, NO, YES, NO, YES, NO]


def test_a_one_time_password_under_way_is_refused_at_once_when_the_daemon_is_gone(world: World) -> None:
    world.daemon.accept()
    world.ask(ONE_TIME)
    assert world.daemon.question() == ONE_TIME
    world.daemon.go_away()
    assert world.answers(1) == [NO]


def test_an_answer_that_came_before_the_connection_broke_counts(world: World) -> None:
    world.daemon.accept()
    world.ask(ONE_TIME, b"isuser:a:h")
    world.daemon.question()
    world.daemon.say(YES)
    world.daemon.hang_up()
    assert world.answers(1) == [YES]
    world.daemon.accept()
    assert world.daemon.question() == b"isuser:a:h"
    world.daemon.say(YES)
    assert world.answers(1) == [YES]


def test_questions_wait_for_a_daemon_that_restarts(world: World) -> None:
    world.daemon.accept()
    world.daemon.go_away()
    time.sleep(0.1)
    world.ask(ONE_TIME, b"isuser:a:h")
    assert world.nothing_comes()
    world.daemon.listen()
    world.daemon.accept()
    assert [world.daemon.question() for _ in range(2)] == [ONE_TIME, b"isuser:a:h"]
    world.daemon.say(YES + NO)
    assert world.answers(2) == [YES, NO]


def test_when_the_daemon_stays_away_questions_are_refused_and_later_ones_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "PATIENCE", 0.5)
    world.daemon.accept()
    world.daemon.go_away()
    world.ask(b"isuser:a:h")
    assert world.nothing_comes()
    assert world.answers(1) == [NO]
    world.ask(*[b"isuser:a:h"] * 5)
    assert world.answers(5) == [NO] * 5


def test_what_is_refused_behind_what_is_late_leaves_with_it_and_takes_no_others_answer() -> None:
    stdin, stdout = os.pipe()
    with open(stdin, "rb") as read, open(stdout, "wb"):
        alone, now = Relay(stdin, stdout, (socket.AF_UNIX, "/none"), "test"), time.monotonic()
        alone._away_since = now
        late, fresh = frame(b"isuser:a:h"), frame(b"isuser:c:h")
        alone._asked.extend([(late, now - 2 * relay.ANSWER_TIME), (None, now - 1), (fresh, now)])
        alone._refuse_late(now)
        assert read.read(8) == NO + NO
        assert [question for question, _ in alone._asked] == [fresh]


def test_a_daemon_that_does_not_answer_in_time_is_left_and_its_late_answer_taken_for_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "ANSWER_TIME", 2.0)
    world.daemon.accept()
    world.ask(b"isuser:a:h")
    world.daemon.question()
    time.sleep(1.5)
    world.ask(b"isuser:b:h")
    assert world.answers(1) == [NO]
    with pytest.raises(OSError, match="Broken pipe"):
        world.daemon.say(YES)
    world.daemon.accept()
    assert world.daemon.question() == b"isuser:b:h"
    world.daemon.say(YES)
    assert world.answers(1) == [YES]


@pytest.mark.parametrize("rubbish", [b"\0\2\0\2", b"\0\3\0\1", b"HTTP/1.1 400", YES + YES])
def test_what_is_no_answer_or_one_too_many_is_not_passed_on(world: World, rubbish: bytes) -> None:
    world.daemon.accept()
    world.ask(b"isuser:a:h")
    world.daemon.question()
    world.daemon.say(rubbish)
    if rubbish == YES + YES:
        assert world.answers(1) == [YES]
        world.ask(b"isuser:a:h")
    world.daemon.accept()
    assert world.daemon.question() == b"isuser:a:h"
    world.daemon.say(NO)
    assert world.answers(1) == [NO]


def test_at_the_end_of_stdin_what_was_asked_is_answered(world: World) -> None:
    world.daemon.accept()
    world.ask(b"isuser:a:h", b"isuser:b:h")
    os.close(world.stdin)
    world.daemon.question()
    world.daemon.say(YES + NO)
    assert world.answers(2) == [YES, NO]
    world.thread.join(5)
    assert not world.thread.is_alive()


def test_more_questions_than_fit_are_left_in_the_pipe(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "MAX_WAITING", 10)
    world.daemon.accept()

    def ask() -> None:
        for number in range(200):
            world.ask(*[b"isuser:%d:h" % number] * 20)

    writer = threading.Thread(target=ask)
    writer.start()
    for number in range(4000):
        assert world.daemon.question() == b"isuser:%d:h" % (number // 20)
        world.daemon.say(YES)
    assert world.answers(4000) == [YES] * 4000
    writer.join()


@pytest.mark.parametrize(
    ("where", "address"),
    [
        ("/run/x.sock", (socket.AF_UNIX, "/run/x.sock")),
        ("unix:/run/x.sock:mode=660", (socket.AF_UNIX, "/run/x.sock")),
        ("tcp:5283", (socket.AF_INET, ("127.0.0.1", 5283))),
        ("tcp:5283:interface=127.0.0.1", (socket.AF_INET, ("127.0.0.1", 5283))),
        ("tcp:x", None),
        ("relative", None),
        ("", None),
    ],
)
def test_a_socket_is_a_path_or_what_extauth_listen_says(where: str, address: object) -> None:
    assert relay._address(where) == address


@pytest.mark.parametrize("arguments", [["relay"], ["relay", "a", "b"], ["relay", "--wrong"], ["relay", "relative"]])
def test_a_wrong_command_line_is_waited_out_with_a_pipe_and_ends_without(arguments: list[str]) -> None:
    done = run(WARMSIDE, *arguments, stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and "warmside relay: " in done.stderr and done.stdout == ""
    process = subprocess.Popen(
        [WARMSIDE, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin and process.stdout
    process.stdin.write(frame(b"isuser:a:h"))
    process.stdin.flush()
    assert process.stdout.read(4) == NO
    assert process.poll() is None
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (2, b"") and b"every question is refused" in err


def test_help_is_there() -> None:
    assert "SOCKET" in run(WARMSIDE, "relay", "--help").stdout


def resident(pid: int) -> int:
    """KiB of memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def test_it_is_little_more_than_a_bare_python(world: World) -> None:
    """The relay is imported by nothing else, and imports nothing of warmside's but this."""
    bare = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    process = subprocess.Popen([WARMSIDE, "relay", world.daemon.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin and process.stdout and bare.stdout
    world.daemon.accept()
    world.daemon.accept()
    process.stdin.write(frame(b"isuser:a:h"))
    process.stdin.flush()
    world.daemon.question()
    world.daemon.say(YES)
    assert process.stdout.read(4) == YES
    bare.stdout.read(1)
    assert resident(process.pid) < resident(bare.pid) + 4096
    for each in (process, bare):
        each.communicate(timeout=10)
