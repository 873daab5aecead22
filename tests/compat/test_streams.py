"""Private interfaces that `warmside.compat` uses: each test names the one that a release has changed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure

from warmside.compat import streams

_StandardIO: Any = StandardIO


@contextmanager
def private_interface(name: str, user: Any) -> Iterator[None]:
    """Name the private interface and its user in `compat` if anything fails."""
    try:
        yield
    except Exception as error:
        place = f"warmside.compat.streams.{user.__name__}"
        pytest.fail(f"{name} has changed: adapt {place} ({type(error).__name__}: {error})")


@contextmanager
def standard_io() -> Iterator[tuple[Any, int]]:
    """Make a `StandardIO` on pipes; yields it with the descriptor that its output is read from."""
    stdin, requests = os.pipe()
    responses, stdout = os.pipe()
    stdio = _StandardIO(Protocol(), stdin=stdin, stdout=stdout, reactor=MemoryReactor())
    yield stdio, responses
    stdio.connectionLost(Failure(ConnectionDone()))
    for descriptor in (stdin, requests, responses, stdout):
        os.close(descriptor)


def test_standard_io_has_a_writer_until_it_is_closed() -> None:
    with standard_io() as (stdio, responses), private_interface("StandardIO._writer", streams.stdio_writer):
        streams.stdio_writer(stdio).writeSomeData(b"x")
        assert os.read(responses, 10) == b"x"
    with private_interface("StandardIO._writer", streams.stdio_writer):
        assert streams.stdio_writer(stdio) is None


def test_a_descriptor_writes_at_once_while_it_is_connected() -> None:
    name = "FileDescriptor.connected or FileDescriptor.writeSomeData"
    with standard_io() as (stdio, responses):
        writer = stdio._writer
        with private_interface(name, streams.write_now):
            assert streams.write_now(writer, b"response") == 8
            assert os.read(responses, 10) == b"response"
    with private_interface(name, streams.write_now):
        assert not writer.connected
        assert streams.write_now(writer, b"response") == 0


def test_a_paused_receiver_buffers_bytes() -> None:
    receiver = Int16StringReceiver()
    receiver.makeConnection(StringTransport())
    receiver.paused = True
    with private_interface("Int16StringReceiver._unprocessed", streams.unprocessed_bytes):
        receiver.dataReceived(b"\0\1x\0\1y")
        assert streams.unprocessed_bytes(receiver) == 6
