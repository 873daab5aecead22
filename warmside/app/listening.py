"""Where warmside listens: Twisted's endpoint strings, and several processes on one port.

ejabberd starts several copies of ``warmside extauth``; all of them listen on the same TCP port
(SO_REUSEPORT), which endpoint strings know nothing of. The trick is a reactor with a ``listenTCP``
of our own that is handed to the endpoint.
"""

import errno
import os
import socket
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from twisted.internet import unix
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory

from warmside.config.endpoints import examine, is_loopback

BACKLOG = 128
LONGEST_UNIX_PATH = 107


def listen(
    reactor: Any, description: str, factory: Any, *, shared: bool, private: bool = False
) -> "Deferred[IListeningPort]":
    """Listen where an endpoint string says.

    :param shared: let other processes of this user listen on the same TCP port.
    :param private: let only this user and its group connect to a unix socket, unless the string has a mode.
    """
    if private and description.startswith("unix:") and ":mode=" not in description:
        description += ":mode=660"
    endpoint = _endpoint(_SharingReactor(reactor) if shared else _AdoptingReactor(reactor), description)
    listening: Deferred[IListeningPort] = endpoint.listen(factory)
    return listening


def refuse_beyond_loopback(port: IListeningPort) -> None:
    """:raises OSError: a socket that somebody else has opened is reached from other machines, in plain http."""
    host = getattr(port.getHost(), "host", None)
    if host is not None and not is_loopback(host):
        raise OSError(
            errno.EACCES, f"the socket is open on {host}, and passwords would cross the network in plain http"
        )


def check_resources(description: str, *, shared: bool) -> "AbstractContextManager[object]":
    """See whether an endpoint can be listened on.

    :returns: what keeps the port until it is closed, so that a second endpoint for it is noticed.
    :raises OSError: it can't.
    """
    place = examine(description)
    if place.kind in ("tcp", "tls"):
        return _bound(place.interface, place.port, shared=shared)
    if place.kind == "unix":
        _look_at_folder(place.path)
    elif place.kind == "other":
        _endpoint(None, description)
    return nullcontext()


def _look_at_folder(path: str) -> None:
    """:raises OSError: a unix socket can't be made there."""
    if not path.startswith("/") or len(path.encode()) > LONGEST_UNIX_PATH:
        raise OSError(errno.ENAMETOOLONG, f"give an absolute path of at most {LONGEST_UNIX_PATH} bytes")
    folder = os.path.dirname(path)
    os.stat(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, f"{folder} is not a folder that this user may write to")


def _endpoint(reactor: Any, description: str) -> Any:
    try:
        return serverFromString(reactor, description)
    except (IndexError, KeyError):
        raise OSError(errno.ENOENT, "systemd has passed no such socket") from None


def _bound(interface: str, port: int, *, shared: bool) -> socket.socket:
    """A socket that is bound and listens."""
    sock = socket.socket(socket.AF_INET6 if ":" in interface else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((interface, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


class _Reactor:
    """A reactor in all but what a subclass does in another way."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


class _AdoptingReactor(_Reactor):
    """A reactor that leaves the path and the rights of systemd's sockets as systemd made them."""

    def adoptStreamPort(self, fd: int, family: int, factory: Factory) -> IListeningPort:
        if family != socket.AF_UNIX:
            adopted: IListeningPort = self._reactor.adoptStreamPort(fd, family, factory)
            return adopted
        port: Any = unix.Port._fromListeningDescriptor(self._reactor, fd, factory)
        # Twisted would let everybody connect to a socket with a path, and remove it at the end.
        port._bindPath = b"\0"
        port.startListening()
        served: IListeningPort = port
        return served


class _SharingReactor(_Reactor):
    """A reactor whose TCP ports other processes of the same user may listen on, too."""

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> IListeningPort:
        try:
            sock = _bound(interface, port, shared=True)
        except OSError as error:
            raise CannotListenError(interface, port, error) from None
        with sock:
            adopted: IListeningPort = self._reactor.adoptStreamPort(sock.fileno(), sock.family, factory)
            return adopted

    def listenSSL(
        self, port: int, factory: Factory, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        return self.listenTCP(port, TLSMemoryBIOFactory(contextFactory, False, factory), backlog, interface)


def in_words(error: CannotListenError | OSError) -> str:
    """Why an endpoint can't be listened on, for the one who chose it."""
    reason = error.socketError if isinstance(error, CannotListenError) else error
    if isinstance(reason, OSError) and reason.errno == errno.EADDRINUSE:
        return "another program listens there already"
    return str(getattr(reason, "strerror", None) or reason)
