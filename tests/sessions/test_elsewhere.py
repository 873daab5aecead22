"""A login that has reached the ejabberd of another machine."""

from pathlib import Path

import pytest
from twisted.internet.task import Clock

from tests.sessions.fakemanager import NOT_AUTHORIZED, Warming, run
from tests.sessions.test_replayprobe import HOST, LOGINS, Ejabberd
from tests.support import now
from warmside.bosh.errors import Busy, Refused
from warmside.jids import JID
from warmside.otp import OneTimePassword
from warmside.sessions.passwords import OneTimePasswords
from warmside.sessions.replayprobe import ReplayProbe
from warmside.sessions.verdicts import OneTimeRefused
from warmside.store.interface import RevocationStatus
from warmside.store.sqlite import SQLiteStore
from warmside.store.verdicts import SQLiteVerdicts
from warmside.throttle.limits import Kind


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


class Balanced(Ejabberd):
    """The ejabberd of this machine behind a balancer: each second login reaches that of another machine."""

    async def authenticate(self, jid: JID, password: OneTimePassword, kind: Kind) -> None:
        if len(self.logins) % 2:
            self.logins.append((kind, jid.host))
            await self._store.revoke(password)
            raise OneTimeRefused(Refused("rejected", "not-authorized"), RevocationStatus.ELSEWHERE)
        await super().authenticate(jid, password, kind)


async def asked_elsewhere(minted: OneTimePassword) -> bool:
    """Return True: another machine was asked."""
    return True


@pytest.mark.parametrize("outcome", ["safe", "balancer", "busy"])
def test_the_probe_of_one_of_several_machines_logs_in_twice_at_once(tmp_path: Path, outcome: str) -> None:
    store, verdicts = SQLiteStore(tmp_path / "x.sqlite"), SQLiteVerdicts(tmp_path / "x.sqlite")
    ejabberd = Balanced(store) if outcome == "balancer" else Ejabberd(store)
    ejabberd.error = Busy("too many logins") if outcome == "busy" else None
    probe = ReplayProbe(Clock(), verdicts, OneTimePasswords(store, 30, asked_elsewhere), ejabberd.authenticate)
    if outcome == "safe":
        now(probe.ensure_safe(HOST))
        assert len(ejabberd.logins) == LOGINS + 1
    else:
        with pytest.raises((OneTimeRefused, Busy)) as raised:
            now(probe.ensure_safe(HOST))
        assert len(ejabberd.logins) == 2
        elsewhere = isinstance(raised.value, OneTimeRefused) and raised.value.revocation is RevocationStatus.ELSEWHERE
        assert elsewhere == (outcome == "balancer")
    with store._database as database:
        assert database.execute("SELECT count(*) FROM passwords").fetchone() == (0,)
    verdicts.close()
    now(store.close())
