"""A simulated connection manager with an XMPP server behind it, that may answer as XEP-0124 allows.

It does nothing by itself: a test asks it which `moves` are possible and makes one of them. So a
property-based test can drive a login through every order of events.
"""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from twisted.words.xish.domish import Element

from warmside.bosh.body import NS_HTTPBIND, NS_STREAMS, NS_XBOSH, Attribute, decode
from warmside.bosh.session import Request

NS_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
NS_BIND = "urn:ietf:params:xml:ns:xmpp-bind"


@dataclass
class Behaviour:
    """What kind of manager and server this is."""

    hold: int = 1
    requests: int = 2
    restart_logic: bool = True
    """Requests wait for the one before to be processed, authentication included, as in ejabberd."""
    at_once: bool = False
    """Each element answers the oldest open request the moment it is there, as in Prosody."""
    slow_authentication: bool = False
    accept: bool = True
    expiries: int = 0
    """How many times a held request may be answered empty although nothing asks for it."""
    ack: bool = False
    forgetful: bool = False
    """A request that overtook another waits until elements answer that one, and is forgotten when nothing comes in
    time, as in ejabberd; held requests are answered empty early."""
    messages: int = 0
    """How many messages reach the user as soon as a resource is bound."""


@dataclass
class SimulatedManager:
    """The manager's side of one session."""

    behaviour: Behaviour
    arriving: list[Request] = field(default_factory=list)
    leaving: list[tuple[int, bytes]] = field(default_factory=list)
    queue: list[Element] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    early: dict[int, Request] = field(default_factory=dict)
    inbox: list[Callable[[], None]] = field(default_factory=list)
    last: int = 0
    authenticating: bool = False
    authenticated: bool = False
    restarted: bool = False
    delivered: int = 0
    expired: int = 0
    created: bool = False
    patience: int = 8
    """How many other moves slow authentication may take at the most."""

    def moves(self) -> list[Callable[[], None]]:
        """Everything that can happen next, but the client's reading of `leaving`; the promptest first."""
        if self.authenticating:
            self.patience -= 1
            if self.patience < 0:
                return [self._authenticate]
        moves: list[Callable[[], None]] = [partial(self._arrive, request) for request in self.arriving]
        if self.held and self.queue:
            moves += [partial(self._answer, count) for count in range(len(self.queue), 0, -1)]
        if self.authenticating:
            moves.append(self._authenticate)
        silent = not self.queue or not self.behaviour.forgetful
        if self.held and silent and self.expired < self.behaviour.expiries:
            moves.append(self._expire)
        return moves

    def _arrive(self, request: Request) -> None:
        self.arriving.remove(request)
        body = decode(request.body)
        rid = int(body.attributes["rid"])
        assert rid == request.rid
        if request.creation:
            self.last = rid
            self._process(rid, request)
            return
        assert body.attributes["sid"] == "sid"
        assert self.last < rid <= self.last + self.behaviour.requests, "outside the window"
        open_requests = len(self.held) + len(self.early) + 1
        assert open_requests <= self.behaviour.requests, "more requests than the manager allows"
        self.early[rid] = request
        while self.last + 1 in self.early:
            overtaken = self.last + 2 in self.early
            self._take_next()
            if overtaken and self.behaviour.forgetful:
                return

    def _take_next(self) -> None:
        self.last += 1
        self._process(self.last, self.early.pop(self.last))

    def _process(self, rid: int, request: Request) -> None:
        body = decode(request.body)
        self.held.append(rid)
        if not self.behaviour.at_once:
            self._release(max(1, self.behaviour.hold))
        if request.creation:
            self._then(self._features)
        if body.attributes.get((NS_XBOSH, "restart")) == "true":
            assert not body.elements, "a restart throws its payload away"
            self._then(self._restart)
        else:
            for element in body.elements:
                self._then(partial(self._stanza, element))
        self._release()

    def _release(self, keep: int | None = None) -> None:
        """Answer what is held beyond ``hold``: a new request frees the oldest (XEP-0124, 11)."""
        while len(self.held) > (self.behaviour.hold if keep is None else keep):
            self._answer(len(self.queue))

    def _put(self, element: Element) -> None:
        self.queue.append(element)
        if self.behaviour.at_once and self.held:
            self._answer(len(self.queue))

    def _then(self, action: Callable[[], None]) -> None:
        """Do it now, or after authentication if that is under way."""
        if self.authenticating:
            assert self.behaviour.restart_logic, "the client did not wait for success"
            self.inbox.append(action)
        else:
            action()

    def _features(self) -> None:
        features = Element((NS_STREAMS, "features"))
        mechanisms = features.addElement((NS_SASL, "mechanisms"))
        mechanisms.addElement("mechanism", content="PLAIN")
        self._put(features)

    def _restart(self) -> None:
        assert self.authenticated, "restarted without success"
        assert not self.restarted, "restarted twice"
        self.restarted = True
        features = Element((NS_STREAMS, "features"))
        features.addElement((NS_BIND, "bind"))
        self._put(features)

    def _stanza(self, element: Element) -> None:
        if element.name == "auth":
            assert element["mechanism"] == "PLAIN"
            assert str(element) == b64encode(b"\0juliet\0secret").decode()
            self.authenticating = True
            if not self.behaviour.slow_authentication:
                self._authenticate()
        elif element.bind is not None:
            assert self.restarted, "bound before the restart"
            result = self._result(element)
            result.addElement((NS_BIND, "bind")).addElement("jid", content="juliet@example.org/r")
            self._put(result)
            for number in range(self.behaviour.messages):
                message = Element(("jabber:client", "message"))
                message["id"] = f"m{number}"
                self._put(message)
        else:
            self._put(self._result(element))

    def _result(self, iq: Element) -> Element:
        result = Element(("jabber:client", "iq"))
        result["type"], result["id"] = "result", iq["id"]
        return result

    def _authenticate(self) -> None:
        self.authenticating = False
        if self.behaviour.accept:
            self.authenticated = True
            self._put(Element((NS_SASL, "success")))
        else:
            failure = Element((NS_SASL, "failure"))
            failure.addElement("not-authorized")
            self._put(failure)
            self.inbox.clear()
        inbox, self.inbox = self.inbox, []
        for action in inbox:
            self._then(action)

    def _expire(self) -> None:
        self.expired += 1
        self._answer(0)

    def _answer(self, count: int) -> None:
        rid = self.held.pop(0)
        elements, self.queue = self.queue[:count], self.queue[count:]
        self.delivered += sum(element.name == "message" for element in elements)
        body = Element((NS_HTTPBIND, "body"))
        if not self.created:
            self.created = True
            granted = {
                "sid": "sid",
                "wait": "5" if self.behaviour.forgetful else "60",
                "hold": str(self.behaviour.hold),
                "requests": str(self.behaviour.requests),
                "inactivity": "30",
                "ver": "1.11",
            }
            body.attributes.update(granted)
            if self.behaviour.ack:
                body["ack"] = str(rid)
            if self.behaviour.restart_logic:
                restart: Attribute = (NS_XBOSH, "restartlogic")
                body.attributes[restart] = "true"
        body.children.extend(elements)
        self.leaving.append((rid, body.toXml().encode()))
        if elements and self.last + 1 in self.early:
            self._take_next()
