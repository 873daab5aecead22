"""Warm sessions against a fake connection manager."""

from typing import Any
from unittest.mock import patch
from xml.etree.ElementTree import fromstring

from twisted.internet.defer import CancelledError, Deferred

from tests.resolving import CONTAINER, knowing_the_container
from tests.sessions.fakemanager import CountingSite, Warming, every, reactor, run
from warmside.bosh import errors
from warmside.bosh.session import Parameters
from warmside.bosh.transport import MAX_WAITING
from warmside.jids import prepare
from warmside.otp import OneTimePassword
from warmside.sessions.logins import LoginSpec
from warmside.sessions.model import WarmRequest
from warmside.throttle.limits import Kind
from warmside.turns import Turns


class TestWarmer(Warming):
    @run
    async def test_session_is_handed_over_and_user_remembered(self) -> None:
        session = await self.warm()
        self.assertEqual((session.jid, session.hold, session.stanzas), ("juliet@example.org/r", 1, ()))
        self.assertEqual(self.remembered, ["juliet@example.org"])
        self.assertEqual(list(self.fake.alive), [session.sid])
        self.nothing_left()

    @run
    async def test_oversized_stanzas_of_a_long_response_are_counted_and_the_others_kept(self) -> None:
        await self.probed()
        answer = self.fake._response
        small = "<message xmlns='jabber:client' id='{}'><body>text</body></message>"
        stanzas = [small.format(number) for number in range(500)]
        heavy = "<message xmlns='jabber:client'>" + "<x/>" * 60_000 + "</message>"
        foreign = "".join([*stanzas[:250], heavy, *stanzas[250:], heavy]).encode()

        def response(kind: str, received: Any, sid: str) -> bytes:
            whole = answer(kind, received, sid)
            return whole.replace(b"<iq", foreign + b"<iq") if kind == "bind" else whole

        rests = []

        class CountedTurns(Turns):
            async def rest(self) -> None:
                rests.append(self)
                await super().rest()

        with patch.object(self.fake, "_response", response), patch("warmside.bosh.responses.Turns", CountedTurns):
            session = await self.warm()
        self.assertGreater(len(rests), 1, "the response is parsed in turns")
        self.assertEqual([fromstring(each).get("id") for each in session.stanzas], [str(n) for n in range(500)])
        self.assertEqual(session.left_out, 2)
        self.nothing_left()

    @run
    async def test_repr_of_request_and_session_shows_no_secret(self) -> None:
        session = await self.warm()
        self.assertNotIn(session.sid, repr(session))
        self.assertNotIn("geheim", repr(WarmRequest(prepare("a@b"), "geheim")))

    def test_repr_of_login_and_attempt_shows_no_secret(self) -> None:
        spec = LoginSpec(prepare("a@b"), "geheim", Kind.USER, Parameters("b"))
        minted = LoginSpec(prepare("a@b"), OneTimePassword("geheim"), Kind.ONE_TIME, Parameters("b"))
        for each in (spec, spec.attempt, spec.credentials, minted, minted.attempt, minted.credentials):
            self.assertNotIn("geheim", repr(each))

    @run
    async def test_close_waits_for_logins_in_progress_and_rejects_new_ones(self) -> None:
        await self.probed()
        self.fake.delay = 0.05
        in_progress = self.warmer.warm(WarmRequest(prepare("juliet@example.org")))
        closing = Deferred.fromCoroutine(self.warmer.tasks.close(100))
        try:
            await self.warm()
        except errors.Busy as error:
            self.assertIn("stopping", str(error))
        else:
            raise AssertionError("a login was started")
        self.assertEqual((await in_progress).jid, "juliet@example.org/r")
        await closing


class TestAddresses(Warming):
    @run
    async def test_manager_at_an_ipv6_address_or_the_name_of_a_container_is_reached(self) -> None:
        six = reactor.listenTCP(0, CountingSite(self.fake), interface="::1")
        self.addCleanup(six.stopListening)
        for host, port in (("[::1]", six), (CONTAINER, self.port)):
            self.make(url=f"http://{host}:{port.getHost().port}/bosh")
            with knowing_the_container():
                await self.warm()
        self.assertEqual(len(self.fake.alive), 2)

    @run
    async def test_host_is_logged_in_to_in_the_spelling_that_the_server_knows(self) -> None:
        for served in ("bücher.example", "xn--bcher-kva.example"):
            self.fake.serves = served.__eq__
            self.make()
            self.assertEqual(self.warmer.served(prepare("a@xn--bcher-kva.example")).host, "bücher.example")
            for asked in ("xn--bcher-kva.example", "Bücher.example", "bücher.example"):
                self.fake.seen.clear()
                session = await self.warmer.warm(WarmRequest(prepare(f"juliet@{asked}")))
                self.assertEqual(session.jid, f"juliet@{served}/r")
            self.assertEqual(self.fake.seen.count("create"), 1, "the spelling is remembered")
            self.assertEqual(self.warmer.served(prepare("a@bücher.example")).host, served)
        self.nothing_left()
        self.assertEqual(self.remembered, ["juliet@bücher.example"] * 6)

    @run
    async def test_host_that_the_server_knows_in_no_spelling_is_an_error(self) -> None:
        self.fake.serves = lambda host: False
        for host, tried in (("bücher.example", 2), ("example.org", 1)):
            self.fake.seen.clear()
            with self.assertRaises(errors.Terminated):
                await self.warmer.warm(WarmRequest(prepare(f"juliet@{host}"), "county"))
            self.assertEqual(self.fake.seen.count("create"), tried)
        self.nothing_left()


class TestQueue(Warming):
    @run
    async def test_connections_never_exceed_the_maximum_and_all_logins_get_one(self) -> None:
        for connections in (1, 3):
            self.make(connections=connections)
            self.fake.most_open = self.fake.open = 0
            self.fake.delay = 0.002
            requests = [WarmRequest(prepare(f"user{number}@example.org")) for number in range(40)]
            warming = [self.warmer.warm(request) for request in requests]
            self.assertEqual(len({(await each).jid for each in warming}), 40)
            self.assertLessEqual(self.fake.most_open, connections)
            self.assertEqual((self.manager.in_use, self.manager.waiting), (0, 0))
            await self.manager.close()

    @run
    async def test_login_is_rejected_when_the_queue_is_full(self) -> None:
        self.make(connections=1)
        await self.probed()
        self.fake.fault = every("create", "never")
        request = WarmRequest(prepare("juliet@example.org"))
        warming = [self.warmer.warm(request) for _ in range(1 + MAX_WAITING)]
        try:
            await self.warm()
        except errors.Busy:
            pass
        else:
            raise AssertionError("a login was started")
        for each in warming:
            each.addErrback(lambda failure: failure.trap(CancelledError))
            each.cancel()
        await self.warmer.tasks.close(0.01)
        self.nothing_left()

    @run
    async def test_cancelled_login_leaves_the_queue(self) -> None:
        self.make(connections=1)
        await self.probed()
        self.fake.delay = 0.02
        request = WarmRequest(prepare("juliet@example.org"))
        in_progress, cancelled, waiting = (self.warmer.warm(request) for _ in range(3))
        cancelled.addErrback(lambda failure: failure.trap(CancelledError))
        cancelled.cancel()
        await in_progress
        await waiting
        self.assertEqual(self.manager.waiting, 0)
