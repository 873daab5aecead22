"""How many wrong passwords may reach ejabberd."""

from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.support import now
from warmside.store.accepted import AcceptedPasswords
from warmside.store.sqlite import SQLiteFailureCounters
from warmside.throttle.accounts import PROGRESS_TIMEOUT
from warmside.throttle.limits import (
    ACCOUNT_LIMIT,
    EJABBERD_ADMINS_LIMIT,
    EJABBERD_LIMIT,
    AttemptsInProgress,
    BudgetSpent,
    Kind,
    TooManyFailures,
)
from warmside.throttle.throttle import Attempt, Throttle

BANNED_AT = 20
"""mod_fail2ban's default."""
MAX_PER_ACCOUNT, MAX_IN_ALL = ACCOUNT_LIMIT.max_failures, EJABBERD_LIMIT.max_failures
MAX_OF_ADMINS = EJABBERD_ADMINS_LIMIT.max_failures


class Ejabberd:
    """An ejabberd that counts as mod_fail2ban does, failures in a row, behind the throttle of one process."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.counters = SQLiteFailureCounters(None, self.clock.seconds)
        self.accepted = AcceptedPasswords(None, clock=self.clock.seconds)
        self.failures = 0
        self.most_failures = 0
        self.last_failure = 0.0
        self.checks = 0
        self.begun: list[Any] = []
        self.restart()

    def restart(self) -> None:
        """Replace the throttle by another process's."""
        self.throttle = Throttle(self.clock, self.counters, self.accepted)

    def begin(self, name: str, password: str = "wrong", address: str | None = None) -> None:
        """Begin an attempt that does not end."""
        attempt = Attempt(Kind.USER, f"{name}@example.org", password.encode(), address)
        context = self.throttle.attempt(attempt)
        now(context.__aenter__())
        self.begun.append(context)

    def end(self, outcome: str, name: str, kind: Kind = Kind.USER, password: str = "wrong", address: str = "") -> None:
        """Make a whole attempt with an outcome; with none if it is empty."""

        async def attempt() -> None:
            given = Attempt(kind, f"{name}@example.org", password.encode(), address or None)
            async with self.throttle.attempt(given) as verdict:
                if outcome:
                    await getattr(verdict, outcome)()

        now(attempt())

    def log_in(self, name: str, password: str = "wrong", address: str = "") -> bool:
        """Make an attempt. Return True if the password was checked."""
        correct = password == "right"
        try:
            self.end("accepted" if correct else "rejected", name, password=password, address=address)
        except TooManyFailures as error:
            return not 1 <= error.retry_after <= EJABBERD_LIMIT.window
        self.checks += 1
        if correct:
            self.failures = 0
            return True
        if self.clock.seconds() - self.last_failure >= EJABBERD_LIMIT.window:
            self.failures = 0
        self.last_failure = self.clock.seconds()
        self.failures += 1
        self.most_failures = max(self.failures, self.most_failures)
        return True


@pytest.fixture
def ejabberd() -> Ejabberd:
    return Ejabberd()


def test_failures_of_one_account_are_limited(ejabberd: Ejabberd) -> None:
    checked = [ejabberd.log_in("juliet") for _ in range(MAX_PER_ACCOUNT + 2)]
    assert checked == [True] * MAX_PER_ACCOUNT + [False] * 2
    assert ejabberd.log_in("romeo")
    ejabberd.clock.advance(ACCOUNT_LIMIT.window)
    assert ejabberd.log_in("juliet")


def test_failures_in_all_stay_below_a_ban(ejabberd: Ejabberd) -> None:
    for number in range(100):
        ejabberd.log_in(f"user{number}")
        ejabberd.clock.advance(60)
    assert ejabberd.most_failures == MAX_IN_ALL < BANNED_AT


def test_failures_in_overlapping_windows_stay_below_a_ban(ejabberd: Ejabberd) -> None:
    checked = 0
    for number in range(200):
        checked += ejabberd.log_in(f"user{number}")
        ejabberd.clock.advance(EJABBERD_LIMIT.window * 0.9)
    assert ejabberd.most_failures == MAX_IN_ALL < BANNED_AT
    assert checked > 2 * MAX_IN_ALL


def test_simultaneous_attempts_do_not_exceed_a_limit(ejabberd: Ejabberd) -> None:
    for number in range(50):
        try:
            ejabberd.begin(f"user{number}")
        except TooManyFailures:
            pass
    assert len(ejabberd.begun) == MAX_IN_ALL


def test_success_resets_the_failures_in_all_as_it_does_in_ejabberd(ejabberd: Ejabberd) -> None:
    for number in range(MAX_IN_ALL):
        assert ejabberd.log_in(f"user{number}")
    assert not ejabberd.log_in("another")
    ejabberd.end("accepted", "someone", Kind.ONE_TIME)
    assert ejabberd.log_in("another")


