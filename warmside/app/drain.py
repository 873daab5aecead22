"""Ending to listen without resetting anybody, beside other processes that go on.

Closing a listening socket resets whoever has connected and was not accepted. So the socket turns deaf
to who would connect now, and what it has is accepted before it is closed.
"""

import ctypes
import socket
import struct
import sys
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater

HANDSHAKE_TIME = 0.05
"""Seconds for whoever is in the middle of connecting."""
PLENTY = 1_000_000
"""More connections than any queue holds."""

SO_ATTACH_FILTER = 26
DROP_SYN = ctypes.create_string_buffer(
    b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (0x30, 0, 0, 13),  # load the byte with the flags of the TCP header
            (0x45, 0, 1, 0x02),  # is it a SYN?
            (0x06, 0, 0, 0),  # then drop the packet
            (0x06, 0, 0, 0xFFFFFFFF),  # else take it whole
        )
    )
)
"""A socket filter (Linux, ``struct sock_filter``) that drops the packets by which a connection begins (RFC 9293)."""


async def stop_listening(reactor: Any, port: IListeningPort, *, shared: bool) -> None:
    """Close a port, with everybody accepted who has connected.

    :param shared: other processes listen there, too. Who is just connecting goes unheard; his system
        tries again in a second, and finds one of them.
    """
    connecting: Any = port
    sock: socket.socket | None = getattr(port, "socket", None)
    if shared and sock is not None and sys.platform == "linux":
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 4, ctypes.addressof(DROP_SYN)))
        await deferLater(reactor, HANDSHAKE_TIME)
    if sock is not None:
        connecting.numberAccepts = PLENTY
        connecting.doRead()
    stopped = port.stopListening()
    if isinstance(stopped, Deferred):
        await stopped
