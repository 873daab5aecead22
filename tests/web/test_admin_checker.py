"""Authentication of admins, and the limits on their failures."""

from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError

from tests.support import now
from tests.web.admins import HASH, MAX_FAILURES, MAX_PENDING, REJECTION_TIME, WINDOW, Admins, Threads, hashed
from warmside.throttle.limits import ACCOUNT_LIMIT, ADMIN_LIMIT, TooManyFailures
from warmside.web.checker import ACCOUNT_CHECK_TIME, ACCOUNT_TIMEOUT
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
    kept = "\n".join(admins.accepted._database.iterdump())
    assert 'INSERT INTO "accepted"' in kept and "secret" not in kept


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
    flood = [admins.authenticate("web", f"wrong{number}") for number in range(MAX_WAITING + 2)]
    assert admins.outcome("web", "secret", work=0) == "web"
    admins.threads.wait_for(MAX_WAITING + 1)
    admins.clock.advance(len(flood) * ADMIN_LIMIT.interval)
    with pytest.raises(Overloaded):  # the oldest of those that waited
        now(flood.pop(1))
    for rejected in flood:
        with pytest.raises(TooManyFailures):
            now(rejected)


def test_refusal_without_a_check_takes_as_long_as_a_rejection(admins: Admins) -> None:
    """A client whose refusals came at once could send new guesses at once, and fill the queue with them."""
    flood = [admins.authenticate("web", f"wrong{number}") for number in range(MAX_WAITING + 2)]
    admins.clock.advance(REJECTION_TIME - 0.01)
    assert not any(each.called for each in flood)
    admins.clock.advance(0.02)
    refused = [each for each in flood if each.called]
    assert len(refused) == 1
    with pytest.raises(Overloaded):
        now(refused[0])
    admins.threads.wait_for(MAX_WAITING + 1)
    admins.clock.advance(len(flood) * ADMIN_LIMIT.interval)
    for rejected in flood:
        rejected.addErrback(lambda failure: failure.trap(TooManyFailures))


def test_new_password_is_checked_before_those_that_wait(admins: Admins) -> None:
    """This holds for those that began before the address was slowed. Only the check that runs is not interrupted."""
    flood = [admins.authenticate("web", f"wrong{number}") for number in range(12)]
    newest = admins.authenticate("web", "secret")
    admins.threads.wait_for(2)
    assert now(newest) == b"web"
    admins.threads.wait_for(11)
    admins.clock.advance(len(flood) * ADMIN_LIMIT.interval)
    for rejected in flood:
        rejected.addErrback(lambda failure: failure.trap(UnauthorizedLogin, TooManyFailures))


def test_new_password_that_was_passed_over_is_next(admins: Admins) -> None:
    """A guess arrives during each check, and would be checked first for ever."""
    flood = [admins.authenticate("web", f"wrong{number}") for number in range(9)]
    new = admins.authenticate("web", "secret")
    flood.append(admins.authenticate("web", "first newer one"))
    admins.threads.wait_for(1)
    flood.append(admins.authenticate("web", "second newer one"))
    admins.threads.wait_for(1)
    assert not new.called
    flood.append(admins.authenticate("web", "third newer one"))
    admins.threads.wait_for(1)
    assert now(new) == b"web"
    admins.threads.wait_for(len(flood) - 2)
    admins.clock.advance(len(flood) * ADMIN_LIMIT.interval)
    for rejected in flood:
        rejected.addErrback(lambda failure: failure.trap(UnauthorizedLogin, TooManyFailures))


def test_new_password_of_a_slowed_address_does_not_wait_for_what_a_flood_of_others_has_left(admins: Admins) -> None:
    for number in range(MAX_FAILURES):
        admins.outcome("x", f"wrong{number}")
    flood = [
        admins.authenticate("web", f"wrong{number}", address=f"192.0.2.{number}") for number in range(MAX_WAITING + 1)
    ]
    admins.threads.wait_for(3)
    flood += [admins.authenticate("web", f"more{number}", address=f"192.0.3.{number}") for number in range(2)]
    new = admins.authenticate("web", "secret")
    admins.threads.wait_for(4)
    assert now(new) == b"web"
    admins.threads.wait_for(len(flood) - 6)
    admins.clock.advance(len(flood) * ADMIN_LIMIT.interval)
    for rejected in flood:
        rejected.addErrback(lambda failure: failure.trap(UnauthorizedLogin))


