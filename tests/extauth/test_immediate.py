"""Answers go out at once, and none is lost when the other side does not read."""

import fcntl
import os
from collections.abc import Iterator

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactor
from twisted.python.failure import Failure

from warmside.extauth.immediate import ImmediateStandardIO, ImmediateWriter


class Ends:
    """Both ends of the pipes."""

    def __init__(self) -> None:
        stdin, self.questions = os.pipe()
        self.answers, stdout = os.pipe()
        fcntl.fcntl(stdout, fcntl.F_SETPIPE_SZ, 4096)
        self.reactor = MemoryReactor()
        self.stdio = ImmediateStandardIO(Protocol(), stdin=stdin, stdout=stdout, reactor=self.reactor)

    def close(self) -> None:
        self.stdio.connectionLost(Failure(ConnectionDone()))


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    ends.close()
    os.close(ends.questions)
    os.close(ends.answers)


def test_what_a_full_pipe_does_not_take_follows_in_order(ends: Ends) -> None:
    data = os.urandom(10_000)
    ends.stdio.write(data[:6000])
    ends.stdio.write(data[6000:])
    read = os.read(ends.answers, 65536)
    assert 0 < len(read) < 6000
    while len(read) < len(data):
        assert ends.reactor.getWriters()
        for writer in ends.reactor.getWriters():
            writer.doWrite()
        read += os.read(ends.answers, 65536)
    assert read == data


def test_what_a_pipe_takes_is_there_at_once(ends: Ends) -> None:
    ends.stdio.write(b"answer")
    assert os.read(ends.answers, 100) == b"answer" and not ends.reactor.getWriters()


def test_the_end_of_the_connection_is_seen_at_the_other_side(ends: Ends) -> None:
    ends.stdio.write(b"answer")
    ends.close()
    assert os.read(ends.answers, 100) == b"answer" and os.read(ends.answers, 100) == b""
    with pytest.raises(BrokenPipeError):
        os.write(ends.questions, b"question")


def test_what_is_written_after_the_connection_was_lost_is_dropped() -> None:
    class Lost:
        connected = 0
        written = b""

        def write(self, data: bytes) -> None:
            self.written = data

    lost = Lost()
    ImmediateWriter(lost).write(b"answer")
    assert lost.written == b"answer", "a descriptor of Twisted's knows what to do with it"
