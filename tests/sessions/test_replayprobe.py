"""The replay probe: against a fake connection manager, and with a clock and a fake authentication."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.sessions.fakemanager import NOT_AUTHORIZED, SUCCESS, Warming, run
from tests.support import logging, now
from warmside.bosh.errors import NotAuthenticated, Refused, TimedOut, Unreachable
from warmside.jids import JID, prepare
from warmside.otp import OneTimePassword
from warmside.sessions.model import WarmRequest
from warmside.sessions.passwords import OneTimePasswords
from warmside.sessions.replayprobe import LEASE_TIME, MAX_BACK_OFF, MIN_BACK_OFF, VERDICT_TIME, ReplayProbe
from warmside.sessions.verdicts import OneTimeRefused, UnsafeHost
from warmside.store.interface import HostState, RevocationStatus
from warmside.store.sqlite import SQLiteStore
from warmside.store.verdicts import SQLiteVerdicts
from warmside.throttle.limits import Kind, TooManyFailures

HOST = "example.org"
LOGINS = 3
"""Logins of one probe of a safe host."""


class TestReplayProbe(Warming):
    @run
    async def test_host_is_probed_once_by_three_logins_that_leave_nothing(self) -> None:
        await self.warmer.probe.ensure_safe(HOST)
        self.assertEqual(self.fake.seen.count("create"), LOGINS)
        self.assertEqual(self.fake.alive, {})
        self.nothing_left()
        self.fake.seen.clear()
        await self.warm()
        await self.warm()
        self.assertEqual(self.fake.seen.count("create"), 2)

    @run
    async def test_simultaneous_callers_share_one_probe(self) -> None:
        sessions = [self.warmer.warm(WarmRequest(prepare("a@example.org"))) for _ in range(5)]
        for session in sessions:
            await session
        self.assertEqual(self.fake.seen.count("create"), LOGINS + 5)

    @run
    async def test_server_that_accepts_used_passwords_gets_nothing_until_it_is_fixed(self) -> None:
        self.fake.caching = True
        for _ in range(2):
            error = await self.failure(UnsafeHost)
            self.assertEqual((error.host, error.state), (HOST, HostState.CACHING))
        self.assertEqual(self.fake.seen.count("create"), LOGINS)
        self.assertEqual(self.fake.alive, {})
        self.fake.caching = False
        self.warmer.probe.forget()
        await self.warm()

    @run
    async def test_kill_between_redeeming_and_answering_begins_no_back_off(self) -> None:
        for lost in (1, 2):
            self.warmer.probe.forget()
            self.fake.seen.clear()
            results = self.fake._sasl_result
            kills = [NOT_AUTHORIZED] * lost

            def killed(bare: str, password: str, results: Any = results, kills: list[str] = kills) -> str:
                result: str = results(bare, password)
                return kills.pop() if kills else result

            self.fake._sasl_result = killed  # type: ignore[method-assign]
            if lost == 1:
                await self.warmer.probe.ensure_safe(HOST)
                self.assertEqual(self.fake.seen.count("create"), LOGINS + 1)
            else:
                with self.assertRaises(OneTimeRefused):
                    await self.warmer.probe.ensure_safe(HOST)
                self.assertEqual(self.fake.seen.count("create"), 2)

    @run
    async def test_own_password_needs_no_probe_and_nothing_is_minted_for_it(self) -> None:
        self.fake._sasl_result = (  # type: ignore[method-assign]
            lambda bare, password: SUCCESS if password == "county" else NOT_AUTHORIZED
        )
        minted: list[str] = []
        self.store.mint = minted.append  # type: ignore[method-assign,assignment]
        await self.warm(password="county")
        with self.assertRaises(Refused):
            await self.warm(password="wrong")
        self.assertEqual((self.fake.seen.count("create"), minted), (2, []))

    @run
    async def test_server_that_accepts_any_password_gets_nothing(self) -> None:
        redeem = self.fake._sasl_result
        self.fake._sasl_result = lambda bare, password: redeem(bare, password) and SUCCESS  # type: ignore[method-assign]
        error = await self.failure(UnsafeHost)
        self.assertEqual(error.state, HostState.ANONYMOUS)
        self.assertIn("anonymous", str(error))

    @run
    async def test_server_that_does_not_check_with_warmside_gets_one_login_for_all_calls(self) -> None:
        self.fake._sasl_result = lambda bare, password: NOT_AUTHORIZED  # type: ignore[method-assign]
        for _ in range(30):
            error = await self.failure(OneTimeRefused, "authentication")
            self.assertEqual(error.revocation, RevocationStatus.UNASKED)
        self.assertEqual(self.fake.seen.count("create"), 1)

    @run
    async def test_warm_login_that_ejabberd_does_not_ask_about_drops_the_verdict(self) -> None:
        await self.probed()
        self.fake._sasl_result = lambda bare, password: NOT_AUTHORIZED  # type: ignore[method-assign]
        await self.failure(OneTimeRefused)
        self.assertIsNone(self.verdicts.get(HOST))

    @run
    async def test_request_with_a_password_of_its_own_is_not_preceded_by_a_probe(self) -> None:
        self.fake._sasl_result = lambda bare, password: SUCCESS  # type: ignore[method-assign]
        await self.warm(password="capulet")
        self.assertEqual(self.fake.seen.count("create"), 1)


class Ejabberd:
    """An ejabberd without a network, which several processes' probes log in to.

    :ivar logins: kind and host of each login.
    :ivar asks: False if it rejects every one-time password without asking.
    :ivar caching: True if used passwords are accepted.
    :ivar anonymous: True if every password is accepted.
    :ivar error: the error of each login.
    :ivar pending: a list collects the logins, to be continued by the test; ``None`` continues them at once.
    """

    def __init__(self, store: SQLiteStore) -> None:
        self._store = store
        self._accepted: set[str] = set()
        self.logins: list[tuple[Kind, str]] = []
        self.asks = True
        self.caching = self.anonymous = False
        self.error: Exception | None = None
        self.pending: list[Deferred[None]] | None = None

    async def authenticate(self, jid: JID, password: OneTimePassword, kind: Kind) -> None:
        self.logins.append((kind, jid.host))
        if self.pending is not None:
            self.pending.append(Deferred())
            await self.pending[-1]
        if self.error is not None:
            raise self.error
        if self.asks and self._store.redeem(jid.userhost(), password.text.encode()):
            self._accepted.add(password.text)
        elif not self.anonymous and not (self.caching and password.text in self._accepted):
            error = Refused("the server rejected the password", "not-authorized")
            error.step = "authentication"
            raise OneTimeRefused(error, await self._store.revoke(password))

    def proceed(self) -> None:
        """Continue the login that waits."""
        assert self.pending
        self.pending.pop(0).callback(None)


class World:
    """Two processes of one machine with one clock, one store and one ejabberd."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.path = path
        self.store = SQLiteStore(path, self.clock.seconds)
        self.ejabberd = Ejabberd(self.store)
        self.verdicts: list[SQLiteVerdicts] = []
        self.first, self.second = self.start(), self.start()

    def start(self) -> ReplayProbe:
        """Start a process."""
        self.verdicts.append(SQLiteVerdicts(self.path, self.clock.seconds))
        passwords = OneTimePasswords(self.store, 30)
        probe = ReplayProbe(self.clock, self.verdicts[-1], passwords, self.ejabberd.authenticate)
        probe.start()
        return probe

    def logins_of(self, call: Callable[[], object]) -> int:
        """Return how many logins a call makes."""
        before = len(self.ejabberd.logins)
        call()
        return len(self.ejabberd.logins) - before

    def wait(self, seconds: float) -> None:
        """Let time go by in steps of a second."""
        self.clock.pump([1.0] * int(seconds))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "x.sqlite")


