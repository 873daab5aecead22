"""Warming a session when something goes wrong on the way, against a connection manager that fails on demand.

The manager is a real HTTP server in this process, and it asks the real store whether a one-time
password is right; only what it answers is scripted.
"""

from base64 import b64decode
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from warmside.bosh import errors
from warmside.bosh.body import MAX_SIZE, NS_XBOSH, decode
from warmside.bosh.transport import MAX_WAITING, ConnectionManager
from warmside.config.settings import Bosh
from warmside.jids import prepare
from warmside.sessions.model import WarmRequest, WarmSession
from warmside.sessions.replayprobe import OneTimeRefused, UnsafeHost
from warmside.sessions.warmer import Warmer
from warmside.store.interface import RevocationStatus, StoreError
from warmside.store.sqlite import SQLiteFailureCounters, SQLiteStore
from warmside.throttle.accounts import AccountThrottle
from warmside.throttle.verified import VerifiedPasswords

reactor: Any = _reactor

OPEN = (
    "<body xmlns='http://jabber.org/protocol/httpbind' xmlns:stream='http://etherx.jabber.org/streams' "
    "xmlns:xmpp='urn:xmpp:xbosh'"
)
MECHANISMS = (
    "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>"
    "<mechanism>PLAIN</mechanism></mechanisms></stream:features>"
)
NOT_AUTHORIZED = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>"
STREAM_ERROR = "<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"

Fault = Callable[[str, int], Any]
"""What to do with a request of a kind (create, restart, bind, terminate, other), the n-th of its kind."""


def body(content: str = "", attributes: str = "") -> bytes:
    return f"{OPEN} {attributes}>{content}</body>".encode()


class FakeManager(Resource):
    """A connection manager and a server; ``fault`` may replace an answer, or lose it."""

    isLeaf = True

    def __init__(self, store: SQLiteStore) -> None:
        super().__init__()
        self.store = store
        self.fault: Fault = lambda kind, count: None
        self.caching = False
        self.seen: list[str] = []
        self.alive: dict[str, str] = {}
        self.answers: dict[str, bytes] = {}
        self.accepted: set[str] = set()
        self.open = self.most_open = 0
        self.delay = 0.0

    def render(self, request: Request) -> int:
        assert request.content is not None
        asked = decode(request.content.read())
        rid, sid = asked.attributes["rid"], asked.attributes.get("sid", "")
        kind = self._kind(asked, sid)
        if kind not in ("create", "terminate") and sid not in self.alive:
            self._finish(request, body(attributes="type='terminate' condition='item-not-found'"))
            return NOT_DONE_YET
        self.seen.append(kind)
        fault = self.fault(kind, self.seen.count(kind))
        if fault == "lost before":
            self._abort(request)
            return NOT_DONE_YET
        answer = self.answers.get(rid) or self._answer(kind, asked, sid)
        self.answers[rid] = answer
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
            reactor.callLater(self.delay, self._finish, request, answer)
        else:
            self._finish(request, answer)
        return NOT_DONE_YET

    def _abort(self, request: Any) -> None:
        request.transport.abortConnection()

    def _finish(self, request: Request, data: bytes) -> None:
        request.notifyFinish().addErrback(lambda _: None)
        if request.transport is not None and not request._disconnected:
            request.write(data)
            request.finish()

    def _kind(self, asked: Any, sid: str) -> str:
        if not sid:
            return "create"
        if asked.attributes.get("type") == "terminate":
            return "terminate"
        if (NS_XBOSH, "restart") in asked.attributes:
            return "restart"
        return "bind" if any(element.bind for element in asked.elements) else "other"

    def _answer(self, kind: str, asked: Any, sid: str) -> bytes:
        if kind == "create":
            sid = f"sid{len(self.seen)}"
            granted = f"sid='{sid}' wait='5' hold='1' requests='2' inactivity='30' ver='1.6'"
            self.alive[sid] = asked.attributes["to"]
            return body(MECHANISMS + "".join(map(self._authenticated(sid), asked.elements)), granted)
        if asked.elements and asked.elements[0].name == "auth":
            return body(self._authenticated(sid)(asked.elements[0]))
        if kind == "terminate":
            self.alive.pop(sid, None)
            return body(attributes="type='terminate'")
        if kind == "restart":
            return body("<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>")
        if kind == "bind":
            (iq,) = asked.elements
            return body(
                f"<iq xmlns='jabber:client' type='result' id='{iq['id']}'>"
                f"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{self.alive[sid]}/r</jid></bind></iq>"
            )
        return body()

    def _authenticated(self, sid: str) -> Callable[[Any], str]:
        def answer(auth: Any) -> str:
            _, user, password = b64decode(str(auth)).decode().split("\0")
            self.alive[sid] = f"{user}@{self.alive[sid].partition('@')[2] or self.alive[sid]}"
            return self._verdict(self.alive[sid], password)

        return answer

    def _verdict(self, bare: str, password: str) -> str:
        if self.store.redeem(bare, password.encode()):
            self.accepted.add(password)
        elif not (self.caching and password in self.accepted):
            return NOT_AUTHORIZED
        return "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"


