"""A fake connection manager with faults on demand, and the base class of the tests that warm sessions.

The manager is a real HTTP server in this process. It redeems one-time passwords in the real store; only its
responses are scripted.
"""

from base64 import b64decode
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from warmside.bosh.body import NS_XBOSH, decode
from warmside.bosh.runner import Runtime
from warmside.bosh.transport import ConnectionManager
from warmside.config.settings import Bosh
from warmside.extauth.request import ExtauthRequest
from warmside.jids import prepare
from warmside.sessions.hosts import BoshHost
from warmside.sessions.model import WarmRequest, WarmSession
from warmside.sessions.passwords import OneTimePasswords, Stores
from warmside.sessions.warmer import Warmer
from warmside.store.accepted import AcceptedPasswords
from warmside.store.ends import SQLiteEnds
from warmside.store.sqlite import SQLiteFailureCounters, SQLiteStore
from warmside.store.verdicts import SQLiteVerdicts
from warmside.throttle.throttle import Throttle

reactor: Any = _reactor

OPEN = (
    "<body xmlns='http://jabber.org/protocol/httpbind' xmlns:stream='http://etherx.jabber.org/streams' "
    "xmlns:xmpp='urn:xmpp:xbosh'"
)
MECHANISMS = (
    "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>"
    "<mechanism>PLAIN</mechanism></mechanisms></stream:features>"
)
SUCCESS = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
NOT_AUTHORIZED = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>"

Fault = Callable[[str, int], Any]
"""Returns the fault of a request of a kind (create, restart, bind, terminate, other), the n-th of its kind.

``None`` is no fault. "lost before" and "lost after" abort the connection. "never" holds the request.
Bytes replace the body; a tuple replaces status, headers and body.
"""


def body(content: str = "", attributes: str = "") -> bytes:
    """Return the body of a response."""
    return f"{OPEN} {attributes}>{content}</body>".encode()


