"""Listening ports of twisted.internet."""

import socket
from typing import Any

from twisted.internet import unix
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory

MAX_ACCEPTS = 1_000_000
"""Connections that one call of ``doRead`` may accept; more than any accept queue holds."""


def adopt_unix_port(reactor: Any, fd: int, factory: Factory) -> IListeningPort:
    """Listen on a unix socket that systemd has opened, and leave its path and mode as they are.

    ``reactor.adoptStreamPort`` sets the mode of the path to 0666 and removes the path at the end.
    Depends on ``unix.Port._fromListeningDescriptor`` and ``unix.Port._bindPath``, which older releases call
    ``port``: both happen only to a path.
    """
    port: Any = unix.Port._fromListeningDescriptor(reactor, fd, factory)
    setattr(port, "_bindPath" if hasattr(port, "_bindPath") else "port", b"\0")
    port.startListening()
    listening: IListeningPort = port
    return listening


def accept_and_close(port: Any) -> "Deferred[None]":
    """Accept every connection in the queue of a port, then close its socket at once.

    The kernel resets what is in the accept queue of a socket that is closed. ``stopListening`` alone leaves
    one turn of the reactor between the last accept and the closing.
    Depends on ``tcp.Port.numberAccepts``, ``doRead`` and ``socket``.

    :returns: fires when the port is closed.
    """
    stopped: Deferred[None] = port.stopListening()
    port.numberAccepts = MAX_ACCEPTS
    port.doRead()
    sock: socket.socket = port.socket
    sock.close()
    return stopped
