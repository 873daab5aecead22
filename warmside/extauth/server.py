"""The daemon's extauth socket, to which relays connect."""

from collections.abc import Callable

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from warmside.extauth.handlers import ReadOnlyAuthority, RequestHandler
from warmside.extauth.immediate import ImmediateWriter
from warmside.extauth.protocol import ExtauthProtocol
from warmside.extauth.request import ExtauthRequest

MAX_PEERS = 256


class ExtauthFactory(Factory):
    """Makes a protocol for each peer, usually a relay.

    :param handler: answers the requests.
    :param read_only: True to answer only ``auth`` and ``isuser``, as on a TCP port, to which any local user
        can connect.
    :param count: see `ExtauthProtocol`.
    :param peers_changed: called when a peer connects or disconnects: ejabberd may have restarted.
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
        self._peers: set[ExtauthProtocol] = set()

    def buildProtocol(self, addr: "IAddress | None") -> ExtauthProtocol | None:
        """Return a protocol for a new peer; ``None``, which closes the connection, beyond `MAX_PEERS`."""
        if len(self._peers) >= MAX_PEERS:
            self.log.error(
                "extauth connection closed: {number} peers are connected already, the maximum", number=MAX_PEERS
            )
            return None
        protocol = _Peer(lambda: self._handler, count=self._count)
        protocol.factory = self
        self._peers.add(protocol)
        self._peers_changed()
        return protocol

    def disconnected(self, peer: ExtauthProtocol) -> None:
        """Forget a peer whose connection is closed."""
        self._peers.discard(peer)
        self._peers_changed()

    def finish(self) -> None:
        """Close all connections. A relay sends its pending requests again to the next process that listens."""
        self._handler = None
        for peer in list(self._peers):
            peer.finish()


class _Peer(ExtauthProtocol):
    factory: ExtauthFactory

    def connectionMade(self) -> None:
        self.write = ImmediateWriter(self.transport).write

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.disconnected(self)
        super().connectionLost(reason)