class CountingSite(Site):
    """Counts the connections that are open."""

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
    """Each test method is a coroutine."""

    timeout = 60

    def setUp(self) -> None:
        self.store = SQLiteStore(None)
        self.counts = SQLiteFailureCounters(None)
        self.right = VerifiedPasswords(self.counts, b"user", deferToThread)
        self.gate = AccountThrottle(self.counts, self.right)
        self.fake = FakeManager(self.store)
        self.remembered: list[str] = []
        self.port = reactor.listenTCP(0, CountingSite(self.fake), interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.make(timeout=5.0, connections=8)

    def make(self, timeout: float, connections: int) -> None:
        """Make a warmer with these settings."""
        url = f"http://127.0.0.1:{self.port.getHost().port}/bosh"
        settings = Bosh(url, None, None, timeout, connections)
        manager = ConnectionManager(reactor, url, connections)
        self.addCleanup(manager.close)
        self.manager = manager
        self.warmer = Warmer(
            reactor,
            self.store,
            self.remembered.append,
            lambda _: settings,
            lambda _: manager,
            30,
            deferToThread,
            self.gate,
        )

    async def warm(self, **warm_request: Any) -> WarmSession:
        jid = prepare("juliet@example.org")
        session: WarmSession = await self.warmer.warm(WarmRequest(jid, **warm_request))
        return session

    async def probed(self) -> None:
        """Have the host found safe, so that faults hit the login itself."""
        await self.warmer.guard.ensure_safe("example.org")
        self.fake.seen.clear()

    async def failure(self, kind: type[Exception], step: str | None = None) -> Any:
        """Warm, expecting an error, and nothing left behind it."""
        try:
            await self.warm()
        except kind as error:
            if step is not None:
                self.assertEqual(getattr(error, "step", None), step)
            self.nothing_left()
            return error
        raise AssertionError("it succeeded")

    def nothing_left(self) -> None:
        counted: list[int] = []
        rows = self.store._database.execute("SELECT count(*) FROM passwords").fetchone()
        counted.append(rows[0])
        self.assertEqual(counted, [0], "a one-time password is left")
        self.assertEqual(self.manager.in_use, 0)


def run(test: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], "Deferred[None]"]:
    """A coroutine as one of trial's tests."""

    def method(self: Any) -> "Deferred[None]":
        return Deferred.fromCoroutine(test(self))

    method.__name__, method.__doc__ = test.__name__, test.__doc__
    return method


def first(kind: str, fault: Any) -> Fault:
    """The fault at the first request of a kind."""
    return lambda seen, count: fault if (seen, count) == (kind, 1) else None


def every(kind: str, fault: Any) -> Fault:
    """The fault at each request of a kind."""
    return lambda seen, count: fault if seen == kind else None


class TestHappy(Warming):
    @run
    async def test_a_session_is_handed_over_and_its_user_remembered(self) -> None:
        session = await self.warm()
        self.assertEqual((session.jid, session.hold, session.stanzas), ("juliet@example.org/r", 1, ()))
        self.assertEqual(self.remembered, ["juliet@example.org"])
        self.assertEqual(list(self.fake.alive), [session.sid])
        self.nothing_left()

    @run
    async def test_neither_wish_nor_session_shows_a_secret(self) -> None:
        session = await self.warm()
        self.assertNotIn(session.sid, repr(session))
        self.assertNotIn("geheim", repr(WarmRequest(prepare("a@b"), "geheim")))

    @run
    async def test_a_host_is_tried_out_once_with_two_logins_that_leave_nothing(self) -> None:
        await self.warmer.guard.ensure_safe("example.org")
        self.assertEqual(self.fake.seen.count("create"), 2)
        self.assertEqual(self.fake.alive, {})
        self.fake.seen.clear()
        await self.warm()
        await self.warm()
        self.assertEqual(self.fake.seen.count("create"), 2)

    @run
    async def test_callers_at_the_same_time_share_one_probe(self) -> None:
        sessions = [self.warmer.warm(WarmRequest(prepare("a@example.org"))) for _ in range(5)]
        for session in sessions:
            await session
        self.assertEqual(self.fake.seen.count("create"), 2 + 5)