def test_accepted_password_always_passes_until_it_is_rejected(ejabberd: Ejabberd) -> None:
    assert ejabberd.log_in("juliet", "right")
    for number in range(MAX_IN_ALL):
        ejabberd.log_in(f"user{number}")
    assert not ejabberd.log_in("romeo", "right")
    assert ejabberd.log_in("juliet", "right")
    for number in range(MAX_IN_ALL):
        ejabberd.log_in(f"other{number}")
    ejabberd.end("rejected", "juliet", password="right")
    assert not ejabberd.log_in("juliet", "right")


def test_password_that_one_process_accepted_passes_in_all(ejabberd: Ejabberd) -> None:
    assert ejabberd.log_in("juliet", "right")
    ejabberd.restart()
    for number in range(MAX_IN_ALL):
        ejabberd.log_in(f"user{number}")
    assert not ejabberd.log_in("juliet", "another")
    assert ejabberd.log_in("juliet", "right")


def test_store_of_the_counters_has_no_digest_of_a_password(ejabberd: Ejabberd) -> None:
    """``passwords.store`` may be a file on a disk."""
    assert ejabberd.log_in("juliet", "right")
    assert ejabberd.counters._database.execute("SELECT * FROM counts WHERE count > 0").fetchall() == []


def test_address_that_is_passed_on_has_a_limit_of_its_own(ejabberd: Ejabberd) -> None:
    for number in range(MAX_IN_ALL):
        assert ejabberd.log_in(f"user{number}", address="192.0.2.1")
    assert ejabberd.log_in("juliet", "right", address="192.0.2.2") is False
    ejabberd.end("accepted", "someone", Kind.ONE_TIME, address="192.0.2.2")
    assert ejabberd.log_in("juliet", "right", address="192.0.2.2")
    assert not ejabberd.log_in("juliet", "wrong", address="192.0.2.1")


def test_password_that_another_process_accepted_passes_once_if_it_is_wrong_now(ejabberd: Ejabberd) -> None:
    assert ejabberd.log_in("juliet", "right")
    ejabberd.restart()
    for number in range(MAX_IN_ALL):
        ejabberd.log_in(f"user{number}")
    checked = 0
    for _ in range(10):
        try:
            ejabberd.end("rejected", "juliet", password="right")
        except TooManyFailures:
            continue
        checked += 1
    assert checked == 1


def test_admins_name_does_not_lock_out_the_user_of_this_name(ejabberd: Ejabberd) -> None:
    for _ in range(MAX_PER_ACCOUNT):
        ejabberd.end("rejected", "juliet", Kind.ADMIN_JID)
    assert ejabberd.log_in("juliet")


def test_success_with_an_address_does_not_reset_the_failures_of_warmsides_own(ejabberd: Ejabberd) -> None:
    """ejabberd may trust the address, or not."""
    for number in range(MAX_IN_ALL):
        assert ejabberd.log_in(f"user{number}")
    ejabberd.end("accepted", "someone", Kind.ONE_TIME, address="192.0.2.1")
    assert not ejabberd.log_in("another")
    ejabberd.end("accepted", "someone", Kind.ONE_TIME)
    assert ejabberd.log_in("another")


def test_rejected_one_time_password_is_counted_and_never_limited(ejabberd: Ejabberd) -> None:
    for number in range(MAX_IN_ALL + 5):
        ejabberd.end("rejected", f"user{number}", Kind.ONE_TIME)
    assert not ejabberd.log_in("juliet")


def test_password_that_reached_no_server_is_not_counted(ejabberd: Ejabberd) -> None:
    for _ in range(50):
        ejabberd.end("", "juliet", address="192.0.2.1")
    assert ejabberd.log_in("juliet")


def test_password_with_an_unknown_result_stays_counted(ejabberd: Ejabberd) -> None:
    async def attempt() -> None:
        async with ejabberd.throttle.attempt(Attempt(Kind.USER, "juliet@example.org", b"x")) as verdict:
            verdict.unknown()

    for _ in range(MAX_PER_ACCOUNT):
        now(attempt())
    assert not ejabberd.log_in("juliet")


def test_admins_name_is_limited_like_an_account(ejabberd: Ejabberd) -> None:
    for _ in range(MAX_PER_ACCOUNT):
        ejabberd.end("rejected", "nobody", Kind.ADMIN_JID)
    with pytest.raises(TooManyFailures):
        ejabberd.end("rejected", "nobody", Kind.ADMIN_JID)
    assert ejabberd.checks == 0 and ejabberd.log_in("juliet")
    for number in range(MAX_OF_ADMINS):
        ejabberd.end("rejected", f"admin{number}", Kind.ACCOUNT_ADMIN)
    with pytest.raises(TooManyFailures):
        ejabberd.end("rejected", "somebody", Kind.ADMIN_JID)


