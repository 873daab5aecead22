"""The daemon's extauth socket: its connections, and which of them count as a start of ejabberd."""

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, UNIXServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase

from tests.extauth.support import frame, reactor, temporary_folder, until
from tests.support import logging
from warmside.extauth import server
from warmside.extauth.authorities import Answer, Authority, AuthorityUnavailable
from warmside.extauth.frames import ACCEPTED, REJECTED
from warmside.extauth.handlers import AuthorityAdapter
from warmside.extauth.server import FIRST_BYTE_TIMEOUT, MAX_PEERS, ExtauthFactory

ISUSER = frame(b"isuser:juliet:example.org")
LATER = frame(b"auth:later:example.org:x")


class Users(Authority):
    """Every user exists. A login gets a Deferred."""

    def __init__(self) -> None:
        self.pending: list[Deferred[bool]] = []

    def isuser(self, user: str, host: str) -> bool:
        return True

    def auth(self, user: str, host: str, password: bytes) -> Answer:
        self.pending.append(Deferred())
        return self.pending[-1]


class Peer:
    """A connection to the factory."""

    def __init__(self, factory: ExtauthFactory) -> None:
        self.transport = StringTransport()
        protocol: Any = factory.buildProtocol(None)  # None if the connection is refused
        self.protocol = protocol
        self.accepted = self.protocol is not None
        self._lost = False
        if self.accepted:
            self.protocol.makeConnection(self.transport)
            self.protocol.write = self.transport.write

    @property
    def closed(self) -> bool:
        """True once the daemon has closed the connection. Tells the protocol, as the reactor does."""
        if self.transport.disconnected:
            self.lose()
        return self._lost

    def lose(self) -> None:
        """End the connection."""
        if not self._lost:
            self._lost = True
            self.protocol.connectionLost()

    def send(self, data: bytes = ISUSER) -> None:
        self.protocol.dataReceived(data)


