"""The daemon's extauth socket, to which relays connect."""

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from warmside.extauth.handlers import ReadOnlyAuthority, RequestHandler
from warmside.extauth.immediate import ImmediateWriter
from warmside.extauth.protocol import ExtauthProtocol, call_later
from warmside.extauth.request import ExtauthRequest, MalformedRequest

MAX_PEERS = 256
FIRST_BYTE_TIMEOUT = 10.0
"""Seconds for the first byte of a new connection, and from there for the rest of its first frame. Afterwards a
connection may be idle for any time."""
REMIND_INTERVAL = 60.0
"""Seconds between two messages that `MAX_PEERS` is reached."""


class ExtauthFactory(Factory):
    """Makes a protocol for each peer, usually a relay.

    Beyond `MAX_PEERS` a new connection replaces the oldest one without a request. If all have sent a request, it
    replaces the idle one whose last request is the oldest.

    :param handler: answers the requests.
    :param read_only: True to answer only ``auth`` and ``isuser``, as on a TCP port, to which any local user
        can connect.
    :param count: see `ExtauthProtocol`.
    :param peers_changed: called before the first well-formed request of a connection is answered, and when such a
        connection ends: ejabberd may have restarted. A connection without such a request does not count.
    """

    log = Logger()
    noisy = False

    def __init__(
        self,
        handler: RequestHandler,
        *,
        read_only: bool,
        count: Callable[[ExtauthRequest | None, bool], None],
        peers_changed: Callable[[], None],
    ) -> None:
        self._handler: RequestHandler | None = ReadOnlyAuthority(handler) if read_only else handler
        self._count = count
        self._peers_changed = peers_changed
        self._unproven: dict[_Peer, None] = {}
        """Peers without a well-formed request, the oldest first."""
        self._proven: dict[_Peer, None] = {}
        """Peers with one, that of the oldest last request first."""
        self._reminded_at: float | None = None

    def buildProtocol(self, addr: "IAddress | None") -> ExtauthProtocol | None:
        """Return a protocol for a new peer; ``None``, which closes the connection, if no other one can be closed."""
        if len(self._unproven) + len(self._proven) >= MAX_PEERS and not self._close_one():
            return None
        protocol = _Peer(lambda: self._handler, count=self._count)
        protocol.factory = self
        self._unproven[protocol] = None
        return protocol

    def requested(self, peer: "_Peer") -> None:
        """Note a well-formed request of a peer."""
        if peer in self._unproven:
            del self._unproven[peer]
            self._peers_changed()
        self._proven.pop(peer, None)
        self._proven[peer] = None

    def disconnected(self, peer: "_Peer") -> None:
        """Forget a peer whose connection is closed."""
        self._unproven.pop(peer, None)
        self._proven.pop(peer, None)
        if peer.proven:
            self._peers_changed()

    def finish(self) -> None:
        """Close all connections. A relay sends its pending requests again to the next process that listens."""
        self._handler = None
        for peer in [*self._unproven, *self._proven]:
            peer.finish()

    def _close_one(self) -> bool:
        """Close one connection in favour of a new one. Return False if every one has a pending request."""
        idle = next(iter(self._unproven), None) or next((each for each in self._proven if not each.paused), None)
        now = time.monotonic()
        if self._reminded_at is None or now - self._reminded_at >= REMIND_INTERVAL:
            self._reminded_at = now
            self.log.error(
                "extauth.listen: {number} peers are connected, the maximum: a new connection {result}",
                number=MAX_PEERS,
                result="is closed" if idle is None else "replaces an idle one",
            )
        if idle is None:
            return False
        self._unproven.pop(idle, None)
        self._proven.pop(idle, None)
        idle.transport.abortConnection()
        return True


class _Peer(ExtauthProtocol):
    factory: ExtauthFactory
    proven = False
    """True after a well-formed request."""
    _begun = False
    _timer: Any = None

    def connectionMade(self) -> None:
        self.write = ImmediateWriter(self.transport).write
        self._start_timer()

    def dataReceived(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            self._stop_timer()
            self._start_timer()
        super().dataReceived(data)

    def stringReceived(self, string: bytes) -> None:
        self._stop_timer()
        if not self.proven:
            try:
                ExtauthRequest.parse(string)
            except MalformedRequest:
                pass
            else:
                self.proven = True
        if self.proven:
            self.factory.requested(self)
        super().stringReceived(string)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_timer()
        self.factory.disconnected(self)
        super().connectionLost(reason)

    def _start_timer(self) -> None:
        self._timer = call_later(FIRST_BYTE_TIMEOUT, self.transport.abortConnection)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
