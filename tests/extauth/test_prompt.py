"""Answers go out at once, and none is lost when the other side does not read."""

import fcntl
import os

from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactor

from warmside.extauth.prompt import PromptIO


def test_what_a_full_pipe_does_not_take_follows_in_order() -> None:
    questions, _ = os.pipe()
    answers, stdout = os.pipe()
    fcntl.fcntl(stdout, fcntl.F_SETPIPE_SZ, 4096)
    reactor = MemoryReactor()
    stdio = PromptIO(Protocol(), stdin=questions, stdout=stdout, reactor=reactor)
    data = os.urandom(10_000)
    stdio.write(data[:6000])
    stdio.write(data[6000:])
    read = os.read(answers, 65536)
    assert 0 < len(read) < 6000
    while len(read) < len(data):
        assert reactor.getWriters()
        for writer in reactor.getWriters():
            writer.doWrite()
        read += os.read(answers, 65536)
    assert read == data


def test_what_a_pipe_takes_is_there_at_once() -> None:
    questions, _ = os.pipe()
    answers, stdout = os.pipe()
    reactor = MemoryReactor()
    PromptIO(Protocol(), stdin=questions, stdout=stdout, reactor=reactor).write(b"answer")
    assert os.read(answers, 100) == b"answer" and not reactor.getWriters()