def safe(probe: ReplayProbe, host: str = HOST) -> None:
    """Expect a host to be safe, without waiting."""
    now(probe.ensure_safe(host))


def error_of(probe: ReplayProbe, kind: type[Exception]) -> Any:
    """Return the error of a probe, which comes without waiting."""
    with pytest.raises(kind) as caught:
        safe(probe)
    return caught.value


def test_a_host_in_use_is_renewed_in_the_background_and_no_call_waits_for_it(world: World) -> None:
    safe(world.first)
    for _ in range(600):
        world.clock.advance(1)
        for probe in (world.first, world.second):
            assert world.logins_of(lambda probe=probe: safe(probe)) == 0  # type: ignore[misc]
    probes = len(world.ejabberd.logins) / LOGINS
    assert 600 / VERDICT_TIME <= probes - 1 <= 600 / (0.75 * VERDICT_TIME)


def test_an_idle_host_is_not_probed(world: World) -> None:
    safe(world.first)
    safe(world.second)
    assert world.logins_of(lambda: world.wait(10 * VERDICT_TIME)) <= 2 * LOGINS, "used since the probe: renewed once"
    assert world.logins_of(lambda: world.wait(10 * VERDICT_TIME)) == 0


def test_a_verdict_is_valid_for_its_time_from_the_start_of_the_probe(world: World) -> None:
    world.ejabberd.pending = []
    probing = world.first.ensure_safe(HOST)
    for _ in range(LOGINS):
        world.clock.advance(1)
        world.ejabberd.proceed()
    now(probing)
    world.first.close()
    world.second.close()
    world.ejabberd.pending = None
    world.clock.advance(VERDICT_TIME - LOGINS - 0.1)
    assert world.logins_of(lambda: safe(world.second)) == 0
    world.clock.advance(0.1)
    assert world.logins_of(lambda: safe(world.second)) == LOGINS