class FakeManager(Resource):
    """A connection manager and its XMPP server.

    :ivar fault: the fault of each request.
    :ivar caching: True if used passwords are accepted again.
    :ivar seen: kinds of the requests, in order.
    :ivar alive: JID of each session, by sid.
    :ivar delay: seconds before a response.
    :ivar restart_logic: True if ``xmpp:restartlogic`` is announced, as ejabberd and node-xmpp-bosh do.
    :ivar drops_payload: True if the payload of a session creation is dropped, as punjab does.
    :ivar breaks_on_early_restart: True if a restart before ``<success/>`` ends the session, as in node-xmpp-bosh.
    """

    isLeaf = True

    def __init__(self, store: SQLiteStore) -> None:
        super().__init__()
        self.store = store
        self.fault: Fault = lambda kind, count: None
        self.caching = False
        self.seen: list[str] = []
        self.alive: dict[str, str] = {}
        self.serves: Callable[[str], bool] = lambda host: True
        """Returns False if a host is unknown, in the spelling of ``to``."""
        self.responses: dict[str, bytes] = {}
        self.accepted: set[str] = set()
        self.banned: Callable[[str | None], bool] = lambda address: False
        """Returns True if session creations with this X-Forwarded-For are rejected."""
        self.open = self.most_open = 0
        self.delay = 0.0
        self.restart_logic = True
        self.drops_payload = self.breaks_on_early_restart = False
        self.pending: dict[str, Any] = {}
        """The ``<auth/>`` that is not answered yet, by sid."""

    def render(self, request: Request) -> int:
        assert request.content is not None
        received = decode(request.content.read())
        rid, sid = received.attributes["rid"], received.attributes.get("sid", "")
        kind = self._kind(received, sid)
        if kind not in ("create", "terminate") and sid not in self.alive:
            self._finish(request, body(attributes="type='terminate' condition='item-not-found'"))
            return NOT_DONE_YET
        self.seen.append(kind)
        if kind == "create" and not self.serves(received.attributes["to"]):
            self._finish(request, body(attributes="type='terminate' condition='internal-server-error'"))
            return NOT_DONE_YET
        if kind == "create" and self.banned(request.getHeader("X-Forwarded-For")):
            self._finish(request, body(attributes="type='terminate' condition='policy-violation'"))
            return NOT_DONE_YET
        fault = self.fault(kind, self.seen.count(kind))
        if fault == "lost before":
            self._abort(request)
            return NOT_DONE_YET
        response = self.responses.get(rid) or self._response(kind, received, sid)
        self.responses[rid] = response
        if fault == "lost after":
            self._abort(request)
        elif fault == "never":
            request.notifyFinish().addErrback(lambda _: None)
        elif isinstance(fault, tuple):
            status, headers, data = fault
            request.setResponseCode(status)
            for name, value in headers.items():
                request.setHeader(name, value)
            self._finish(request, data)
        elif isinstance(fault, bytes):
            self._finish(request, fault)
        elif self.delay:
            reactor.callLater(self.delay, self._finish, request, response)
        else:
            self._finish(request, response)
        return NOT_DONE_YET

    def rejects_with(self, condition: str) -> None:
        """Reject every password from now on, with a SASL condition."""
        failure = f"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><{condition}/></failure>"
        self._sasl_result = lambda bare, password: failure  # type: ignore[method-assign]

    def _abort(self, request: Any) -> None:
        request.transport.abortConnection()

    def _finish(self, request: Request, data: bytes) -> None:
        request.notifyFinish().addErrback(lambda _: None)
        if request.transport is not None and not request._disconnected:
            request.write(data)
            request.finish()

    def _kind(self, received: Any, sid: str) -> str:
        if not sid:
            return "create"
        if received.attributes.get("type") == "terminate":
            return "terminate"
        if (NS_XBOSH, "restart") in received.attributes:
            return "restart"
        return "bind" if any(element.bind for element in received.elements) else "other"

    def _response(self, kind: str, received: Any, sid: str) -> bytes:
        if kind == "create":
            sid = f"sid{len(self.seen)}"
            granted = f"sid='{sid}' wait='5' hold='1' requests='2' inactivity='30' ver='1.6'"
            self.alive[sid] = received.attributes["to"]
            if self.restart_logic:
                granted += " xmpp:restartlogic='true'"
            payload = [] if self.drops_payload else received.elements
            answered = [] if self.breaks_on_early_restart else payload
            self.pending.update({sid: payload[0]} if payload and not answered else {})
            return body(MECHANISMS + "".join(map(self._authenticated(sid), answered)), granted)
        if sid in self.pending:
            auth = self.pending.pop(sid)
            if kind == "restart":
                del self.alive[sid]
                return body(attributes="type='terminate' condition='remote-stream-error'")
            return body(self._authenticated(sid)(auth))
        if received.elements and received.elements[0].name == "auth":
            return body(self._authenticated(sid)(received.elements[0]))
        if kind == "terminate":
            self.alive.pop(sid, None)
            return body(attributes="type='terminate'")
        if kind == "restart":
            return body("<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>")
        if kind == "bind":
            (iq,) = received.elements
            return body(
                f"<iq xmlns='jabber:client' type='result' id='{iq['id']}'>"
                f"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{self.alive[sid]}/r</jid></bind></iq>"
            )
        return body()

    def _authenticated(self, sid: str) -> Callable[[Any], str]:
        def respond(auth: Any) -> str:
            _, user, password = b64decode(str(auth)).decode().split("\0")
            self.alive[sid] = f"{user}@{self.alive[sid].partition('@')[2] or self.alive[sid]}"
            return self._sasl_result(self.alive[sid], password)

        return respond

    def _sasl_result(self, bare: str, password: str) -> str:
        user, _, host = bare.partition("@")
        asked = ExtauthRequest("auth", user, host, password.encode())
        if self.store.redeem(asked.bare_jid, asked.secret):
            self.accepted.add(password)
        elif not (self.caching and password in self.accepted):
            return NOT_AUTHORIZED
        return SUCCESS