def test_new_password_is_checked_before_those_of_slowed_addresses(admins: Admins) -> None:
    for number in range(MAX_FAILURES):
        admins.outcome("x", f"wrong{number}")
    first = admins.authenticate("web", "secret", address="192.0.2.1")
    slowed = [admins.authenticate("web", f"more{number}") for number in range(8)]
    admins.threads.wait_for(1)
    assert now(first) == b"web"
    second = admins.authenticate("web", "Secret", address="192.0.2.2")
    slowed += [admins.authenticate("web", f"again{number}") for number in range(2)]
    admins.threads.wait_for(2)
    admins.clock.advance(REJECTION_TIME)
    with pytest.raises(UnauthorizedLogin):
        now(second)
    admins.threads.wait_for(9)
    admins.clock.advance(len(slowed) * ADMIN_LIMIT.interval)
    for rejected in slowed:
        rejected.addErrback(lambda failure: failure.trap(TooManyFailures))


def test_password_that_another_process_accepted_passes_through_a_flood(admins: Admins) -> None:
    assert admins.outcome("web", "secret") == "web"
    admins.restart()
    flood = [admins.authenticate("web", f"wrong{number}") for number in range(MAX_WAITING)]
    assert admins.outcome("web", "secret", work=0) == "web"
    admins.threads.wait_for(MAX_WAITING)
    admins.clock.advance(len(flood) * ADMIN_LIMIT.interval)
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


def test_slowed_address_has_a_limit_of_attempts_and_accepted_passwords_pass(admins: Admins) -> None:
    assert admins.outcome("web", "secret") == "web"
    checks = admins.slow_down()
    with pytest.raises(TooManyFailures) as slowed:
        now(admins.authenticate("web", "one too many"))
    assert 1 <= slowed.value.retry_after <= WINDOW
    assert admins.outcome("web", "secret", work=0) == "web"
    admins.end(checks)
    assert all(each.called for each in checks) and len(checks) == MAX_PENDING


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
    assert accounts.outcome("boss@example.org", "right") == "boss@example.org"
    checks = accounts.slow_down()
    assert accounts.outcome("boss@example.org", "another", work=0) == "TooManyFailures"
    accounts.clock.advance(ACCOUNT_TIMEOUT - 5)
    assert accounts.outcome("boss@example.org", "right", work=0) == "boss@example.org"
    assert accounts.checked == [("boss@example.org", "right")] * 2
    accounts.end(checks)


def test_name_in_the_file_may_have_the_form_of_a_jid(path: Path, admins: Admins) -> None:
    path.write_text(f"Bob@Example.org:{HASH}\n")
    assert admins.outcome("Bob@Example.org", "secret") == "Bob@Example.org"
    assert admins.outcome("bob@example.org", "secret") == "UnauthorizedLogin"
    assert admins.directory.knows("Bob@Example.org")


def test_account_is_checked_by_ejabberd_once_a_minute(accounts: Admins) -> None:
    assert accounts.outcome("Boss@Example.ORG", "right") == "boss@example.org"
    assert accounts.outcome("boss@example.org", "right", work=0) == "boss@example.org"
    assert accounts.checked == [("boss@example.org", "right")]
    accounts.clock.advance(ACCOUNT_TIMEOUT)
    accounts.account_password = "changed"
    assert accounts.outcome("boss@example.org", "right", work=0) == "UnauthorizedLogin"
    assert accounts.outcome("boss@example.org", "right") == "UnauthorizedLogin"


def test_guess_at_an_account_waits_for_bcrypt_before_ejabberd_is_asked(accounts: Admins) -> None:
    guess = accounts.authenticate("boss@example.org", "wrong")
    assert accounts.checked == []
    accounts.threads.wait_for(1)
    assert accounts.checked == [("boss@example.org", "wrong")]
    accounts.clock.advance(REJECTION_TIME)
    with pytest.raises(UnauthorizedLogin):
        now(guess)


