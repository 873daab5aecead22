"""Sockets under Twisted's transports: the end of a connection, and writes without a turn of the reactor."""

import fcntl
import socket
import sys
import termios
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure


def tcp_transport(transport: Any) -> Any:
    """Return the transport that has the socket. TLS wraps another one and passes unknown attributes on to it."""
    while "socket" not in vars(transport) and vars(transport).get("transport") is not None:
        transport = transport.transport
    return transport


def unread_bytes(transport: Any) -> int:
    """Return the bytes that were not sent, or that the peer's system has not acknowledged; 0 if there is no socket.

    Private: `dataBuffer`, `offset` and `_tempDataLen`, the bytes that were not sent.
    """
    inner = tcp_transport(transport)
    handle = vars(inner).get("socket")
    if handle is None:
        return 0
    unacknowledged = int.from_bytes(fcntl.ioctl(handle.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    return unacknowledged + len(inner.dataBuffer) - int(inner.offset) + int(inner._tempDataLen)


def observe_end(transport: Any, ended: Callable[[bool, int], None]) -> None:
    """Call a function just before a socket is closed.

    It gets True if the peer has reset the connection, and `unread_bytes`.

    Reason: after a reset Twisted reports a clean end if an end was read before. Over TLS it reports an orderly end
    without close_notify, which is usual, as a lost connection.

    Private: a transport's `connectionLost`, which the reactor calls, and `socket`. Without a socket nothing is called.
    """
    inner = tcp_transport(transport)
    if "socket" not in vars(inner):
        return
    close = inner.connectionLost

    def connection_lost(reason: Failure) -> None:
        handle = vars(inner).get("socket")
        if handle is not None:
            error = handle.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            ended(bool(error) or not reason.check(ConnectionDone), unread_bytes(inner))
        close(reason)

    inner.connectionLost = connection_lost


def write_now(transport: Any, data: bytes) -> None:
    """Write to a transport, and send what the socket takes without a turn of the reactor.

    Reason: `write` leaves the data to the reactor's next turn, which costs two calls of epoll_ctl.

    Private: `Connection.writeSomeData`, which is meant for the reactor, and `_tempDataLen` and `dataBuffer`, the data
    that waits. TLS encrypts first, and its transport is no `Connection`.
    """
    direct = isinstance(transport, Connection) and not transport.TLS
    if direct and not transport.dataBuffer and not transport._tempDataLen:
        sent = transport.writeSomeData(data)
        if isinstance(sent, int):  # else an exception that says that the connection is lost
            data = data[sent:]
    if data:
        transport.write(data)
