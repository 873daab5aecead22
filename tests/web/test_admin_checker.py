"""Authentication of admins, and the limits on their failures."""

from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError

from tests.support import now
from tests.web.admins import HASH, MAX_CHECKS, MAX_FAILURES, REJECTION_TIME, WINDOW, Admins, Threads, hashed
from warmside.throttle.limits import TooManyFailures
from warmside.web.admins import ACCOUNT_TIMEOUT
from warmside.web.hashing import MAX_WAITING, Overloaded


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "admins"
    path.write_text(f"web:{HASH}\n")
    return path


@pytest.fixture
def admins(path: Path) -> Iterator[Admins]:
    """Admins of a file."""
    made = Admins(path, Threads())
    yield made
    made.bcrypt.close()


@pytest.fixture
def accounts() -> Iterator[Admins]:
    """Admins that are accounts of ejabberd."""
    made = Admins(None, Threads(), ("boss@example.org",))
    yield made
    made.bcrypt.close()


def test_accepted_password_is_hashed_once_and_remembered(admins: Admins) -> None:
    first = admins.authenticate("web", "secret")
    assert not first.called
    admins.threads.wait_for(1)
    assert now(first) == b"web"
    assert admins.outcome("web", "secret", work=0) == "web"
    assert admins.outcome("web", "Secret") == "UnauthorizedLogin"


def test_simultaneous_callers_with_the_same_password_share_one_check(admins: Admins) -> None:
    callers = [admins.authenticate("web", "secret") for _ in range(MAX_WAITING + 5)]
    admins.threads.wait_for(1)
    assert [now(each) for each in callers] == [b"web"] * len(callers)


def test_accepted_password_is_forgotten_when_the_hash_changes(path: Path, admins: Admins) -> None:
    assert admins.outcome("web", "secret") == "web"
    path.write_text(f"web:{hashed('another')}\n")
    assert admins.outcome("web", "secret") == "UnauthorizedLogin"


def test_no_password_is_kept(admins: Admins) -> None:
    assert admins.outcome("web", "secret") == "web"
    kept = b"".join(admins.throttle._verified[b"admin"]._accepted)
    assert kept and b"secret" not in kept