@pytest.mark.parametrize(("fault", "cause"), [("caching", "auth_use_cache: false"), ("anonymous", "anonymous logins")])
def test_a_host_that_becomes_unsafe_is_found_and_served_again_once_it_is_fixed(
    world: World, fault: str, cause: str
) -> None:
    safe(world.first)
    setattr(world.ejabberd, fault, True)
    with logging() as logged:
        world.wait(VERDICT_TIME)
    assert any(cause in line and "critical" in line for line in logged)
    assert world.verdicts[1].unsafe() == [HOST]
    assert world.logins_of(lambda: [error_of(world.second, UnsafeHost) for _ in range(50)]) == 0
    assert cause in str(error_of(world.first, UnsafeHost))
    setattr(world.ejabberd, fault, False)
    world.wait(VERDICT_TIME)
    assert world.verdicts[1].unsafe() == []
    safe(world.second)


def test_an_unsafe_host_is_served_again_although_the_process_that_found_it_has_ended(world: World) -> None:
    world.ejabberd.caching = True
    error_of(world.first, UnsafeHost)
    world.first.close()
    world.ejabberd.caching = False
    world.wait(VERDICT_TIME)
    assert world.logins_of(lambda: safe(world.second)) == 0


def test_forget_drops_the_verdict_for_all_processes(world: World) -> None:
    safe(world.first)
    world.second.forget()
    assert world.logins_of(lambda: safe(world.first)) == LOGINS


def test_one_process_probes_and_the_other_waits_for_the_verdict(world: World) -> None:
    world.ejabberd.pending = []
    calls = [probe.ensure_safe(HOST) for probe in (world.first, world.second) for _ in range(3)]
    for _ in range(LOGINS):
        world.ejabberd.proceed()
    world.clock.advance(0.1)
    for call in calls:
        now(call)
    assert len(world.ejabberd.logins) == LOGINS


def test_a_process_that_dies_in_a_probe_holds_the_others_up_for_a_bounded_time(world: World) -> None:
    world.ejabberd.pending = []
    world.first.ensure_safe(HOST)
    world.ejabberd.pending = None
    waiting = world.second.ensure_safe(HOST)
    world.wait(LEASE_TIME + 1)
    now(waiting)


def test_a_drop_during_a_probe_voids_its_result(world: World) -> None:
    world.ejabberd.pending = []
    waiting = world.first.ensure_safe(HOST)
    for _ in range(2):
        world.ejabberd.proceed()
    world.second.forget()
    world.ejabberd.caching = True
    world.ejabberd.proceed()
    assert not waiting.called
    for _ in range(LOGINS):
        world.ejabberd.proceed()
    with pytest.raises(UnsafeHost):
        now(waiting)


def test_a_host_that_does_not_ask_costs_one_login_for_each_back_off(world: World) -> None:
    world.ejabberd.asks = False
    back_offs = []
    for _ in range(6):
        since = world.clock.seconds()
        while world.logins_of(lambda: error_of(random.choice((world.first, world.second)), OneTimeRefused)) == 0:
            world.clock.advance(1)
        back_offs.append(world.clock.seconds() - since)
    assert back_offs == [0, MIN_BACK_OFF, 60, 120, 240, MAX_BACK_OFF]
    assert [kind for kind, _ in world.ejabberd.logins] == [Kind.PROBE] + [Kind.REPEATED_PROBE] * 5


def test_an_error_in_a_back_off_has_the_facts_of_the_first_one(world: World) -> None:
    world.ejabberd.asks = False
    first, second = error_of(world.first, OneTimeRefused), error_of(world.second, OneTimeRefused)
    assert first.revocation is second.revocation is RevocationStatus.UNASKED
    assert first.step == second.step == "authentication"
    assert first.condition == second.condition == "not-authorized"
    assert str(first) == str(second)


