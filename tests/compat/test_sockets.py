"""The end of a TCP connection, on real sockets."""

import select
import socket
import struct
from collections.abc import Iterator

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from warmside.compat.sockets import observe_end


class Transport:
    """The part of Twisted's transport that `observe_end` uses."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.dataBuffer = b""
        self.offset = self._tempDataLen = 0
        self.lost: list[Failure] = []

    def connectionLost(self, reason: Failure) -> None:
        self.lost.append(reason)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with client, server:
        yield client, server


@pytest.mark.parametrize(
    ("reset", "reason", "ended"),
    [
        (False, ConnectionDone(), False),
        (False, ConnectionLost(), True),
        (True, ConnectionDone(), True),
        (True, ConnectionLost(), True),
    ],
)
def test_a_reset_is_seen_whatever_twisted_reports(
    pair: tuple[socket.socket, socket.socket], reset: bool, reason: Exception, ended: bool
) -> None:
    client, server = pair
    if reset:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    arrived = select.poll()
    arrived.register(server, select.POLLIN)
    assert arrived.poll(10_000)
    transport = Transport(server)
    ends: list[tuple[bool, int]] = []
    observe_end(transport, lambda was_reset, unread: ends.append((was_reset, unread)))
    transport.connectionLost(Failure(reason))
    assert ends == [(ended, 0)]
    assert [each.value for each in transport.lost] == [reason]
