"""Responses are written at once, and none is lost when the other side does not read."""

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
        stdin, self.requests = os.pipe()
        self.responses, stdout = os.pipe()
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
    os.close(ends.requests)
    os.close(ends.responses)


def test_bytes_that_a_full_pipe_does_not_take_follow_in_order(ends: Ends) -> None:
    data = os.urandom(10_000)
    ends.stdio.write(data[:6000])
    ends.stdio.write(data[6000:])
    read = os.read(ends.responses, 65536)
    assert 0 < len(read) < 6000
    while len(read) < len(data):
        assert ends.reactor.getWriters()
        for writer in ends.reactor.getWriters():
            writer.doWrite()
        read += os.read(ends.responses, 65536)
    assert read == data


def test_bytes_that_a_pipe_takes_are_written_at_once(ends: Ends) -> None:
    ends.stdio.write(b"response")
    assert os.read(ends.responses, 100) == b"response" and not ends.reactor.getWriters()


def test_the_other_side_sees_the_end_of_the_connection(ends: Ends) -> None:
    ends.stdio.write(b"response")
    ends.close()
    assert os.read(ends.responses, 100) == b"response" and os.read(ends.responses, 100) == b""
    with pytest.raises(BrokenPipeError):
        os.write(ends.requests, b"request")


def test_twisted_gets_what_is_written_after_the_connection_is_lost() -> None:
    class Lost:
        connected = 0
        written = b""

        def write(self, data: bytes) -> None:
            self.written = data

    lost = Lost()
    ImmediateWriter(lost).write(b"response")
    assert lost.written == b"response", "Twisted drops it"