class TestUnsafe(Warming):
    @run
    async def test_a_server_that_accepts_a_used_password_gets_nothing_until_it_is_mended(self) -> None:
        self.fake.caching = True
        for _ in range(2):
            error = await self.failure(UnsafeHost)
            self.assertEqual(error.host, "example.org")
        self.assertEqual(self.fake.alive, {})
        self.fake.caching = False
        await self.warm()

    @run
    async def test_a_server_that_asks_nobody_is_told_from_one_that_asks(self) -> None:
        self.fake._verdict = lambda bare, password: NOT_AUTHORIZED  # type: ignore[method-assign]
        error = await self.failure(OneTimeRefused, "authentication")
        self.assertEqual(error.leftover, RevocationStatus.UNASKED)


class TestFaults(Warming):
    @run
    async def test_a_lost_request_is_repeated_with_its_rid_and_the_login_goes_on(self) -> None:
        for kind in ("restart", "bind"):
            for when in ("lost before", "lost after"):
                await self.probed()
                self.fake.fault = first(kind, when)
                await self.warm()
                self.assertEqual(self.fake.seen.count("create"), 1, (kind, when))

    @run
    async def test_a_lost_creation_starts_anew_with_another_password(self) -> None:
        for when in ("lost before", "lost after"):
            await self.probed()
            self.fake.fault = first("create", when)
            await self.warm()
            self.assertEqual(self.fake.seen.count("create"), 2)
            self.nothing_left()

    @run
    async def test_a_session_that_is_missing_before_it_was_made_is_made_anew(self) -> None:
        await self.probed()
        missing = body(attributes="type='terminate' condition='item-not-found'")
        self.fake.fault = first("create", missing)
        await self.warm()
        self.fake.seen.clear()
        self.fake.fault = every("create", missing)
        await self.failure(errors.Unreachable, "session creation")
        self.assertEqual(self.fake.seen.count("create"), 2)

    @run
    async def test_a_manager_that_always_loses_the_connection_is_given_up(self) -> None:
        for kind in ("create", "restart", "bind"):
            await self.probed()
            self.fake.fault = every(kind, "lost before")
            await self.failure(errors.Unreachable)

    @run
    async def test_a_refusal_although_the_answer_was_yes_gets_one_new_try(self) -> None:
        await self.probed()
        refused = body(MECHANISMS + NOT_AUTHORIZED, "sid='x' requests='2' hold='1'")
        self.fake.fault = first("create", refused)
        await self.warm()
        self.fake.seen.clear()
        self.fake.fault = every("create", refused)
        error = await self.failure(OneTimeRefused, "authentication")
        self.assertEqual(error.leftover, RevocationStatus.GONE)
        self.assertEqual(self.fake.seen.count("create"), 2)

    @run
    async def test_each_odd_answer_is_an_error_of_its_own_that_says_where(self) -> None:
        terminate = "type='terminate' condition='{}'"
        html = b"<html><body>502 Bad Gateway</body></html>"
        cases: list[tuple[Any, type[errors.BoshError], str]] = [
            ((404, {}, b"not here"), errors.InvalidResponse, "HTTP 404"),
            ((502, {}, html), errors.InvalidResponse, "HTTP 502"),
            ((302, {"Location": "http://127.0.0.1:1/"}, b""), errors.InvalidResponse, "redirect"),
            (html, errors.InvalidResponse, "no BOSH body"),
            (b"\0\1\2", errors.InvalidResponse, "well-formed"),
            (b" " * (MAX_SIZE + 1), errors.InvalidResponse, "too long"),
            (body(attributes=terminate.format("system-shutdown")), errors.Terminated, "system-shutdown"),
            (body("<uri>http://x/</uri>", terminate.format("see-other-uri")), errors.Terminated, "see-other-uri"),
            (body(attributes=terminate.format("policy-violation")), errors.Banned, "policy-violation"),
            (
                body(STREAM_ERROR, terminate.format("remote-stream-error")),
                errors.StreamFailed,
                "reset",
            ),
        ]
        steps = {"create": "session creation", "restart": "stream restart", "bind": "resource binding"}
        for kind in steps:
            for fault, error_type, seen in cases:
                if isinstance(fault, tuple) and fault[0] == 404 and kind != "create":
                    continue  # see the next test
                await self.probed()
                self.fake.fault = every(kind, fault)
                error = await self.failure(error_type)
                self.assertIn(seen, str(error))
                self.assertIn(error.step, set(steps.values()) | {"authentication"})

    @run
    async def test_in_a_session_404_is_its_end_as_old_managers_say_it(self) -> None:
        await self.probed()
        self.fake.fault = every("bind", (404, {}, b""))
        error = await self.failure(errors.Terminated)
        self.assertEqual(error.condition, "item-not-found")
        self.assertEqual(self.fake.alive, {}, "it may have been a proxy's, so the session is ended all the same")

    @run
    async def test_a_manager_that_is_not_there_is_unreachable(self) -> None:
        await self.port.stopListening()
        await self.failure(errors.Unreachable, "session creation")

    @run
    async def test_whoever_never_answers_is_given_up_in_time_and_the_session_ended(self) -> None:
        self.make(timeout=2.0, connections=8)
        steps = {"create": "session creation", "bind": "resource binding"}
        for kind, step in steps.items():
            await self.probed()
            self.fake.alive.clear()
            self.fake.fault = every(kind, "never")
            error = await self.failure(errors.TimedOut, step)
            self.assertIn("within 2 seconds", str(error))
            self.assertEqual(self.manager.in_use, 0)
        self.assertEqual(self.fake.seen.count("terminate"), 1)
        self.assertEqual(self.fake.alive, {})

    @run
    async def test_a_login_that_fails_on_the_way_ends_its_session(self) -> None:
        await self.probed()
        wrong = body("<iq xmlns='jabber:client' type='error' id='x'/>")
        faults: tuple[Any, ...] = (wrong, b"rubbish", (502, {}, b""))
        for fault in faults:
            self.fake.fault = every("bind", fault)
            self.make(timeout=2.0, connections=8)
            await self.warmer.guard.ensure_safe("example.org")
            await self.failure(errors.BoshError)
            self.assertEqual(self.fake.alive, {})

    @run
    async def test_another_account_than_the_one_asked_for_is_not_handed_over(self) -> None:
        await self.probed()
        self.fake.fault = lambda kind, count: self.rename() if kind == "bind" else None
        await self.failure(errors.WrongJID, "resource binding")
        self.assertEqual(self.fake.alive, {})
        self.assertEqual(self.remembered, [])

    def rename(self) -> None:
        for sid in self.fake.alive:
            self.fake.alive[sid] = "mallory@example.org"

    @run
    async def test_nothing_begins_anew_once_the_time_is_over_or_the_caller_gone(self) -> None:
        refused = body(MECHANISMS + NOT_AUTHORIZED, "sid='x' requests='2' hold='1'")
        for gone in (False, True):
            self.make(timeout=1.0, connections=8)
            self.fake.fault = lambda kind, count: None
            await self.probed()
            self.fake.fault = lambda kind, count: {"create": refused, "terminate": "never"}.get(kind)
            warming = self.warmer.warm(WarmRequest(prepare("juliet@example.org")))
            outcome: list[Any] = []
            warming.addBoth(outcome.append)
            await deferLater(reactor, 0.05)
            if gone:
                warming.cancel()
            await self.warmer.close(3)
            await deferLater(reactor, 0.2)
            self.assertEqual(self.fake.seen.count("create"), 1 if gone else 2)
            self.nothing_left()

    @run
    async def test_a_store_that_breaks_keeps_no_session_alive(self) -> None:
        await self.probed()
        revoke = self.store.revoke

        async def broken(password: Any) -> Any:
            await revoke(password)
            raise StoreError("disk full")

        self.store.revoke = broken  # type: ignore[method-assign]
        self.fake.fault = every("bind", b"rubbish")
        await self.failure(errors.InvalidResponse)
        self.assertEqual(self.fake.alive, {})
        self.fake.fault = lambda kind, count: None
        session = await self.warm()
        self.assertEqual(list(self.fake.alive), [session.sid])

    @run
    async def test_a_caller_who_goes_away_leaves_nothing_at_whatever_moment(self) -> None:
        await self.probed()
        self.fake.delay = 0.01
        for moment in range(0, 600, 3):
            warming = self.warmer.warm(WarmRequest(prepare("juliet@example.org")))
            sessions: list[Any] = []
            warming.addBoth(sessions.append)
            await deferLater(reactor, moment / 1000)
            if sessions:
                self.assertIsInstance(sessions[0], WarmSession)
                break
            warming.cancel()
            self.assertIs(sessions[0].type, CancelledError)
            await self.warmer.finish(0.001)
            self.nothing_left()
            self.assertEqual(self.fake.alive, {}, moment)
        else:
            raise AssertionError("no login ended by itself")

    @run
    async def test_a_caller_who_goes_away_while_a_right_password_is_remembered_leaves_nothing(self) -> None:
        await self.probed()
        self.fake.caching = True
        self.fake.accepted.add("county")
        remembering: list[Deferred[bytes]] = []

        def never(work: Any) -> "Deferred[bytes]":
            remembering.append(Deferred())
            return remembering[-1]

        self.right._run_work = never
        warming = self.warmer.warm(WarmRequest(prepare("juliet@example.org"), password="county"))
        warming.addErrback(lambda failure: failure.trap(CancelledError))
        while not remembering:
            await deferLater(reactor, 0.01)
        self.assertEqual(len(self.fake.alive), 1)
        warming.cancel()
        await self.warmer.finish(1)
        self.assertEqual(self.fake.alive, {})
        self.nothing_left()

    @run
    async def test_a_warmer_that_closes_begins_nothing_any_more(self) -> None:
        await self.probed()
        self.fake.delay = 0.05
        under_way = self.warmer.warm(WarmRequest(prepare("juliet@example.org")))
        closing = Deferred.fromCoroutine(self.warmer.close(5))
        try:
            await self.warm()
        except errors.Busy as error:
            self.assertIn("stopping", str(error))
        else:
            raise AssertionError("it was begun")
        self.assertEqual((await under_way).jid, "juliet@example.org/r")
        await closing