class Daemon:
    """A factory, its changes, and the time."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.users = Users()
        self.changes: list[bytes] = []
        """Bytes that the last peer had been sent at the time of each change."""
        self.last: Peer | None = None
        self.factory = ExtauthFactory(
            AuthorityAdapter(self.users),
            read_only=False,
            count=lambda request, accepted: None,
            peers_changed=lambda: self.changes.append(self.last.transport.value() if self.last else b""),
        )

    def peer(self) -> Peer:
        self.last = Peer(self.factory)
        return self.last


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Daemon:
    made = Daemon()
    monkeypatch.setattr(server, "call_later", made.clock.callLater)
    monkeypatch.setattr("warmside.extauth.protocol.call_later", made.clock.callLater)
    return made


def test_a_daemon_that_stops_rejects_no_request_that_a_relay_can_send_again(daemon: Daemon) -> None:
    peer, silent = daemon.peer(), daemon.peer()
    peer.send(LATER)
    daemon.factory.finish()
    daemon.users.pending[0].errback(AuthorityUnavailable())
    assert peer.transport.value() == b"" and peer.transport.disconnecting
    assert silent.transport.disconnecting


def test_a_peer_that_sends_nothing_is_closed(daemon: Daemon) -> None:
    silent, slow = daemon.peer(), daemon.peer()
    daemon.clock.advance(FIRST_BYTE_TIMEOUT - 0.1)
    assert not silent.closed
    slow.send(ISUSER[:1])
    daemon.clock.advance(0.2)
    assert silent.closed and not slow.closed
    slow.send(ISUSER[1:])
    assert slow.transport.value() == ACCEPTED


def test_a_peer_that_sends_no_whole_first_frame_is_closed(daemon: Daemon) -> None:
    peer = daemon.peer()
    for byte in ISUSER[:5]:
        assert not peer.closed
        daemon.clock.advance(FIRST_BYTE_TIMEOUT / 4)
        peer.send(bytes([byte]))
    daemon.clock.advance(FIRST_BYTE_TIMEOUT / 4)
    assert peer.closed and daemon.clock.getDelayedCalls() == []


def test_an_idle_relay_lives_on_for_hours(daemon: Daemon) -> None:
    relay = daemon.peer()
    relay.send()
    daemon.clock.advance(24 * 3600)
    relay.send()
    assert not relay.closed and relay.transport.value() == 2 * ACCEPTED


def test_a_closed_peer_leaves_no_timer(daemon: Daemon) -> None:
    daemon.peer().lose()
    assert daemon.clock.getDelayedCalls() == []


def test_silent_peers_make_way_for_a_relay_the_oldest_first(daemon: Daemon) -> None:
    relay = daemon.peer()
    relay.send()
    strangers = [daemon.peer() for _ in range(MAX_PEERS - 1)]
    strangers[0].send(ISUSER[:-1])
    strangers[1].send(frame(b"nonsense"))
    with logging() as logged:
        others = [daemon.peer() for _ in range(3)]
    for other in others:
        other.send()
        assert other.transport.value() == ACCEPTED
    assert [each.closed for each in strangers[:4]] == [True, True, True, False]
    assert not relay.closed
    assert len(logged) == 1 and f"{MAX_PEERS} peers are connected" in logged[0]


def test_the_maximum_holds_during_a_flood(daemon: Daemon) -> None:
    peers = [daemon.peer() for _ in range(4 * MAX_PEERS)]
    assert sum(not each.closed for each in peers) == MAX_PEERS
    assert daemon.changes == []


def test_if_all_peers_have_asked_the_longest_idle_one_makes_way(daemon: Daemon) -> None:
    relays = [daemon.peer() for _ in range(MAX_PEERS)]
    relays[0].send(LATER)
    for relay in relays[1:]:
        relay.send()
    relays[1].send()
    assert daemon.peer().accepted
    assert [each.closed for each in relays[:4]] == [False, False, True, False]


def test_a_peer_with_a_pending_request_makes_way_for_none(daemon: Daemon) -> None:
    relays = [daemon.peer() for _ in range(MAX_PEERS)]
    for relay in relays:
        relay.send(LATER)
    with logging() as logged:
        assert [daemon.peer().accepted for _ in range(2)] == [False, False]
    assert len(logged) == 1 and "a new connection is closed" in logged[0]
    daemon.users.pending[0].callback(True)
    assert daemon.peer().accepted
    assert relays[0].closed and not any(each.closed for each in relays[1:])


@pytest.mark.parametrize("sent", [b"", ISUSER[:-1], frame(b""), frame(b"nonsense"), frame(b"auth:juliet:example.org")])
def test_a_peer_that_has_asked_nothing_is_no_start_of_ejabberd(daemon: Daemon, sent: bytes) -> None:
    peer = daemon.peer()
    peer.send(sent)
    peer.lose()
    assert daemon.changes == []


def test_the_first_request_and_the_end_of_its_connection_are_a_start_of_ejabberd(daemon: Daemon) -> None:
    peer = daemon.peer()
    peer.send(frame(b"nonsense"))
    assert daemon.changes == []
    peer.send()
    assert daemon.changes == [REJECTED], "noted before the request is answered"
    peer.send()
    assert len(daemon.changes) == 1
    peer.lose()
    assert len(daemon.changes) == 2


class Sockets(TestCase):
    """Real sockets: each test method is a coroutine."""

    timeout = 60

    async def test_silent_connections_do_not_lock_a_relay_out(self) -> None:
        path: Path = temporary_folder(self) / "extauth.sock"
        changes: list[str] = []
        factory = ExtauthFactory(
            AuthorityAdapter(Users()),
            read_only=False,
            count=lambda request, accepted: None,
            peers_changed=lambda: changes.append("changed"),
        )
        port: Any = await UNIXServerEndpoint(reactor, str(path), backlog=MAX_PEERS).listen(factory)
        self.addCleanup(port.stopListening)
        received: list[bytes] = []
        lost: list[Protocol] = []
        clients: list[Any] = []

        class Client(Protocol):
            def dataReceived(self, data: bytes) -> None:
                received.append(data)

            def connectionLost(self, reason: Any = None) -> None:
                lost.append(self)

        for _ in range(2 * MAX_PEERS):
            clients.append(await UNIXClientEndpoint(reactor, str(path)).connect(Factory.forProtocol(Client)))
        await until(lambda: len(lost) == MAX_PEERS)
        assert set(lost) == set(clients[:MAX_PEERS])
        relay: Any = await UNIXClientEndpoint(reactor, str(path)).connect(Factory.forProtocol(Client))
        relay.transport.write(ISUSER)
        await until(lambda: received)
        assert (received, changes) == ([ACCEPTED], ["changed"])
        for client in [*clients, relay]:
            client.transport.abortConnection()
        await until(lambda: len(lost) == len(clients) + 1 and len(changes) == 2)
