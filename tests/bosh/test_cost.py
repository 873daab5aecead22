"""What a login costs: Deferreds, writes, and processor time for each contact of a roster."""

import re
import time
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock, StringTransport

from tests.sessions.fakemanager import MECHANISMS, SUCCESS, body
from tests.support import now, work_at_once
from warmside.bosh.body import MAX_SIZE, Parser
from warmside.bosh.contacts import contacts_of
from warmside.bosh.login import Login
from warmside.bosh.runner import LoginRunner, Runtime
from warmside.bosh.sasl import Credentials
from warmside.bosh.session import Parameters, Session
from warmside.bosh.transport import ConnectionManager
from warmside.jids import prepare

CREATED = "sid='s' wait='60' hold='1' requests='2' inactivity='30' ver='1.11' xmpp:restartlogic='true'"
BOUND = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>juliet@example.org/r</jid></bind>"
MAX_GROWTH = 2.0
"""Factor by which a contact of a long roster may take more processor time than one of a short roster."""


class Wires:
    """The manager's end of the connections: each write of a request, and the transport that it came over."""

    def __init__(self) -> None:
        self.written: list[tuple[Any, bytes]] = []

    def connect(self, factory: Any) -> "Deferred[Any]":
        transport: Any = StringTransport()
        transport.write = lambda data: self.written.append((transport, data))
        transport.protocol = factory.buildProtocol(None)
        transport.protocol.makeConnection(transport)
        return succeed(transport.protocol)

    def respond(self, number: int, data: bytes) -> None:
        """Send the response to a write."""
        self.written[number][0].protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data))
        self.written[number][0].protocol.dataReceived(data)


def test_a_login_makes_one_deferred_for_each_request_and_one_that_waits_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wires, reactor = Wires(), MemoryReactorClock()
    monkeypatch.setattr("warmside.compat.hostnames._PlainHostnameEndpoint", lambda *_, **__: wires)

    async def log_in() -> None:
        manager = ConnectionManager(reactor, "http://127.0.0.1:5282/bosh", 8)
        credentials = Credentials(prepare("juliet@example.org"), "one-time", one_time=True)
        login = Login(Session(Parameters("example.org")), credentials, within=10)
        async with manager.reserve() as lease:
            await LoginRunner(Runtime(reactor, work_at_once), lease, login, 1).log_in()

    made: list[object] = []
    original = Deferred.__init__

    def counted(deferred: Any, canceller: Any = None) -> None:
        made.append(deferred)
        original(deferred, canceller)

    running = Deferred.fromCoroutine(log_in())
    monkeypatch.setattr(Deferred, "__init__", counted)
    wires.respond(0, body(MECHANISMS, CREATED))
    wires.respond(1, body())
    identifier = re.search(rb" id='([^']*)'", wires.written[2][1])
    assert identifier is not None
    wires.respond(2, body(SUCCESS))
    result = f"<iq xmlns='jabber:client' type='result' id='{identifier[1].decode()}'>{BOUND}</iq>"
    wires.respond(3, body("<stream:features/>" + result))
    monkeypatch.undo()
    now(running)
    # Three requests follow the first one, and the second connection is opened.
    assert len(wires.written) == 4 and len(made) == 4


def spent_on(count: int) -> float:
    """Return the processor time in seconds to parse a roster with this many contacts and to take them."""
    item = "<item jid='friend{0}@example.org' name='Friend {0}' subscription='both'><group>Friends</group></item>"
    items = "".join(item.format(number) for number in range(count))
    roster = f"<query xmlns='jabber:iq:roster'>{items}</query>"
    data = body(f"<iq xmlns='jabber:client' type='result' id='own'>{roster}</iq>")
    assert len(data) < MAX_SIZE
    parser = Parser({"own"})
    began = time.thread_time()
    for _ in parser.parse(data):
        pass
    contacts = contacts_of(parser.body().elements[0])
    spent = time.thread_time() - began
    assert len(contacts) == count and contacts[-1]["groups"] == ("Friends",)
    return spent


def test_a_contact_costs_the_same_in_a_short_and_a_long_roster() -> None:
    short = min(spent_on(1_000) for _ in range(3)) / 1_000
    assert spent_on(30_000) / 30_000 < MAX_GROWTH * short
