"""Listen where Twisted's endpoint strings say, several processes on one TCP port included.

ejabberd starts several processes of ``warmside extauth``. All of them listen on the same TCP port (SO_REUSEPORT),
which endpoint strings don't support. So the socket is opened here, and the endpoint adopts it.
"""

import errno
import os
import socket
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.protocols.tls import TLSMemoryBIOFactory

from warmside.compat import ports
from warmside.config.endpoints import Place, examine, is_loopback

BACKLOG = 128
"""Connections that may wait to be accepted."""
MAX_UNIX_PATH = 107
"""Bytes of the path of a unix socket (``sun_path`` of Linux without the final zero)."""


class Listener:
    """One endpoint string. Call `open`, `serve` and `close`, each once, in this order.

    :param shared: let other processes of this user listen on the same TCP port.
    :param private: let only this user and its group connect to a unix socket, unless the string has a mode.
    """

    def __init__(self, reactor: Any, description: str, *, shared: bool, private: bool = False) -> None:
        self.description = description
        self._reactor = reactor
        self._shared = shared
        self._private = private
        self._place = examine(description)
        self._socket: socket.socket | None = None
        self._endpoint: IStreamServerEndpoint | None = None
        self._port: IListeningPort | None = None

    @property
    def place(self) -> Place:
        """Where this listens."""
        return self._place

    def open(self) -> None:
        """Bind a TCP socket, and check the path of a unix socket.

        A TCP socket survives the fork of a daemon. A unix socket does not: its lock file holds the process ID.

        :raises OSError: the socket can't be bound.
        """
        description = self.description
        if self._place.kind in ("tcp", "tls"):
            self._socket = _bound_socket(self._place, shared=self._shared)
        elif self._place.kind == "unix":
            _check_unix_path(self._place.path)
            if self._private and ":mode=" not in description:
                description += ":mode=660"
        try:
            self._endpoint = serverFromString(_AdoptingReactor(self._reactor, self._socket), description)
        except (IndexError, KeyError):
            raise OSError(errno.ENOENT, "systemd has passed no such socket") from None

    async def serve(self, factory: Any) -> None:
        """Serve the connections.

        :raises CannotListenError: the socket can't be opened.
        """
        assert self._endpoint is not None, "open() comes first"
        if self._socket is not None:
            self._socket.listen(BACKLOG)
        self._port = await self._endpoint.listen(factory)
        self.release()

    def require_loopback(self) -> None:
        """Check what a socket of systemd is bound to.

        :raises OSError: other machines can connect to it.
        """
        host = getattr(self.address, "host", None)
        if host is not None and not is_loopback(host):
            raise OSError(
                errno.EACCES,
                f"passwords would cross the network in plain http on {host}: bind the socket to 127.0.0.1, "
                "or set insecure = true",
            )

    @property
    def address(self) -> Any:
        """The address that is served; of a TCP port, with the number that the system chose for port 0."""
        assert self._port is not None, "serve() comes first"
        return self._port.getHost()

    def release(self) -> None:
        """Close the socket of `open`. The port of `serve` has a descriptor of its own."""
        if self._socket is not None:
            self._socket.close()

    async def close(self) -> None:
        """Accept the connections that are established, then stop listening."""
        self.release()
        if self._port is not None:
            port, self._port = self._port, None
            await ports.accept_and_close(port)


def reason_of(error: CannotListenError | OSError) -> str:
    """The reason for which an endpoint can't be listened on."""
    reason = error.socketError if isinstance(error, CannotListenError) else error
    if isinstance(reason, OSError) and reason.errno == errno.EADDRINUSE:
        return "another program listens there already"
    return str(getattr(reason, "strerror", None) or reason)


def _check_unix_path(path: str) -> None:
    """:raises OSError: no unix socket can be made at this path."""
    if not path.startswith("/") or len(path.encode()) > MAX_UNIX_PATH:
        raise OSError(errno.ENAMETOOLONG, f"give an absolute path of at most {MAX_UNIX_PATH} bytes")
    folder = os.path.dirname(path)
    os.stat(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, f"{folder} is not a folder that this user may write to")


def _bound_socket(place: Place, *, shared: bool) -> socket.socket:
    """A socket that is bound to a port.

    On a shared port it does not listen yet: it would get connections that another process could serve. A port
    that is not shared is reserved only by listening.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in place.interface else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            sock.bind((place.interface, place.port))
        except (TypeError, ValueError):  # a NUL character, or a name that is not IDNA
            raise OSError(errno.EINVAL, "the interface is not an address") from None
        if not shared:
            sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


class _AdoptingReactor:
    """A reactor whose TCP ports adopt a socket, and which leaves systemd's unix sockets as they are."""

    def __init__(self, reactor: Any, sock: socket.socket | None) -> None:
        self._reactor = reactor
        self._socket = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> IListeningPort:
        """Serve the socket; the arguments were used when it was opened."""
        assert self._socket is not None
        adopted: IListeningPort = self._reactor.adoptStreamPort(self._socket.fileno(), self._socket.family, factory)
        return adopted

    def listenSSL(
        self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """Serve the socket with TLS."""
        return self.listenTCP(port, TLSMemoryBIOFactory(contextFactory, False, factory), backlog, interface)

    def adoptStreamPort(self, fd: int, family: int, factory: Any) -> IListeningPort:
        """Serve a socket that systemd has opened."""
        if family == socket.AF_UNIX:
            return ports.adopt_unix_port(self._reactor, fd, factory)
        adopted: IListeningPort = self._reactor.adoptStreamPort(fd, family, factory)
        return adopted