def test_an_error_other_than_the_password_backs_off_as_well(world: World) -> None:
    world.ejabberd.error = NotAuthenticated("the server did not authenticate the user", "temporary-auth-failure")
    assert world.logins_of(lambda: [error_of(world.first, NotAuthenticated) for _ in range(3)]) == 1
    assert world.logins_of(lambda: error_of(world.second, NotAuthenticated)) == 0
    assert error_of(world.second, NotAuthenticated).condition == "temporary-auth-failure"
    world.clock.advance(MIN_BACK_OFF)
    assert world.logins_of(lambda: error_of(world.second, NotAuthenticated)) == 1


def test_a_rejection_that_is_not_about_the_password_backs_off_as_well(world: World) -> None:
    world.ejabberd.error = Refused("the server rejected the password", "account-disabled")
    first, second = error_of(world.first, Refused), error_of(world.second, Refused)
    assert not isinstance(first, OneTimeRefused) and not isinstance(second, OneTimeRefused)
    assert first.condition == second.condition == "account-disabled"
    assert len(world.ejabberd.logins) == 1


@pytest.mark.parametrize("end", ["asked", "forget"])
def test_a_back_off_ends_by_a_request_of_ejabberd_and_by_forget_also_in_another_process(world: World, end: str) -> None:
    world.ejabberd.asks = False
    error_of(world.first, OneTimeRefused)
    world.ejabberd.asks = True
    if end == "asked":
        world.second.asked("other.example")
        error_of(world.first, OneTimeRefused)
        world.second.asked(HOST)
    else:
        world.second.forget()
    safe(world.first)


def test_logins_that_fail_late_do_not_end_a_back_off(world: World) -> None:
    world.ejabberd.asks = False
    error_of(world.first, OneTimeRefused)
    world.second.drop(HOST)
    assert world.logins_of(lambda: error_of(world.first, OneTimeRefused)) == 0


def test_the_error_of_a_back_off_goes_on_while_no_more_failures_are_allowed(world: World) -> None:
    world.ejabberd.asks = False
    error_of(world.first, OneTimeRefused)
    world.ejabberd.error = TooManyFailures(3600)
    for _ in range(3):
        world.clock.advance(MIN_BACK_OFF)
        assert error_of(world.first, OneTimeRefused).revocation is RevocationStatus.UNASKED
    world.first.asked(HOST)
    error_of(world.first, TooManyFailures)


@pytest.mark.parametrize("error", [Unreachable("refused"), TimedOut("too slow")])
def test_an_ejabberd_that_is_away_is_tried_each_second_and_served_once_it_is_back(
    world: World, error: Exception
) -> None:
    world.ejabberd.error = error
    assert world.logins_of(lambda: [error_of(world.first, type(error)) for _ in range(30)]) == 1
    world.clock.advance(1)
    assert world.logins_of(lambda: [error_of(world.first, type(error)) for _ in range(30)]) == 1
    world.ejabberd.error = None
    world.clock.advance(1)
    safe(world.first)


def test_a_renewal_that_fails_leaves_the_verdict_until_its_end(world: World) -> None:
    safe(world.first)
    world.ejabberd.error = Unreachable("refused")
    with logging() as logged:
        world.wait(VERDICT_TIME - 1)
    assert any("could not be renewed" in line for line in logged)
    safe(world.first)
    world.wait(2)
    error_of(world.first, Unreachable)
    world.ejabberd.error = None
    world.wait(VERDICT_TIME)
    safe(world.first)


def test_a_renewal_that_ejabberd_rejects_is_seen_at_once(world: World) -> None:
    safe(world.first)
    world.ejabberd.asks = False
    world.wait(VERDICT_TIME - 1)
    error_of(world.second, OneTimeRefused)


def test_a_broken_store_is_reported_and_the_checks_for_renewals_go_on(world: World) -> None:
    safe(world.first)
    world.verdicts[0].close()
    with logging() as logged:
        world.wait(VERDICT_TIME)
        world.first.forget()
    assert len([line for line in logged if "could not be renewed" in line]) > 1
    assert any("could not be changed" in line for line in logged)
    assert isinstance(world.first.ensure_safe(HOST).addErrback(lambda it: it).result, Failure)


def test_a_slow_probe_keeps_its_lease_from_login_to_login(world: World) -> None:
    world.ejabberd.pending = []
    calls = [world.first.ensure_safe(HOST), world.second.ensure_safe(HOST)]
    for _ in range(LOGINS):
        world.wait(LEASE_TIME - 1)
        world.ejabberd.proceed()
    world.clock.advance(0.1)
    for call in calls:
        now(call)
    assert len(world.ejabberd.logins) == LOGINS
