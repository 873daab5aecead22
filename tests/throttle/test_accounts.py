"""How many wrong passwords may reach ejabberd."""

import pytest
from twisted.internet.task import Clock

from tests.support import now, work_at_once
from warmside.store.sqlite import SQLiteFailureCounters
from warmside.throttle.accounts import (
    MAX_IN_ALL,
    MAX_PER_JID,
    WINDOW_IN_ALL,
    WINDOW_PER_JID,
    AccountThrottle,
    TooManyFailures,
)
from warmside.throttle.verified import VerifiedPasswords

BANNED_AT = 20
"""mod_fail2ban's default."""


class Ejabberd:
    """Counts as mod_fail2ban does: failures in a row."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.counts = SQLiteFailureCounters(None, self.clock.seconds)
        self.gate = self.copy()
        self.failures = 0
        self.most_failures = 0
        self.last_failure = 0.0
        self.asked = 0

    def copy(self) -> AccountThrottle:
        """The gate of another process."""
        return AccountThrottle(self.counts, VerifiedPasswords(self.counts, b"user", work_at_once))

    def log_in(self, name: str, password: str = "wrong", address: str | None = None) -> bool:
        """An attempt; whether it was let through."""
        bare = f"{name}@example.org"
        try:
            now(self.gate.enter(bare, password, address))
        except TooManyFailures as error:
            return not 1 <= error.retry_after <= WINDOW_IN_ALL
        self.asked += 1
        if password == "right":
            self.failures = 0
            now(self.gate.accepted(bare, password, address))
        else:
            if self.clock.seconds() - self.last_failure >= WINDOW_IN_ALL:
                self.failures = 0
            self.last_failure = self.clock.seconds()
            self.failures += 1
            self.most_failures = max(self.failures, self.most_failures)
            now(self.gate.refused(bare, password, address))
        return True


@pytest.fixture
def ejabberd() -> Ejabberd:
    return Ejabberd()


def test_the_failures_of_one_jid_are_bounded(ejabberd: Ejabberd) -> None:
    assert [ejabberd.log_in("juliet") for _ in range(MAX_PER_JID + 2)] == [True] * MAX_PER_JID + [False] * 2
    assert ejabberd.log_in("romeo")
    ejabberd.clock.advance(WINDOW_PER_JID)
    assert ejabberd.log_in("juliet")


def test_failures_in_all_stay_below_what_bans(ejabberd: Ejabberd) -> None:
    for number in range(100):
        ejabberd.log_in(f"user{number}")
        ejabberd.clock.advance(60)
    assert ejabberd.most_failures == MAX_IN_ALL < BANNED_AT


def test_failures_whose_windows_overlap_never_add_up_to_a_ban(ejabberd: Ejabberd) -> None:
    let_through = 0
    for number in range(200):
        let_through += ejabberd.log_in(f"user{number}")
        ejabberd.clock.advance(WINDOW_IN_ALL * 0.9)
    assert ejabberd.most_failures == MAX_IN_ALL < BANNED_AT
    assert let_through > 2 * MAX_IN_ALL


def test_attempts_at_the_same_time_do_not_pass_together(ejabberd: Ejabberd) -> None:
    entered = 0
    for number in range(50):
        try:
            now(ejabberd.gate.enter(f"user{number}@example.org", "wrong", None))
            entered += 1
        except TooManyFailures:
            pass
    assert entered == MAX_IN_ALL


def test_ejabberd_counts_from_zero_after_a_success_and_so_does_this(ejabberd: Ejabberd) -> None:
    for number in range(MAX_IN_ALL):
        assert ejabberd.log_in(f"user{number}")
    assert not ejabberd.log_in("another")
    now(ejabberd.gate.accepted("someone@example.org", None, None))
    assert ejabberd.log_in("another")


def test_a_password_that_was_right_passes_always_until_it_is_wrong(ejabberd: Ejabberd) -> None:
    assert ejabberd.log_in("juliet", "right")
    for number in range(MAX_IN_ALL):
        ejabberd.log_in(f"user{number}")
    assert not ejabberd.log_in("romeo", "right")
    assert ejabberd.log_in("juliet", "right")
    for number in range(MAX_IN_ALL):
        ejabberd.log_in(f"other{number}")
    now(ejabberd.gate.enter("juliet@example.org", "right", None))
    now(ejabberd.gate.refused("juliet@example.org", "right", None))
    assert not ejabberd.log_in("juliet", "right")


def test_what_was_right_in_one_process_passes_in_all(ejabberd: Ejabberd) -> None:
    assert ejabberd.log_in("juliet", "right")
    ejabberd.gate = ejabberd.copy()
    for number in range(MAX_IN_ALL):
        ejabberd.log_in(f"user{number}")
    assert not ejabberd.log_in("juliet", "another") and ejabberd.log_in("juliet", "right")
    assert "right" not in str(ejabberd.counts._database.execute("SELECT substr(key, 7) FROM counts").fetchall())


def test_an_address_that_is_passed_on_is_counted_for_itself_too(ejabberd: Ejabberd) -> None:
    for number in range(MAX_IN_ALL):
        assert ejabberd.log_in(f"user{number}", address="192.0.2.1")
    assert ejabberd.log_in("juliet", "right", address="192.0.2.2") is False
    now(ejabberd.gate.accepted("someone@example.org", None, "192.0.2.2"))
    assert ejabberd.log_in("juliet", "right", address="192.0.2.2")
    assert not ejabberd.log_in("juliet", "wrong", address="192.0.2.1")


def test_a_password_that_another_process_took_for_right_passes_once_when_it_is_wrong_by_now(ejabberd: Ejabberd) -> None:
    assert ejabberd.log_in("juliet", "right")
    ejabberd.gate = ejabberd.copy()
    for number in range(MAX_IN_ALL):
        ejabberd.log_in(f"user{number}")
    let_through = 0
    for _ in range(10):
        try:
            now(ejabberd.gate.enter("juliet@example.org", "right", None))
        except TooManyFailures:
            continue
        let_through += 1
        now(ejabberd.gate.refused("juliet@example.org", "right", None))
    assert let_through == 1


def test_who_looks_like_an_account_does_not_lock_the_user_of_this_name_out(ejabberd: Ejabberd) -> None:
    for _ in range(MAX_PER_JID):
        now(ejabberd.gate.look("juliet@example.org"))
    assert ejabberd.log_in("juliet")


def test_logins_with_an_address_say_nothing_of_warmsides_own(ejabberd: Ejabberd) -> None:
    """ejabberd may believe the address, or not."""
    for number in range(MAX_IN_ALL):
        assert ejabberd.log_in(f"user{number}")
    now(ejabberd.gate.accepted("someone@example.org", None, "192.0.2.1"))
    assert not ejabberd.log_in("another")
    now(ejabberd.gate.accepted("someone@example.org", None, None))
    assert ejabberd.log_in("another")


def test_a_refused_one_time_password_counts_but_is_never_held_up(ejabberd: Ejabberd) -> None:
    for number in range(MAX_IN_ALL + 5):
        now(ejabberd.gate.refused(f"user{number}@example.org", None, None))
    assert not ejabberd.log_in("juliet")


def test_what_never_reached_ejabberd_is_not_counted(ejabberd: Ejabberd) -> None:
    for _ in range(50):
        now(ejabberd.gate.enter("juliet@example.org", "wrong", "192.0.2.1"))
        now(ejabberd.gate.never_asked("juliet@example.org", "192.0.2.1"))
    assert ejabberd.log_in("juliet")


def test_a_name_that_is_no_account_looks_like_one(ejabberd: Ejabberd) -> None:
    for _ in range(MAX_PER_JID):
        now(ejabberd.gate.look("nobody@example.org"))
    with pytest.raises(TooManyFailures):
        now(ejabberd.gate.look("nobody@example.org"))
    assert ejabberd.asked == 0 and ejabberd.log_in("juliet")
    for number in range(MAX_IN_ALL):
        ejabberd.log_in(f"user{number}")
    with pytest.raises(TooManyFailures):
        now(ejabberd.gate.look("somebody@example.org"))


def test_no_password_is_kept(ejabberd: Ejabberd) -> None:
    ejabberd.log_in("juliet", "right")
    assert b"right" not in b"".join(ejabberd.gate._right._here)
