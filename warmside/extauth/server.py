"""The daemon's side of the relays: the extauth protocol on a socket."""

from collections.abc import Callable

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from warmside.extauth.authorities import IAuthority, ReadOnlyAuthority
from warmside.extauth.immediate import ImmediateWriter
from warmside.extauth.protocol import ExtauthProtocol
from warmside.extauth.request import ExtauthRequest

MAX_PEERS = 256


class ExtauthFactory(Factory):
    """Answers whoever connects.

    :param authority: who answers.
    :param only_asking: answer ``auth`` and ``isuser`` alone, as on a TCP port that any user of this
        machine can connect to.
    :param count: see `ExtauthProtocol`.
    :param changed: called when a peer connects or goes: it may be that ejabberd starts anew.
    """

    log = Logger()
    noisy = False

    def __init__(
        self,
        authority: IAuthority,
        *,
        only_asking: bool,
        count: Callable[[ExtauthRequest | None, bool], None],
        changed: Callable[[], None],
    ) -> None:
        self._authority: IAuthority | None = ReadOnlyAuthority(authority) if only_asking else authority
        self._count = count
        self._changed = changed
        self._peers: set[ExtauthProtocol] = set()

    def buildProtocol(self, addr: "IAddress | None") -> ExtauthProtocol | None:
        """A protocol for a new peer; none when there are too many."""
        if len(self._peers) >= MAX_PEERS:
            self.log.error("too many connections for extauth: one more was closed")
            return None
        protocol = _Peer(lambda: self._authority, count=self._count)
        protocol.factory = self
        self._peers.add(protocol)
        self._changed()
        return protocol

    def gone(self, peer: ExtauthProtocol) -> None:
        """A peer has closed its connection."""
        self._peers.discard(peer)
        self._changed()

    def finish(self) -> None:
        """Close, and leave what is not answered to whoever listens here next: a relay asks again."""
        self._authority = None
        for peer in list(self._peers):
            peer.finish()


class _Peer(ExtauthProtocol):
    factory: ExtauthFactory

    def connectionMade(self) -> None:
        self.write = ImmediateWriter(self.transport).write

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.gone(self)
        super().connectionLost(reason)
