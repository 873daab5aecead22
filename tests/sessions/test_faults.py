"""Faults of the connection manager while a session is warmed."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.sessions.fakemanager import MECHANISMS, NOT_AUTHORIZED, Warming, body, every, first, run
from warmside.bosh import errors
from warmside.bosh.body import MAX_SIZE
from warmside.bosh.pipelining import Pipelining
from warmside.bosh.session import Parameters, Session
from warmside.jids import prepare
from warmside.sessions.model import WarmRequest
from warmside.sessions.verdicts import OneTimeRefused
from warmside.store.interface import RevocationStatus, StoreError

STREAM_ERROR = "<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"


class TestFaults(Warming):
    @run
    async def test_lost_request_is_repeated_with_its_rid(self) -> None:
        for kind in ("restart", "bind"):
            for when in ("lost before", "lost after"):
                await self.probed()
                self.fake.fault = first(kind, when)
                await self.warm()
                self.assertEqual(self.fake.seen.count("create"), 1, (kind, when))

    @run
    async def test_lost_creation_is_retried_with_another_password(self) -> None:
        for when in ("lost before", "lost after"):
            await self.probed()
            self.fake.fault = first("create", when)
            await self.warm()
            self.assertEqual(self.fake.seen.count("create"), 2)
            self.nothing_left()

    @run
    async def test_session_that_is_missing_at_its_creation_is_retried_once(self) -> None:
        await self.probed()
        missing = body(attributes="type='terminate' condition='item-not-found'")
        self.fake.fault = first("create", missing)
        await self.warm()
        self.fake.seen.clear()
        self.fake.fault = every("create", missing)
        await self.failure(errors.Unreachable, "session creation")
        self.assertEqual(self.fake.seen.count("create"), 2)

    @run
    async def test_host_that_was_served_before_is_unreachable_while_the_server_stops(self) -> None:
        stopping = body(attributes="type='terminate' condition='internal-server-error'")
        self.fake.fault = every("create", stopping)
        await self.failure(errors.Terminated, "session creation")
        self.fake.fault = lambda kind, count: None
        self.warmer.probe.asked("example.org")
        await self.probed()
        self.fake.fault = every("create", stopping)
        await self.failure(errors.Unreachable, "session creation")

    @run
    async def test_manager_that_always_loses_the_connection_is_unreachable(self) -> None:
        for kind in ("create", "restart", "bind"):
            await self.probed()
            self.fake.fault = every(kind, "lost before")
            await self.failure(errors.Unreachable)

    @run
    async def test_rejection_of_a_redeemed_password_is_retried_once(self) -> None:
        await self.probed()
        rejected = body(MECHANISMS + NOT_AUTHORIZED, "sid='x' requests='2' hold='1' xmpp:restartlogic='true'")
        self.fake.fault = first("create", rejected)
        await self.warm()
        self.fake.seen.clear()
        self.fake.fault = every("create", rejected)
        error = await self.failure(OneTimeRefused, "authentication")
        self.assertEqual(error.revocation, RevocationStatus.GONE)
        self.assertEqual(self.fake.seen.count("create"), 2)

    @run
    async def test_rejection_of_a_password_that_was_not_redeemed_is_not_retried(self) -> None:
        await self.probed()
        self.fake._sasl_result = lambda bare, password: NOT_AUTHORIZED  # type: ignore[method-assign]
        error = await self.failure(OneTimeRefused, "authentication")
        self.assertEqual(error.revocation, RevocationStatus.UNASKED)
        self.assertEqual(self.fake.seen.count("create"), 1)

    @run
    async def test_condition_of_a_rejected_one_time_password_is_kept(self) -> None:
        for condition, kind in (
            ("account-disabled", errors.Refused),
            ("credentials-expired", errors.Refused),
            ("temporary-auth-failure", errors.NotAuthenticated),
            ("encryption-required", errors.NotAuthenticated),
        ):
            await self.probed()
            self.fake.rejects_with(condition)
            error = await self.failure(kind, "authentication")
            self.assertEqual(error.condition, condition)
            self.assertNotIsInstance(error, OneTimeRefused)
            self.assertEqual(self.fake.seen.count("create"), 1)

    @run
    async def test_account_that_a_login_found_disabled_gets_no_credential_until_it_is_enabled(self) -> None:
        jid = prepare("juliet@example.org")
        await self.probed()
        accepting = self.fake._sasl_result
        self.fake.rejects_with("account-disabled")
        await self.failure(errors.Refused)
        with self.assertRaises(errors.Refused) as caught:
            await self.warmer.mint(jid)
        self.assertEqual((caught.exception.condition, caught.exception.step), ("account-disabled", "authentication"))
        await self.warmer.mint(prepare("romeo@example.org"))
        self.fake._sasl_result = accepting  # type: ignore[method-assign]
        await self.warm()
        await self.warmer.mint(jid)

    @run
    async def test_account_is_found_disabled_for_a_minute(self) -> None:
        clock = Clock()
        self.make(clock=clock)
        await self.probed()
        self.fake.rejects_with("account-disabled")
        await self.failure(errors.Refused)
        clock.advance(60 + 1)
        await self.warmer.mint(prepare("juliet@example.org"))

    @run
    async def test_ban_names_the_owner_of_the_address_and_leaves_no_session(self) -> None:
        await self.probed()
        bans: list[tuple[Callable[[str | None], bool], str]] = [
            (lambda address: address == "203.0.113.7", "browser"),
            (lambda address: True, "warmside"),
        ]
        for banned, owner in bans:
            self.fake.banned = banned
            with self.assertRaises(errors.Banned) as caught:
                await self.warm(address="203.0.113.7")
            self.assertEqual(caught.exception.owner, owner)
            self.assertNotIn("203.0.113.7", str(caught.exception))
            self.assertEqual(self.fake.alive, {})
            self.nothing_left()

    @run
    async def test_creation_that_is_lost_while_a_ban_is_examined_is_retried(self) -> None:
        await self.probed()
        self.fake.banned = lambda address: address is not None
        lost = body(attributes="type='terminate' condition='item-not-found'")
        self.fake.fault = lambda kind, count: lost if (kind, count) == ("create", 2) else None
        with self.assertRaises(errors.Banned) as caught:
            await self.warm(address="203.0.113.7")
        self.assertEqual(caught.exception.owner, "browser")
        self.assertEqual(self.fake.seen.count("create"), 3)

    @run
    async def test_ban_whose_address_can_not_be_found_out_names_both_owners(self) -> None:
        await self.probed()
        self.fake.banned = lambda address: address is not None
        self.fake.fault = lambda kind, count: (502, {}, b"") if kind == "create" else None
        with self.assertRaises(errors.Banned) as caught:
            await self.warm(address="203.0.113.7")
        self.assertEqual(caught.exception.owner, "unknown")

    @run
    async def test_manager_that_breaks_on_an_early_restart_gets_one_request_after_the_other(self) -> None:
        self.fake.breaks_on_early_restart = True
        for _ in range(30):
            await self.warm()
            self.nothing_left()
        self.assertEqual(len(self.fake.alive), 30)
        restarted_early = self.fake.seen.count("restart") - 30
        self.assertEqual(restarted_early, 1, "the manager is recognized at its first failure")

    @run
    async def test_early_requests_are_tried_again_after_some_minutes(self) -> None:
        clock = Clock()
        pipelining = Pipelining(clock.seconds)
        session = Session(Parameters("example.org"))
        self.assertFalse(pipelining.allowed, "the manager has not announced restart logic")
        session.sid, session.restart_logic = "sid", True
        pipelining.learn(session)
        self.assertTrue(pipelining.allowed)
        pipelining.avoid()
        self.assertFalse(pipelining.allowed)
        clock.advance(601)
        self.assertTrue(pipelining.allowed)

    @run
    async def test_manager_that_drops_the_payload_of_a_creation_gets_authentication_in_the_second_request(self) -> None:
        self.fake.restart_logic, self.fake.drops_payload = False, True
        for fields in ({}, {}, {"password": "county"}):
            self.fake.caching = True
            self.fake.accepted.add("county")
            if not fields:
                self.fake.caching = False
            await self.warm(**fields)
        self.nothing_left()
        self.assertEqual(len(self.fake.alive), 3)

    @run
    async def test_manager_that_drops_payload_and_announces_restart_logic_is_recognized_by_a_timeout(self) -> None:
        clock = Clock()
        self.make(timeout=10, clock=clock)
        await self.probed()
        self.fake.drops_payload = True
        self.fake.fault = lambda kind, count: None if kind in ("create", "terminate") else "never"
        warming = self.warmer.warm(WarmRequest(prepare("juliet@example.org")))
        await self.until(lambda: "restart" in self.fake.seen)
        clock.advance(10)
        with self.assertRaises(errors.TimedOut):
            await warming
        self.fake.fault = lambda kind, count: None
        await self.warm()
        self.nothing_left()

    @run
    async def test_each_invalid_response_has_an_error_that_names_the_step(self) -> None:
        terminate = "type='terminate' condition='{}'"
        html = b"<html><body>502 Bad Gateway</body></html>"
        cases: list[tuple[Any, type[errors.BoshError], str]] = [
            ((404, {}, b"not here"), errors.InvalidResponse, "HTTP 404"),
            ((502, {}, html), errors.InvalidResponse, "HTTP 502"),
            ((302, {"Location": "http://127.0.0.1:1/"}, b""), errors.InvalidResponse, "redirect"),
            (html, errors.InvalidResponse, "not a BOSH body"),
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
    async def test_status_404_in_a_session_is_item_not_found(self) -> None:
        """Managers before XEP-0124 1.6 report so."""
        await self.probed()
        self.fake.fault = every("bind", (404, {}, b""))
        error = await self.failure(errors.Terminated)
        self.assertEqual(error.condition, "item-not-found")
        self.assertEqual(self.fake.alive, {}, "a proxy may have sent the 404, so the session is ended")

    @run
    async def test_manager_that_does_not_listen_is_unreachable(self) -> None:
        await self.port.stopListening()
        await self.failure(errors.Unreachable, "session creation")

    @run
    async def test_login_that_fails_after_authentication_ends_its_session(self) -> None:
        faults: tuple[Any, ...] = (b"rubbish", (502, {}, b""))
        for fault in faults:
            await self.probed()
            self.fake.fault = every("bind", fault)
            await self.failure(errors.InvalidResponse)
            self.assertEqual(self.fake.alive, {})

    @run
    async def test_login_without_a_result_of_its_bind_times_out_and_ends_its_session(self) -> None:
        clock = Clock()
        self.make(timeout=10.0, clock=clock)
        await self.probed()
        self.fake.fault = every("bind", body("<iq xmlns='jabber:client' type='error' id='x'/>"))
        failing = Deferred.fromCoroutine(self.failure(errors.TimedOut, "resource binding"))
        await self.until(lambda: "other" in self.fake.seen)
        clock.advance(9)
        await failing
        self.assertEqual(self.fake.alive, {})

    @run
    async def test_session_of_another_account_is_not_handed_over(self) -> None:
        await self.probed()
        self.fake.fault = lambda kind, count: self.rename() if kind == "bind" else None
        await self.failure(errors.WrongJID, "resource binding")
        self.assertEqual(self.fake.alive, {})
        self.assertEqual(self.remembered, [])

    def rename(self) -> None:
        """Give all sessions to another account."""
        for sid in self.fake.alive:
            self.fake.alive[sid] = "mallory@example.org"

    @run
    async def test_failing_revocation_neither_keeps_nor_ends_a_session(self) -> None:
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
