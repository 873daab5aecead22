"""Calls that began before the end of a user's sessions hand nothing out."""

from typing import Any

from tests.sessions.fakemanager import NOT_AUTHORIZED, body, run
from tests.sessions.listing import Ending
from warmside.jids import prepare
from warmside.sessions.ended import EndedMeanwhile
from warmside.sessions.model import WarmRequest


class TestEndedMeanwhile(Ending):
    def mark_at(self, kind: str, jid: str = "juliet@example.org") -> None:
        """Mark a JID as ended when a request of a kind arrives."""

        def fault(seen: str, count: int) -> None:
            if seen == kind:
                self.ends._change("INSERT OR REPLACE INTO ends (jid, ended) VALUES (?, ?)", (jid, self.ends.now()))

        self.listing.fault = fault

    async def ended(self, request: WarmRequest) -> None:
        """Warm, and expect that nothing is handed out."""
        await self.probed()
        with self.assertRaises(EndedMeanwhile):
            await self.warmer.warm(request)
        await self.warmer.tasks.finish(10)
        self.nothing_left()
        self.assertEqual(self.listing.seen.count("create"), 1, "the login was repeated")

    @run
    async def test_session_that_is_bound_after_the_last_look_is_terminated(self) -> None:
        self.mark_at("bind")
        await self.ended(WarmRequest(prepare("juliet@example.org")))
        self.assertEqual(self.remembered, [], "a removed user is known again")
        self.assertEqual(self.listing.seen[-1], "terminate")

    @run
    async def test_end_during_the_preparation_of_the_handover_is_seen(self) -> None:
        self.mark_at("other")
        answer = self.listing._response

        def respond(kind: str, received: Any, sid: str) -> bytes:
            iqs = [each for each in received.elements if each.name == "iq"]
            if kind != "other" or not iqs:
                return answer(kind, received, sid)
            pong = f"<iq xmlns='jabber:client' type='result' id='{iqs[0]['id']}'/>"
            return answer("none", received, sid).replace(b"></body>", f">{pong}</body>".encode())

        self.listing._response = respond  # type: ignore[method-assign]
        await self.ended(WarmRequest(prepare("juliet@example.org"), available=True))

    @run
    async def test_own_password_is_no_exception(self) -> None:
        await self.probed()
        self.mark_at("bind")
        self.listing._sasl_result = lambda bare, password: "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"  # type: ignore[method-assign]
        await self.ended(WarmRequest(prepare("juliet@example.org"), "county"))

    @run
    async def test_full_jid_ends_the_login_that_binds_it_and_no_other(self) -> None:
        self.mark_at("bind", "juliet@example.org/a")
        await self.ended(WarmRequest(prepare("juliet@example.org/a")))
        session = await self.warmer.warm(WarmRequest(prepare("juliet@example.org/b")))
        self.assertEqual(session.jid, "juliet@example.org/b")

    @run
    async def test_login_whose_password_was_revoked_is_not_repeated(self) -> None:
        await self.probed()

        def refuse(bare: str, password: str) -> str:
            self.store._database.execute("DELETE FROM passwords")
            return NOT_AUTHORIZED

        self.listing._sasl_result = refuse  # type: ignore[method-assign]
        self.mark_at("create")
        await self.ended(WarmRequest(prepare("juliet@example.org")))

    @run
    async def test_login_whose_session_was_taken_over_is_no_fault_of_the_server(self) -> None:
        await self.probed()
        over = body(attributes="type='terminate' condition='item-not-found'")

        def fault(seen: str, count: int) -> bytes | None:
            return over if (seen, count) == ("bind", 1) else None

        began = self.ends.now()
        await self.ends.mark("juliet@example.org")
        self.listing.fault = fault
        with self.assertRaises(EndedMeanwhile):
            await self.warmer.warm(WarmRequest(prepare("juliet@example.org"), began=began))
        self.assertEqual(self.listing.seen.count("create"), 1, "the login was repeated")

    @run
    async def test_call_that_began_after_the_end_is_served(self) -> None:
        await self.end()
        self.assertEqual((await self.warm()).jid[:19], "juliet@example.org/")
        self.assertEqual(len(self.listing.own), 1)
        await self.warmer.mint(prepare("juliet@example.org"))

    @run
    async def test_password_that_was_requested_before_is_not_handed_out(self) -> None:
        await self.probed()
        began = self.ends.now()
        await self.end()
        with self.assertRaises(EndedMeanwhile):
            await self.warmer.mint(prepare("juliet@example.org"), began)
        self.assertEqual(self.remembered, [])
        mint = self.store.mint

        async def mint_and_end(bare: str, lifetime: float) -> Any:
            minted = await mint(bare, lifetime)
            await self.ends.mark(bare)
            return minted

        self.store.mint = mint_and_end  # type: ignore[method-assign]
        with self.assertRaises(EndedMeanwhile):
            await self.warmer.mint(prepare("juliet@example.org"))
        self.assertEqual(self.remembered, [], "a removed user is known again")
        self.nothing_left()
