"""Logins that time out, and callers that disconnect, leave nothing behind."""

from functools import partial
from itertools import count
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater

from tests.sessions.fakemanager import MECHANISMS, NOT_AUTHORIZED, Warming, body, every, reactor, run
from warmside.bosh import errors
from warmside.jids import prepare
from warmside.sessions.model import WarmRequest, WarmSession
from warmside.throttle.limits import Kind
from warmside.throttle.throttle import Attempt

JULIET = prepare("juliet@example.org")


class TestCleanup(Warming):
    @run
    async def test_login_without_response_times_out_and_its_session_is_ended(self) -> None:
        clock = Clock()
        self.make(timeout=10.0, clock=clock)
        steps = {"create": "session creation", "bind": "resource binding"}
        for kind, step in steps.items():
            await self.probed()
            self.fake.alive.clear()
            self.fake.fault = every(kind, "never")
            failing = Deferred.fromCoroutine(self.failure(errors.TimedOut, step))
            await self.until(partial(self.fake.seen.__contains__, kind))
            clock.advance(8.9)
            self.assertFalse(failing.called)
            clock.advance(0.1)  # the rest is for cleanup
            if kind == "create":
                self.assertFalse(failing.called, "the session may still be created")
                clock.advance(0.5)
            error = await failing
            self.assertIn("within 10 seconds", str(error))
            self.assertEqual(self.manager.in_use, 0)
        self.assertEqual(self.fake.seen.count("terminate"), 1)
        self.assertEqual(self.fake.alive, {})

    @run
    async def test_login_is_not_retried_after_its_caller_disconnected(self) -> None:
        rejected = body(MECHANISMS + NOT_AUTHORIZED, "sid='x' requests='2' hold='1'")
        for disconnected in (False, True):
            clock = Clock()
            self.make(clock=clock)
            self.fake.fault = lambda kind, count: None
            await self.probed()
            self.fake.fault = lambda kind, count: {"create": rejected, "terminate": "never"}.get(kind)
            warming = self.warmer.warm(WarmRequest(JULIET))
            outcome: list[Any] = []
            warming.addBoth(outcome.append)
            await self.until(lambda: "terminate" in self.fake.seen)
            if disconnected:
                warming.cancel()
            closing = Deferred.fromCoroutine(self.warmer.tasks.close(100))
            while not closing.called:
                clock.advance(0.25)  # seconds for a response to a terminate
                await deferLater(reactor, 0.001)
            self.assertEqual(self.fake.seen.count("create"), 1 if disconnected else 2)
            self.nothing_left()

    @run
    async def test_caller_that_disconnects_at_any_moment_leaves_nothing(self) -> None:
        await self.probed()
        for turns in count():
            warming = self.warmer.warm(WarmRequest(JULIET))
            results: list[Any] = []
            warming.addBoth(results.append)
            for _ in range(turns):
                await deferLater(reactor, 0)
            if results:
                self.assertIsInstance(results[0], WarmSession)
                break
            warming.cancel()
            self.assertIs(results[0].type, CancelledError)
            await self.warmer.tasks.finish(0.001)
            self.nothing_left()
            self.assertEqual(self.fake.alive, {}, turns)
        self.assertGreater(turns, 5)

    @run
    async def test_caller_that_disconnects_while_its_success_is_counted_leaves_nothing(self) -> None:
        await self.probed()
        self.fake.caching = True
        self.fake.accepted.add("county")
        remembering: list[Deferred[None]] = []

        async def never(*arguments: Any, **options: Any) -> None:
            remembering.append(Deferred())
            await remembering[-1]

        self.throttle.accounts.accepted = never  # type: ignore[method-assign]
        warming = self.warmer.warm(WarmRequest(JULIET, password="county"))
        warming.addErrback(lambda failure: failure.trap(CancelledError))
        await self.until(lambda: remembering)
        self.assertEqual(len(self.fake.alive), 1)
        warming.cancel()
        await self.warmer.tasks.finish(1)
        self.assertEqual(self.fake.alive, {})
        self.nothing_left()


class TestOutcomes(Warming):
    """Outcomes that logins report to the throttle."""

    async def counted(self) -> int:
        """Return the failures that are counted for the account."""
        return (await self.counters.count("jid juliet@example.org"))[0]

    @run
    async def test_accepted_password_is_remembered_and_not_counted(self) -> None:
        await self.probed()
        self.fake.caching = True
        self.fake.accepted.add("county")
        await self.warm(password="county")
        self.assertEqual(await self.counted(), 0)
        async with self.throttle.attempt(Attempt(Kind.USER, JULIET.userhost(), b"county")) as verdict:
            self.assertTrue(verdict.previously_accepted)

    @run
    async def test_rejected_password_is_counted(self) -> None:
        await self.probed()
        with self.assertRaises(errors.Refused):
            await self.warm(password="wrong")
        self.assertEqual(await self.counted(), 1)
        self.assertFalse(await self.warmer.check_password(JULIET, "wrong"))
        self.assertEqual(await self.counted(), 2)

    @run
    async def test_failure_that_says_nothing_about_the_password_forgets_no_accepted_one(self) -> None:
        self.fake.caching = True
        self.fake.accepted.add("county")
        await self.warm(password="county")
        self.fake.rejects_with("temporary-auth-failure")
        with self.assertRaises(errors.NotAuthenticated):
            await self.warm(password="county")
        async with self.throttle.attempt(Attempt(Kind.USER, JULIET.userhost(), b"county")) as verdict:
            self.assertTrue(verdict.previously_accepted)

    @run
    async def test_password_without_a_known_result_stays_counted(self) -> None:
        await self.probed()
        self.fake.fault = every("other", (502, {}, b""))
        with self.assertRaises(errors.InvalidResponse):
            await self.warm(password="county")
        self.assertEqual(await self.counted(), 1)

    @run
    async def test_password_that_reached_no_server_is_not_counted(self) -> None:
        await self.probed()
        await self.port.stopListening()
        await self.manager.close()
        with self.assertRaises(errors.Unreachable):
            await self.warm(password="county")
        self.assertEqual(await self.counted(), 0)
