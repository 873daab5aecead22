"""A login that has reached the ejabberd of another machine."""

from tests.sessions.fakemanager import NOT_AUTHORIZED, Warming, run
from warmside.sessions.verdicts import OneTimeRefused
from warmside.store.interface import RevocationStatus


class TestElsewhere(Warming):
    @run
    async def test_rejection_by_the_server_of_another_machine_is_named(self) -> None:
        await self.probed()
        self.fake._sasl_result = lambda bare, password: NOT_AUTHORIZED  # type: ignore[method-assign]
        for elsewhere, expected in ((True, RevocationStatus.ELSEWHERE), (False, RevocationStatus.UNASKED)):

            async def asked_elsewhere(minted: object, result: bool = elsewhere) -> bool:
                return result

            self.warmer.logins._passwords._asked_elsewhere = asked_elsewhere
            self.warmer.probe.asked("example.org")
            error = await self.failure(OneTimeRefused, "authentication")
            self.assertEqual(error.revocation, expected)
            self.assertTrue(error.revocation.not_asked)