def test_guesses_at_account_admins_use_up_a_budget_of_their_own(ejabberd: Ejabberd) -> None:
    spent: list[bool] = []
    ejabberd.throttle.on_admins_budget_spent = lambda: spent.append(True)
    for number in range(MAX_OF_ADMINS):
        ejabberd.end("rejected", f"admin{number}", Kind.ACCOUNT_ADMIN)
    assert not spent
    with pytest.raises(BudgetSpent):
        ejabberd.end("rejected", "boss", Kind.ACCOUNT_ADMIN)
    assert spent == [True]
    assert all(ejabberd.log_in(f"user{number}") for number in range(MAX_IN_ALL))
    with pytest.raises(TooManyFailures):
        ejabberd.end("rejected", "juliet")
    assert spent == [True]


def probes(ejabberd: Ejabberd, kind: Kind, outcome: str = "rejected") -> int:
    """Return how many of many probes reach ejabberd."""
    reached = 0
    for number in range(50):
        try:
            ejabberd.end(outcome, f"probe{number}", kind)
        except TooManyFailures:
            break
        reached += 1
    return reached


def test_probes_stay_below_a_ban_also_beside_guesses(ejabberd: Ejabberd) -> None:
    for number in range(MAX_IN_ALL + 5):
        ejabberd.log_in(f"user{number}")
    assert 0 < probes(ejabberd, Kind.PROBE) < BANNED_AT - MAX_IN_ALL
    assert probes(ejabberd, Kind.PROBE) == 0
    ejabberd.clock.advance(EJABBERD_LIMIT.window)
    assert 0 < probes(ejabberd, Kind.PROBE) < BANNED_AT


def test_repeated_probes_leave_failures_to_users(ejabberd: Ejabberd) -> None:
    assert 0 < probes(ejabberd, Kind.REPEATED_PROBE) <= MAX_IN_ALL / 2
    assert ejabberd.log_in("juliet")
    ejabberd.end("accepted", "probe", Kind.PROBE)
    assert probes(ejabberd, Kind.REPEATED_PROBE) > 0


def test_probes_with_an_unknown_result_are_not_counted(ejabberd: Ejabberd) -> None:
    async def attempt() -> None:
        async with ejabberd.throttle.attempt(Attempt(Kind.PROBE, "juliet@example.org")) as verdict:
            verdict.unknown()

    for _ in range(50):
        now(attempt())


@pytest.mark.parametrize("kind", [Kind.USER, Kind.ONE_TIME, Kind.RESTORING, Kind.ACCOUNT_ADMIN])
def test_any_success_resets_the_failures_of_users_and_of_account_admins(ejabberd: Ejabberd, kind: Kind) -> None:
    if kind is Kind.ACCOUNT_ADMIN:  # one that passes although the budget is used up
        ejabberd.end("accepted", "chief", kind, "right")
    for number in range(MAX_OF_ADMINS):
        ejabberd.end("rejected", f"admin{number}", Kind.ACCOUNT_ADMIN)
    for number in range(MAX_IN_ALL - 1):
        ejabberd.log_in(f"user{number}")
    ejabberd.end("accepted", "chief", kind, "right")
    ejabberd.end("rejected", "boss", Kind.ACCOUNT_ADMIN)
    assert all(ejabberd.log_in(f"other{number}") for number in range(MAX_IN_ALL))


def test_all_budgets_and_the_rejections_of_the_probe_stay_below_a_ban(ejabberd: Ejabberd) -> None:
    probe = 3  # a probe is rejected twice after its success, and the restoring login once in an hour
    assert MAX_IN_ALL + MAX_OF_ADMINS + probe < BANNED_AT


def test_success_does_not_reset_the_attempts_in_progress(ejabberd: Ejabberd) -> None:
    """They may still fail, and ejabberd counts these failures after the success."""
    for number in range(MAX_IN_ALL):
        ejabberd.begin(f"user{number}")
    ejabberd.end("accepted", "someone", Kind.ONE_TIME)
    assert not ejabberd.log_in("another")
    now(ejabberd.begun[0].__aexit__(None, None, None))
    assert ejabberd.log_in("another")


def test_attempts_in_progress_of_a_killed_process_are_forgotten(ejabberd: Ejabberd) -> None:
    for number in range(MAX_IN_ALL):
        ejabberd.begin(f"user{number}")
    ejabberd.restart()
    with pytest.raises(AttemptsInProgress):
        ejabberd.end("rejected", "another")
    ejabberd.clock.advance(PROGRESS_TIMEOUT)
    assert ejabberd.log_in("another")


def test_restoring_login_is_rejected_once_in_an_hour(ejabberd: Ejabberd) -> None:
    for _ in range(3):
        ejabberd.end("accepted", "probe", Kind.RESTORING)
    ejabberd.end("rejected", "probe", Kind.RESTORING)
    with pytest.raises(TooManyFailures):
        ejabberd.end("rejected", "probe", Kind.RESTORING)
    ejabberd.clock.advance(3600)
    ejabberd.end("rejected", "probe", Kind.RESTORING)
