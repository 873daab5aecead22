"""End sessions at a fake connection manager that lists them."""

from twisted.internet.defer import CancelledError, Deferred

from tests.sessions.fakemanager import first, run
from tests.sessions.listing import Ending
from warmside.bosh import errors
from warmside.sessions import ending
from warmside.sessions.ended import SessionsLeft


class TestEnding(Ending):
    @run
    async def test_all_sessions_are_ended_and_nobody_becomes_known(self) -> None:
        self.listing.clients = dict.fromkeys(["a", "b", "c"], 0)
        ended = await self.end()
        self.assertEqual(ended, [f"juliet@example.org/{each}" for each in "abc"])
        self.assertEqual((self.listing.clients, self.remembered), ({}, []))
        self.nothing_left()

    @run
    async def test_without_a_session_one_login_looks_and_binds_nothing(self) -> None:
        await self.probed()
        self.assertEqual(await self.end(), [])
        self.assertEqual((self.listing.seen.count("create"), self.listing.looks, self.listing.taken), (1, 1, []))
        self.nothing_left()

    @run
    async def test_one_login_looks_before_and_after(self) -> None:
        await self.probed()
        self.listing.clients = {"a": 0, "b": 0}
        await self.end()
        self.assertEqual((self.listing.seen.count("create"), self.listing.looks), (3, 2))

    @run
    async def test_nodes_and_items_of_others_are_no_sessions(self) -> None:
        self.listing.extra = (
            "<item jid='juliet@example.org' node='urn:xmpp:avatar'/><item jid='juliet@example.org/x' node='n'/>"
            "<item jid='romeo@example.org/orchard'/><item jid='pubsub.example.org'/><item/>"
        )
        self.listing.clients = {"a": 0}
        self.assertEqual(await self.end(), ["juliet@example.org/a"])
        self.assertEqual(self.listing.taken, ["a"])

    @run
    async def test_sessions_that_come_between_the_looks_are_ended(self) -> None:
        def come(look: int) -> None:
            if look in (2, 3):
                self.listing.clients[f"new{look}"] = 0

        self.listing.clients, self.listing.before_look = {"a": 0}, come
        self.assertEqual(await self.end(), [f"juliet@example.org/{each}" for each in ("a", "new2", "new3")])
        self.nothing_left()

    @run
    async def test_session_that_survives_a_bind_in_the_same_second_is_tried_again(self) -> None:
        self.patch(ending, "RETRY_INTERVAL", 0.01)
        self.listing.clients = {"a": 2, "b": 0}
        self.assertEqual(await self.end(), ["juliet@example.org/a", "juliet@example.org/b"])
        self.assertEqual(self.listing.taken, ["a", "b", "a", "a"])
        self.nothing_left()

    @run
    async def test_session_that_stays_is_an_error_that_counts(self) -> None:
        self.make(timeout=1.0)
        self.patch(ending, "RETRY_INTERVAL", 0.01)
        self.listing.clients = {"a": 1000, "b": 0}
        with self.assertRaises(SessionsLeft) as raised:
            await self.end()
        self.assertEqual((raised.exception.ended, raised.exception.left), (1, 1))
        await self.warmer.tasks.finish(10)
        self.nothing_left()

    @run
    async def test_at_most_100_sessions_are_ended_8_at_a_time(self) -> None:
        self.make(connections=40)
        self.listing.clients = {f"r{number}": 0 for number in range(103)}
        with self.assertRaises(SessionsLeft) as raised:
            await self.end()
        self.assertEqual((raised.exception.ended, raised.exception.left, len(self.listing.clients)), (100, 3, 3))
        self.assertLessEqual(self.listing.most, 8)
        self.assertEqual(len(await self.end()), 3)
        self.nothing_left()

    @run
    async def test_one_connection_is_enough(self) -> None:
        self.make(connections=1)
        self.listing.clients = dict.fromkeys(["a", "b", "c"], 0)
        self.assertEqual(len(await self.end()), 3)
        self.assertEqual(self.listing.most_open, 1)

    @run
    async def test_full_jid_ends_that_session_alone(self) -> None:
        self.listing.clients = {"a": 0, "b": 0}
        kept = await self.store.mint("juliet@example.org", 30)
        self.assertEqual(await self.end("juliet@example.org/a"), ["juliet@example.org/a"])
        self.assertEqual((self.listing.clients, self.listing.taken), ({"b": 0}, ["a"]))
        self.assertTrue(self.store.redeem("juliet@example.org", kept.text.encode()))
        self.nothing_left()

    @run
    async def test_full_jid_that_is_not_connected_is_not_bound(self) -> None:
        self.listing.clients = {"b": 0}
        self.assertEqual(await self.end("juliet@example.org/a"), [])
        self.assertEqual((self.listing.clients, self.listing.taken), ({"b": 0}, []))
        self.nothing_left()

    @run
    async def test_unused_passwords_of_the_user_are_revoked_before_the_look(self) -> None:
        unused = await self.store.mint("juliet@example.org", 30)
        other = await self.store.mint("romeo@example.org", 30)

        def look(number: int) -> None:
            self.assertFalse(self.store.redeem("juliet@example.org", unused.text.encode()))

        self.listing.before_look = look
        await self.end()
        self.assertTrue(self.store.redeem("romeo@example.org", other.text.encode()))

    @run
    async def test_servers_that_keep_the_old_session_or_list_none_are_errors_that_name_it(self) -> None:
        for conflict in ("closenew", "setresource"):
            self.listing.clients, self.listing.conflict = {"a": 0, "b": 0}, conflict
            with self.assertRaises(errors.ResourceConflict) as raised:
                await self.end()
            self.assertEqual(raised.exception.setting, conflict)
            self.assertEqual(len(self.listing.clients), 2)
            await self.warmer.tasks.finish(10)
            self.nothing_left()
        self.listing.lists = False
        with self.assertRaises(errors.NoSessionList) as refused:
            await self.end()
        self.assertEqual(refused.exception.condition, "service-unavailable")
        self.nothing_left()

    @run
    async def test_list_without_the_session_that_looks_is_no_list(self) -> None:
        self.listing.before_look = lambda look: self.listing.own.clear()
        with self.assertRaises(errors.NoSessionList):
            await self.end()
        self.nothing_left()

    @run
    async def test_lost_session_that_looks_is_replaced(self) -> None:
        def lose(look: int) -> None:
            if look == 1:
                self.listing.fault = first("terminate", None)
                self.lost = list(self.listing.own)

        self.listing.clients, self.listing.before_look = {"a": 0, "b": 0}, lose
        answer = self.listing._bind

        def bind(iq: object, sid: str) -> bytes:
            for each in getattr(self, "lost", []):
                self.listing.own.pop(each, None)
                self.listing.alive.pop(each, None)
            return answer(iq, sid)

        self.listing._bind = bind  # type: ignore[method-assign]
        self.assertEqual(len(await self.end()), 2)
        self.nothing_left()

    @run
    async def test_lost_first_login_is_repeated_once(self) -> None:
        await self.probed()
        self.listing.fault = first("create", "lost after")
        self.listing.clients = {"a": 0}
        self.assertEqual(await self.end(), ["juliet@example.org/a"])
        self.assertEqual(self.listing.seen.count("create"), 3)

    @run
    async def test_second_call_for_a_user_waits_for_the_first(self) -> None:
        self.listing.clients = dict.fromkeys(["a", "b"], 0)
        one, two, full = self.end(), self.end(), self.end("juliet@example.org/a")
        self.assertEqual([len(await each) for each in (one, two, full)], [2, 0, 0])
        self.assertEqual(sorted(self.listing.taken), ["a", "b"])
        self.nothing_left()

    @run
    async def test_call_that_waits_too_long_for_another_is_an_error(self) -> None:
        self.make(timeout=0.5)
        await self.ends.begin("juliet@example.org", "other", 60)
        with self.assertRaises(errors.Busy):
            await self.end()
        await self.ends.release("juliet@example.org", "other")
        self.assertEqual(await self.end(), [])

    @run
    async def test_cancelled_call_leaves_nothing_of_its_own_at_any_time(self) -> None:
        for connections in (8, 2):  # with 2, logins wait for a connection
            self.make(connections=connections)
            requests = 0
            while await self.cancelled_after(requests):
                requests += 1
                await self.warmer.tasks.finish(10)
                self.nothing_left()
                self.assertTrue(await self.ends.begin("juliet@example.org", "next", 60))
                await self.ends.release("juliet@example.org", "next")
            self.assertGreater(requests, 10)

    @run
    async def test_call_that_is_cancelled_while_it_cleans_up_lets_the_next_one_begin(self) -> None:
        self.make(connections=1)
        await self.probed()
        self.listing.clients, self.listing.conflict = {"a": 0}, "closenew"
        held: Deferred[None] = Deferred()
        holding: list[bool] = []

        async def hold() -> None:
            async with self.manager.reserve(1):
                holding.append(True)
                await held

        def fault(kind: str, count: int) -> None:
            if (kind, count) == ("terminate", 1):  # the login that could not bind; then the one that looks ends
                Deferred.fromCoroutine(hold())

        self.listing.fault = fault
        running = self.end()
        await self.until(lambda: holding and self.manager.waiting)
        running.cancel()
        with self.assertRaises(CancelledError):
            await running
        held.callback(None)
        await self.warmer.tasks.finish(10)
        self.nothing_left()
        self.assertTrue(await self.ends.begin("juliet@example.org", "next", 60))

    @run
    async def test_calls_for_several_users_share_8_logins_and_leave_connections_to_others(self) -> None:
        self.make(connections=60)
        self.listing.clients, self.listing.delay = {f"r{number}": 0 for number in range(20)}, 0.003
        for call in [self.end(f"{user}@example.org") for user in ("juliet", "romeo", "benvolio")]:
            await call
        self.assertEqual(self.listing.clients, {})
        self.assertLessEqual(self.listing.most, 8)
        self.nothing_left()

    async def cancelled_after(self, requests: int) -> bool:
        """End sessions, and cancel that after some requests; return False if the call was complete before."""
        await self.probed()
        self.listing.clients, self.listing.delay = dict.fromkeys(["a", "b", "c"], 0), 0.003
        running = self.end()
        await self.until(lambda: running.called or len(self.listing.seen) >= requests)
        if running.called:
            await running
            return False
        running.cancel()
        with self.assertRaises(CancelledError):
            await running
        return True