class CountingSite(Site):
    """Counts open connections."""

    def __init__(self, manager: FakeManager) -> None:
        super().__init__(manager)
        self.manager = manager
        self.noisy = False

    def log(self, request: Any) -> None:
        pass

    def buildProtocol(self, addr: Any) -> Any:
        channel: Any = super().buildProtocol(addr)
        self.manager.open += 1
        self.manager.most_open = max(self.manager.most_open, self.manager.open)
        lost = channel.connectionLost

        def count(reason: Any) -> None:
            self.manager.open -= 1
            lost(reason)

        channel.connectionLost = count
        return channel


class Warming(TestCase):
    """Base class. Each test method is a coroutine, decorated with `run`."""

    timeout = 120

    def setUp(self) -> None:
        self.store = SQLiteStore(None)
        self.counters = SQLiteFailureCounters(None)
        self.throttle = Throttle(reactor, self.counters, AcceptedPasswords(None))
        self.verdicts = SQLiteVerdicts(None)
        self.ends = SQLiteEnds(None)
        self.fake = FakeManager(self.store)
        self.remembered: list[str] = []
        self.port = reactor.listenTCP(0, CountingSite(self.fake), interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.make()

    def make(self, timeout: float = 60.0, connections: int = 8, clock: Any = reactor, url: str | None = None) -> None:
        """Make a warmer with these settings. The clock is used for timers, the reactor for connections."""
        url = url or f"http://127.0.0.1:{self.port.getHost().port}/bosh"
        settings = Bosh(url, None, None, timeout, connections)
        self.manager = ConnectionManager(reactor, url, connections)
        self.addCleanup(self.manager.close)
        host = BoshHost(settings, self.manager)
        runtime = Runtime(clock, deferToThread)
        self.stores = self.make_stores(OneTimePasswords(self.store, 30))
        self.warmer = Warmer(runtime, lambda _: host, self.stores, self.throttle, self.remembered.append)

    def make_stores(self, passwords: OneTimePasswords) -> Stores:
        """Return the stores of the warmer."""
        return Stores(passwords, passwords, self.verdicts, self.ends)

    async def warm(self, **fields: Any) -> WarmSession:
        """Warm a session."""
        session: WarmSession = await self.warmer.warm(WarmRequest(prepare("juliet@example.org"), **fields))
        return session

    async def probed(self) -> None:
        """Probe the host, so that faults affect the login itself."""
        await self.warmer.probe.ensure_safe("example.org")
        self.fake.seen.clear()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for a condition; the test's timeout limits it."""
        while not condition():
            await deferLater(reactor, 0.001)

    async def failure(self, kind: type[Exception], step: str | None = None) -> Any:
        """Warm, expect an error and nothing left behind; return the error."""
        try:
            await self.warm()
        except kind as error:
            if step is not None:
                self.assertEqual(getattr(error, "step", None), step)
            self.nothing_left()
            return error
        raise AssertionError("the login succeeded")

    def nothing_left(self) -> None:
        """Expect no one-time password in the store and no connection in use."""
        rows = self.store._database.execute("SELECT count(*) FROM passwords").fetchone()
        self.assertEqual(rows[0], 0, "a one-time password is left")
        self.assertEqual(self.manager.in_use, 0)


def run(test: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], "Deferred[None]"]:
    """Turn a coroutine into a test method of trial."""

    def method(self: Any) -> "Deferred[None]":
        return Deferred.fromCoroutine(test(self))

    method.__name__, method.__doc__ = test.__name__, test.__doc__
    return method


def first(kind: str, fault: Any) -> Fault:
    """Return a fault of the first request of a kind."""
    return lambda seen, count: fault if (seen, count) == (kind, 1) else None


def every(kind: str, fault: Any) -> Fault:
    """Return a fault of each request of a kind."""
    return lambda seen, count: fault if seen == kind else None
