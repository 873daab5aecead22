"""The replay probe against a fake connection manager."""

from unittest.mock import patch

from tests.sessions.fakemanager import NOT_AUTHORIZED, SUCCESS, Warming, run
from warmside.bosh import errors
from warmside.jids import prepare
from warmside.sessions.model import WarmRequest
from warmside.sessions.replayprobe import OneTimeRefused, UnsafeHost
from warmside.store.interface import RevocationStatus


class TestReplayProbe(Warming):
    @run
    async def test_host_is_probed_once_by_two_logins_that_leave_nothing(self) -> None:
        await self.warmer.probe.ensure_safe("example.org")
        self.assertEqual(self.fake.seen.count("create"), 2)
        self.assertEqual(self.fake.alive, {})
        self.fake.seen.clear()
        await self.warm()
        await self.warm()
        self.assertEqual(self.fake.seen.count("create"), 2)

    @run
    async def test_simultaneous_callers_share_one_probe(self) -> None:
        sessions = [self.warmer.warm(WarmRequest(prepare("a@example.org"))) for _ in range(5)]
        for session in sessions:
            await session
        self.assertEqual(self.fake.seen.count("create"), 2 + 5)

    @run
    async def test_host_is_probed_again_after_forget(self) -> None:
        await self.probed()
        self.warmer.probe.forget()
        await self.warmer.probe.ensure_safe("example.org")
        self.assertEqual(self.fake.seen.count("create"), 2)

    @run
    async def test_least_recently_used_host_is_probed_again(self) -> None:
        with patch("warmside.sessions.replayprobe.MAX_HOSTS", 2):
            self.make()
        for host in ("a.example", "b.example", "a.example", "c.example"):
            await self.warmer.probe.ensure_safe(host)
        self.fake.seen.clear()
        await self.warmer.probe.ensure_safe("a.example")
        self.assertEqual(self.fake.seen.count("create"), 0)
        await self.warmer.probe.ensure_safe("b.example")
        self.assertEqual(self.fake.seen.count("create"), 2)

    @run
    async def test_server_that_accepts_used_passwords_gets_nothing_until_it_is_fixed(self) -> None:
        self.fake.caching = True
        for _ in range(2):
            error = await self.failure(UnsafeHost)
            self.assertEqual(error.host, "example.org")
        self.assertEqual(self.fake.alive, {})
        self.fake.caching = False
        await self.warm()

    @run
    async def test_own_password_needs_no_probe_and_nothing_is_minted_for_it(self) -> None:
        self.fake._sasl_result = (  # type: ignore[method-assign]
            lambda bare, password: SUCCESS if password == "county" else NOT_AUTHORIZED
        )
        minted: list[str] = []
        self.store.mint = minted.append  # type: ignore[method-assign,assignment]
        await self.warm(password="county")
        with self.assertRaises(errors.Refused):
            await self.warm(password="wrong")
        self.assertEqual((self.fake.seen.count("create"), minted), (2, []))

    @run
    async def test_server_that_does_not_check_with_warmside_is_recognized(self) -> None:
        self.fake._sasl_result = lambda bare, password: NOT_AUTHORIZED  # type: ignore[method-assign]
        error = await self.failure(OneTimeRefused, "authentication")
        self.assertEqual(error.revocation, RevocationStatus.UNASKED)