def test_unknown_account_is_limited_like_an_account_and_not_checked_by_ejabberd(accounts: Admins) -> None:
    assert accounts.outcome("boss@example.org", "wrong") == "UnauthorizedLogin"
    assert accounts.outcome("nobody@example.org", "wrong") == "UnauthorizedLogin"
    assert accounts.checked == [("boss@example.org", "wrong")]
    assert now(accounts.counters.count("admin nobody@example.org"))[0] == 1
    accounts.exhaust_accounts()
    assert accounts.outcome("nobody@example.org", "other") == "TooManyFailures"


@pytest.mark.parametrize("password", ["", "warmside-otp-x", "a\0b"])
def test_password_that_no_account_can_have_is_not_checked_by_ejabberd(accounts: Admins, password: str) -> None:
    accounts.account_password = password
    assert accounts.outcome("boss@example.org", password) == "UnauthorizedLogin"
    assert accounts.checked == []


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Admins]:
    """Admins of a file, one with the form of a JID, and an admin that is an account of ejabberd."""
    file = tmp_path / "both"
    file.write_text(f"web:{HASH}\nfile@example.org:{HASH}\n")
    made = Admins(file, Threads(), ("boss@example.org",))
    yield made
    made.bcrypt.close()


NAMES = ["boss@example.org", "nobody@example.org", "file@example.org", "nobody", "web"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "ejabberd", ["answers", "is stopped", "never answers", "is slow", "bans", "limits", "breaks", "has budget spent"]
)
def test_rejection_is_the_same_for_every_name_whatever_ejabberd_does(both: Admins, name: str, ejabberd: str) -> None:
    both.ejabberd = ejabberd
    if ejabberd == "has budget spent":
        both.exhaust_accounts()
    for number in range(ACCOUNT_LIMIT.max_failures + 2):
        guess = both.authenticate(name, f"wrong{number}", f"192.0.2.{number}")
        both.clock.advance(0.4)  # seconds of bcrypt
        both.threads.wait_for(1)
        both.clock.advance(ACCOUNT_CHECK_TIME - 0.01)
        assert not guess.called
        both.clock.advance(0.02)
        limited = ejabberd == "has budget spent" or number >= ACCOUNT_LIMIT.max_failures
        with pytest.raises(TooManyFailures if limited and "@" in name else UnauthorizedLogin):
            now(guess)


@pytest.mark.parametrize("name", NAMES[:3])
def test_limit_of_a_name_is_the_same_for_passwords_that_no_account_can_have(both: Admins, name: str) -> None:
    for number in range(ACCOUNT_LIMIT.max_failures + 1):
        assert both.outcome(name, f"a\0{number}", address=f"192.0.2.{number}") == "UnauthorizedLogin"


def test_correct_password_of_the_file_passes_although_its_name_has_too_many_failures(both: Admins) -> None:
    for number in range(ACCOUNT_LIMIT.max_failures + 1):
        outcome = both.outcome("file@example.org", f"wrong{number}", address=f"192.0.2.{number}")
    assert outcome == "TooManyFailures"
    assert both.outcome("file@example.org", "secret", address="192.0.2.1") == "file@example.org"


def test_password_that_ejabberd_accepts_too_late_passes_when_it_is_sent_again(accounts: Admins) -> None:
    accounts.ejabberd = "is slow"
    assert accounts.outcome("boss@example.org", "right") == "UnauthorizedLogin"
    accounts.clock.advance(5)
    again = accounts.authenticate("boss@example.org", "right")
    assert now(again) == b"boss@example.org"


def test_account_whose_password_was_accepted_sees_the_errors_of_ejabberd(accounts: Admins) -> None:
    assert accounts.outcome("boss@example.org", "right") == "boss@example.org"
    accounts.clock.advance(ACCOUNT_TIMEOUT)
    accounts.ejabberd = "is stopped"
    assert accounts.outcome("boss@example.org", "right", work=0) == "Unreachable"
    accounts.ejabberd = "answers"
    assert accounts.outcome("boss@example.org", "right", work=0) == "boss@example.org"


def test_account_whose_password_was_accepted_passes_when_the_file_changes(both: Admins, tmp_path: Path) -> None:
    assert both.outcome("boss@example.org", "right") == "boss@example.org"
    (tmp_path / "both").write_text(f"web:{hashed('another')}\n")
    assert both.outcome("boss@example.org", "right", work=0) == "boss@example.org"