@pytest.mark.parametrize(("name", "password"), [("nobody", "secret"), ("web", "x" * 73), ("web", "")])
def test_unknown_name_is_hashed_like_a_known_one(
    admins: Admins, name: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[bytes] = []
    check = bcrypt.checkpw

    def counted(given: bytes, known: bytes) -> bool:
        computed.append(known)
        return check(given, known)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    assert admins.outcome(name, password) == "UnauthorizedLogin"
    assert computed == [HASH.encode()]


def test_rejection_takes_the_same_time_for_known_and_unknown_names(admins: Admins) -> None:
    for name in ("web", "nobody"):
        rejected = admins.authenticate(name, "wrong")
        admins.threads.wait_for(1)
        admins.clock.advance(REJECTION_TIME - 0.01)
        assert not rejected.called
        admins.clock.advance(0.01)
        with pytest.raises(UnauthorizedLogin):
            now(rejected)


def test_first_72_bytes_of_a_longer_password_are_not_enough(path: Path, admins: Admins) -> None:
    path.write_text(f"web:{hashed('x' * 72)}\n")
    assert admins.outcome("web", "x" * 73) == "UnauthorizedLogin"


def test_flood_is_limited_and_accepted_passwords_pass(admins: Admins) -> None:
    assert admins.outcome("web", "secret") == "web"
    flood = [admins.authenticate("web", f"wrong{number}") for number in range(MAX_WAITING + 1)]
    with pytest.raises(Overloaded):
        now(flood.pop())
    assert admins.outcome("web", "secret", work=0) == "web"
    admins.threads.wait_for(MAX_WAITING)
    admins.clock.advance(REJECTION_TIME)
    for rejected in flood:
        with pytest.raises((UnauthorizedLogin, TooManyFailures)):
            now(rejected)


def test_password_that_another_process_accepted_passes_through_a_flood(admins: Admins) -> None:
    assert admins.outcome("web", "secret") == "web"
    admins.restart()
    flood = [admins.authenticate("web", f"wrong{number}") for number in range(MAX_WAITING)]
    assert admins.outcome("web", "secret", work=0) == "web"
    admins.threads.wait_for(MAX_WAITING)
    admins.clock.advance(REJECTION_TIME)
    for rejected in flood:
        rejected.addErrback(lambda failure: failure.trap(UnauthorizedLogin, TooManyFailures))


def test_one_time_password_is_never_an_admins(path: Path, admins: Admins) -> None:
    path.write_text(f"web:{hashed('warmside-otp-x')}\n")
    assert admins.outcome("web", "warmside-otp-x") == "UnauthorizedLogin"


def test_address_with_too_many_failures_is_slowed_down_and_the_correct_password_passes(admins: Admins) -> None:
    outcomes = [admins.outcome("web", f"wrong{number}") for number in range(MAX_FAILURES + 2)]
    assert outcomes == ["UnauthorizedLogin"] * MAX_FAILURES + ["TooManyFailures"] * 2
    assert admins.outcome("web", "secret") == "web"
    assert admins.outcome("web", "secret", work=0) == "web"
    assert admins.outcome("web", "wrong", address="192.0.2.1") == "UnauthorizedLogin"
    admins.clock.advance(WINDOW)
    assert admins.outcome("web", "wrong") == "UnauthorizedLogin"


def test_slowed_address_has_few_checks_at_a_time_and_accepted_passwords_pass(admins: Admins) -> None:
    assert admins.outcome("web", "secret") == "web"
    for number in range(MAX_FAILURES):
        admins.outcome("web", f"wrong{number}")
    checks = [admins.authenticate("web", f"more{number}") for number in range(MAX_CHECKS)]
    with pytest.raises(TooManyFailures) as slowed:
        now(admins.authenticate("web", "one too many"))
    assert 1 <= slowed.value.retry_after <= WINDOW
    assert admins.outcome("web", "secret", work=0) == "web"
    admins.threads.wait_for(MAX_CHECKS)
    admins.clock.advance(REJECTION_TIME)
    for check in checks:
        with pytest.raises(TooManyFailures):
            now(check)


def test_failure_of_a_caller_that_disconnects_is_counted(admins: Admins) -> None:
    for number in range(MAX_FAILURES):
        caller = admins.authenticate("web", f"wrong{number}")
        caller.addErrback(lambda failure: failure.trap(CancelledError))
        caller.cancel()
        admins.threads.wait_for(1)
        admins.clock.advance(REJECTION_TIME)
    assert admins.outcome("web", "wrong") == "TooManyFailures"


def test_password_that_one_process_accepted_passes_in_all(admins: Admins) -> None:
    assert admins.outcome("web", "secret") == "web"
    admins.restart()
    checks = admins.slow_down()
    assert admins.outcome("web", "another", work=0) == "TooManyFailures"
    assert admins.outcome("web", "secret", work=0) == "web"
    admins.end(checks)


def test_accepted_account_is_checked_again_although_its_address_is_slowed_down(accounts: Admins) -> None:
    assert accounts.outcome("boss@example.org", "right", work=0) == "boss@example.org"
    checks = accounts.slow_down()
    accounts.clock.advance(ACCOUNT_TIMEOUT - 5)
    assert accounts.outcome("boss@example.org", "right", work=0) == "boss@example.org"
    assert accounts.outcome("boss@example.org", "another", work=0) == "TooManyFailures"
    assert accounts.checked == [("boss@example.org", "right")] * 2
    accounts.end(checks)


def test_name_in_the_file_may_have_the_form_of_a_jid(path: Path, admins: Admins) -> None:
    path.write_text(f"Bob@Example.org:{HASH}\n")
    assert admins.outcome("Bob@Example.org", "secret") == "Bob@Example.org"
    assert admins.outcome("bob@example.org", "secret") == "UnauthorizedLogin"
    assert admins.directory.knows("Bob@Example.org")


def test_account_is_checked_by_ejabberd_once_a_minute(accounts: Admins) -> None:
    assert accounts.outcome("Boss@Example.ORG", "right", work=0) == "boss@example.org"
    assert accounts.outcome("boss@example.org", "right", work=0) == "boss@example.org"
    assert accounts.checked == [("boss@example.org", "right")]
    accounts.clock.advance(ACCOUNT_TIMEOUT)
    accounts.account_password = "changed"
    assert accounts.outcome("boss@example.org", "right") == "UnauthorizedLogin"


def test_unknown_account_is_limited_like_an_account_and_not_checked_by_ejabberd(accounts: Admins) -> None:
    assert accounts.outcome("boss@example.org", "wrong") == "UnauthorizedLogin"
    assert accounts.outcome("nobody@example.org", "wrong") == "UnauthorizedLogin"
    assert accounts.checked == [("boss@example.org", "wrong")]
    assert now(accounts.counters.count("unknown nobody@example.org"))[0] == 1
    assert now(accounts.counters.count("unknown boss@example.org"))[0] == 0
    accounts.exhaust_accounts()
    assert accounts.outcome("nobody@example.org", "other", work=0) == "TooManyFailures"


@pytest.mark.parametrize("password", ["", "warmside-otp-x", "a\0b"])
def test_password_that_no_account_can_have_is_not_checked_by_ejabberd(accounts: Admins, password: str) -> None:
    accounts.account_password = password
    assert accounts.outcome("boss@example.org", password) == "UnauthorizedLogin"
    assert accounts.checked == []