class TestQueue(Warming):
    @run
    async def test_connections_are_never_more_than_allowed_and_everyone_gets_a_turn(self) -> None:
        for connections in (1, 3):
            self.make(timeout=30.0, connections=connections)
            self.fake.most_open = self.fake.open = 0
            self.fake.delay = 0.002
            wishes = [WarmRequest(prepare(f"user{number}@example.org")) for number in range(40)]
            warming = [self.warmer.warm(warm_request) for warm_request in wishes]
            self.assertEqual(len({(await each).jid for each in warming}), 40)
            self.assertLessEqual(self.fake.most_open, connections)
            self.assertEqual((self.manager.in_use, self.manager.waiting), (0, 0))
            await self.manager.close()

    @run
    async def test_whoever_comes_to_a_full_queue_is_turned_away_at_once(self) -> None:
        self.make(timeout=30.0, connections=1)
        await self.probed()
        self.fake.fault = every("create", "never")
        warm_request = WarmRequest(prepare("juliet@example.org"))
        warming = [self.warmer.warm(warm_request) for _ in range(1 + MAX_WAITING)]
        try:
            await self.warm()
        except errors.Busy:
            pass
        else:
            raise AssertionError("it was let in")
        for each in warming:
            each.addErrback(lambda failure: failure.trap(CancelledError))
            each.cancel()
        await self.warmer.close(0.01)
        self.nothing_left()

    @run
    async def test_who_gives_up_waiting_leaves_the_queue(self) -> None:
        self.make(timeout=30.0, connections=1)
        await self.probed()
        self.fake.delay = 0.02
        warm_request = WarmRequest(prepare("juliet@example.org"))
        under_way, impatient, patient = (self.warmer.warm(warm_request) for _ in range(3))
        impatient.addErrback(lambda failure: failure.trap(CancelledError))
        impatient.cancel()
        await under_way
        await patient
        self.assertEqual(self.manager.waiting, 0)
