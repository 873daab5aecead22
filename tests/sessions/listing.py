"""A fake connection manager whose server lists a user's sessions, and the base class of the tests that end sessions."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from tests.sessions.fakemanager import FakeManager, Warming, body
from warmside.jids import prepare
from warmside.sessions.ending import SessionEnder

BOUND = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{}</jid></bind>"
ITEMS = "http://jabber.org/protocol/disco#items"
CONFLICT = "<error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
UNAVAILABLE = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"


class ListingManager(FakeManager):
    """A connection manager and its server, with sessions of other clients.

    :ivar clients: the resources of other clients. A login that binds one of them ends it, once it has been bound as
        many times before as the number says; until then the login itself ends with a conflict.
    :ivar own: resource of each session of warmside, by sid.
    :ivar looks: number of lists that were sent.
    :ivar before_look: called with the number of a look before its list is made.
    :ivar taken: resources that were bound on request, in order.
    :ivar most: most logins with a requested resource at the same time.
    """

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.clients: dict[str, int] = {}
        self.own: dict[str, str] = {}
        self.looks = 0
        self.before_look: Callable[[int], None] = lambda number: None
        self.conflict = "acceptnew"
        self.lists = True
        self.extra = ""
        self.taken: list[str] = []
        self.most = 0

    def _response(self, kind: str, received: Any, sid: str) -> bytes:
        if kind == "bind":
            return self._bind(received.elements[0], sid)
        if kind == "terminate":
            self.own.pop(sid, None)
        if kind == "other" and received.elements and received.elements[0].query:
            return self._list(received.elements[0], sid)
        return super()._response(kind, received, sid)

    def _bind(self, iq: Any, sid: str) -> bytes:
        requested = str(iq.bind.resource or "")
        resource = requested or f"own{len(self.seen)}"
        if requested:
            self.taken.append(requested)
        if requested in self.clients:
            if self.conflict == "closenew":
                return body(f"<iq xmlns='jabber:client' type='error' id='{iq['id']}'>{CONFLICT}</iq>")
            if self.conflict == "setresource":
                resource += "-2"
            elif self.clients[requested]:
                self.clients[requested] -= 1
                self.alive.pop(sid)
                error = "<conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
                return body(f"<stream:error>{error}</stream:error>", "type='terminate' condition='remote-stream-error'")
            else:
                del self.clients[requested]
        self.own[sid] = resource
        self.most = max(self.most, sum(not each.startswith("own") for each in self.own.values()))
        bound = BOUND.format(f"{self.alive[sid]}/{resource}")
        return body(f"<iq xmlns='jabber:client' type='result' id='{iq['id']}'>{bound}</iq>")

    def _list(self, iq: Any, sid: str) -> bytes:
        bare = self.alive[sid]
        assert iq["to"] == bare
        self.looks += 1
        self.before_look(self.looks)
        if not self.lists:
            return body(f"<iq xmlns='jabber:client' type='error' id='{iq['id']}'>{UNAVAILABLE}</iq>")
        own = [resource for other, resource in self.own.items() if self.alive.get(other) == bare]
        resources = [*self.clients, *own]
        items = "".join(f"<item jid='{bare}/{each}'/>" for each in resources) + self.extra
        query = f"<query xmlns='{ITEMS}'>{items}</query>"
        return body(f"<iq xmlns='jabber:client' type='result' from='{bare}' id='{iq['id']}'>{query}</iq>")


class Ending(Warming):
    """Base class. Sessions of ``juliet@example.org`` are ended."""

    fake: ListingManager

    def setUp(self) -> None:
        super().setUp()
        self.listing = ListingManager(self.store)
        self.fake = self.listing
        self.port.factory.resource = self.listing
        self.port.factory.manager = self.listing

    def make(self, *args: Any, **options: Any) -> None:
        """Make a warmer, see `Warming.make`, and what ends sessions."""
        super().make(*args, **options)
        self.ender = SessionEnder(self.warmer, self.stores)

    def end(self, jid: str = "juliet@example.org") -> "Deferred[list[str]]":
        """End sessions."""
        return Deferred.fromCoroutine(self.ender.end(prepare(jid)))

    def nothing_left(self) -> None:
        """Expect no session of warmside's own, too."""
        super().nothing_left()
        self.assertEqual(self.listing.own, {}, "a session of warmside's own is left")
