"""Simulated connection manager with an XMPP server behind it. It answers in every way that XEP-0124 allows.

It does nothing by itself: a test reads the possible `moves` and makes one of them. A property-based test can
therefore drive a login through every order of events.
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
    """Kind of the manager and the server."""

    hold: int = 1
    requests: int = 2
    restart_logic: bool = True
    """True if requests wait until the previous one is processed, authentication included, as in ejabberd."""
    at_once: bool = False
    """True if each element answers the oldest held request immediately, as in Prosody."""
    slow_authentication: bool = False
    accept: bool = True
    expiries: int = 0
    """Maximum times that a held request is answered empty without a new request."""
    ack: bool = False
    forgetful: bool = False
    """True if a request that overtook another waits until elements answer that one, and is lost if it is answered
    empty, as in ejabberd. Held requests are answered empty early."""
    messages: int = 0
    """Messages that reach the user as soon as a resource is bound."""
    maxpause: int = 120
    """Maximum pause in seconds."""
    answers_pause: bool = True
    """True if a pause answers all held requests and itself. False: it answers only the request before, drops what
    is queued and is never answered, as in ejabberd."""
    stored: int | None = None
    """Number of responses that are stored for repeated requests; by default ``requests``."""
    ends_trimmed: bool = True
    """True if a repeated request whose response is no longer stored ends the session. False: it is never answered, as
    in ejabberd."""
    drops_payload: bool = False
    """True if the payload of a session creation is dropped, and a creation without ``content`` is never answered, as
    in punjab."""
    breaks_on_early_restart: bool = False
    """True if a restart before ``<success/>`` ends the session, as in node-xmpp-bosh."""


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
    """Maximum other moves before a slow authentication."""
    stored: dict[int, bytes] = field(default_factory=dict)
    """The newest responses, for repeated requests."""
    over: bool = False
    paused: int | None = None

    def moves(self) -> list[Callable[[], None]]:
        """Return everything that can happen next except reading `leaving`; the fastest first."""
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
        if rid in self.held or rid in self.early:
            return  # The repeated request's connection replaces the lost one.
        if rid in self.stored and not self.over:
            self.leaving.append((rid, self.stored[rid]))
            return
        if not self.over and rid <= self.last and not self.behaviour.ends_trimmed:
            return
        if self.over or not self.last < rid <= self.last + self.behaviour.requests:
            self._terminate(rid, "item-not-found")
            return
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
        if body.attributes.get("type") == "terminate":
            self._terminate(rid)
            return
        if "pause" in body.attributes:
            self._pause(rid, int(body.attributes["pause"]))
            return
        if request.creation and self.behaviour.drops_payload and "content" not in body.attributes:
            return
        restarts = body.attributes.get((NS_XBOSH, "restart")) == "true"
        if restarts and self.behaviour.breaks_on_early_restart and not self.authenticated:
            self._terminate(rid, "item-not-found")
            return
        self.held.append(rid)
        if not self.behaviour.at_once:
            self._release(max(1, self.behaviour.hold))
        if request.creation:
            self._then(self._features)
        if restarts:
            assert not body.elements, "the payload of a restart is lost"
            self._then(self._restart)
        else:
            dropped = request.creation and self.behaviour.drops_payload
            for element in () if dropped else body.elements:
                self._then(partial(self._stanza, element))
        self._release()

    def _pause(self, rid: int, seconds: int) -> None:
        if seconds > self.behaviour.maxpause:
            self._terminate(rid, "policy-violation")
            return
        self.paused = seconds
        if self.behaviour.answers_pause:
            self.held.append(rid)
            self._release(0)
        else:
            self._release(0)
            self.queue.clear()

    def _terminate(self, rid: int, condition: str | None = None) -> None:
        """End the session, and say so in the response to every open request."""
        self.over = True
        for each in sorted({*self.held, *self.early, rid}):
            body = Element((NS_HTTPBIND, "body"))
            body["type"] = "terminate"
            if condition is not None:
                body["condition"] = condition
            self.leaving.append((each, body.toXml().encode()))
        self.held.clear()
        self.early.clear()

    def _release(self, keep: int | None = None) -> None:
        """Answer requests held beyond ``hold``: a new request frees the oldest (XEP-0124, 11)."""
        while len(self.held) > (self.behaviour.hold if keep is None else keep):
            self._answer(len(self.queue))

    def message(self, identifier: str) -> None:
        """Let a message to the user arrive."""
        message = Element(("jabber:client", "message"))
        message["id"] = identifier
        self._put(message)

    def _put(self, element: Element) -> None:
        self.queue.append(element)
        if self.behaviour.at_once and self.held:
            self._answer(len(self.queue))

    def _then(self, action: Callable[[], None]) -> None:
        """Run an action now, or after the authentication in progress."""
        if self.authenticating:
            assert self.behaviour.restart_logic, "the client did not wait for <success/>"
            self.inbox.append(action)
        else:
            action()

    def _features(self) -> None:
        features = Element((NS_STREAMS, "features"))
        mechanisms = features.addElement((NS_SASL, "mechanisms"))
        mechanisms.addElement("mechanism", content="PLAIN")
        self._put(features)

    def _restart(self) -> None:
        assert self.authenticated, "restarted without <success/>"
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
                self.message(f"m{number}")
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
                "maxpause": str(self.behaviour.maxpause),
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
        data = body.toXml().encode()
        self.leaving.append((rid, data))
        self.stored[rid] = data
        while len(self.stored) > (self.behaviour.requests if self.behaviour.stored is None else self.behaviour.stored):
            del self.stored[min(self.stored)]
        if elements and self.last + 1 in self.early:
            self._take_next()
