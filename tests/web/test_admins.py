"""Who is an admin."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.support import now, work_at_once
from warmside.config.reloading import FileRefused, ReloadingFile
from warmside.store.counters import SQLiteFailureCounters
from warmside.throttle.accounts import TooManyFailures
from warmside.throttle.addresses import FAILURE_TIME, MAX_CHECKS, MAX_FAILURES, WINDOW, AddressThrottle
from warmside.throttle.verified import VerifiedPasswords
from warmside.web.admins import (
    ACCOUNT_REMEMBERED,
    MAX_WAITING,
    AddressedPassword,
    AdminChecker,
    Bcrypt,
    Overloaded,
    read_admins,
)


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), b"$2b$04$kyJsznY2X3rSJNsUrhJ7hO").decode()


HASH = hashed("secret")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "admins"
    path.write_text(f"# the web application\n\nweb:{HASH}\n  two words:{HASH}  \n")
    return path


class Threads:
    """Runs what a thread hands over when a test asks for it."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __call__(self, function: Any, *arguments: Any) -> None:
        self.calls.append((function, arguments))

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 20
        while len(self.calls) < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        calls, self.calls = self.calls, []
        for function, arguments in calls:
            function(*arguments)


@pytest.fixture
def threads() -> Threads:
    return Threads()


@pytest.fixture
def bcrypt_pool(threads: Threads) -> Iterator[Bcrypt]:
    pool = Bcrypt(threads)
    yield pool
    pool.close()


class World:
    """A checker over a file, with a clock and an ejabberd of the test's own."""

    def __init__(self, path: Path | None, threads: Threads, accounts: tuple[str, ...] = ()) -> None:
        self.clock = Clock()
        self.threads = threads
        self.counts = SQLiteFailureCounters(None, self.clock.seconds)
        self.bcrypt = Bcrypt(threads)
        self.asked: list[tuple[str, str]] = []
        self.looked: list[str] = []
        self.account_password = "right"
        self.slowdown = AddressThrottle(self.clock, self.counts)
        self.file = ReloadingFile(path, read_admins) if path is not None else None
        self.accounts = accounts
        self.checker = self.copy()

    def copy(self) -> AdminChecker:
        """The checker of another process."""
        right = VerifiedPasswords(self.counts, b"admin", work_at_once)
        return AdminChecker(
            self.clock, self.file, self.accounts, self.check_account, self.look, self.bcrypt, self.slowdown, right
        )

    async def check_account(self, name: str, password: str) -> bool:
        self.asked.append((name, password))
        return password == self.account_password

    async def look(self, name: str) -> None:
        self.looked.append(name)

    def ask(self, name: str, password: str, address: str = "127.0.0.1") -> "Deferred[Any]":
        credentials = AddressedPassword(name.encode(), password.encode(), address)
        asked: Deferred[Any] = self.checker.requestAvatarId(credentials)
        return asked

    def answer(self, asked: "Deferred[Any]", work: int = 1) -> Any:
        """The answer, when bcrypt has worked and a no was let wait."""
        if work:
            self.threads.wait_for(work)
        self.clock.advance(FAILURE_TIME)
        return now(asked)

    def outcome(self, name: str, password: str, work: int = 1, address: str = "127.0.0.1") -> str:
        """The name of who is let in, or of the error."""
        try:
            return str(self.answer(self.ask(name, password, address), work).decode())
        except Exception as error:
            return type(error).__name__


@pytest.fixture
def world(path: Path, threads: Threads) -> Iterator[World]:
    made = World(path, threads)
    yield made
    made.bcrypt.close()


@pytest.fixture
def accounts(threads: Threads) -> Iterator[World]:
    made = World(None, threads, ("boss@example.org",))
    yield made
    made.bcrypt.close()


def test_a_file_has_names_and_hashes(path: Path) -> None:
    assert read_admins(path) == {"web": HASH.encode(), "two words": HASH.encode()}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "nobody in it"),
        ("# only a comment\n", "nobody in it"),
        ("web\n", "line 1 is not NAME:HASH"),
        (f"web:{HASH}\nweb:{HASH}\n", "line 2 has a name that was there before"),
        ("web:plaintext\n", "line 1 is not NAME:HASH"),
        ("web:$apr1$xxxxxxxx$yyyyyyyyyyyyyyyyyyyyyy\n", "line 1"),
        (f":{HASH}\n", "line 1"),
        ("web:" + HASH.replace("$04$", "$31$") + "\n", "cost 4 to 16"),
    ],
)
def test_a_broken_file_says_which_line_and_shows_nothing_of_it(path: Path, content: str, why: str) -> None:
    path.write_text(content)
    with pytest.raises(FileRefused, match=why) as broken:
        read_admins(path)
    assert "plaintext" not in str(broken.value)


@pytest.mark.parametrize("mode", [0o602, 0o620])
def test_a_file_that_others_may_write_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(FileRefused, match="chmod go-w"):
        read_admins(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="No such file"):
        read_admins(tmp_path / "none")


def test_the_file_is_read_again_when_it_changes_and_a_broken_one_changes_nothing(path: Path) -> None:
    admins = ReloadingFile(path, read_admins)
    assert set(admins.content) == {"web", "two words"}
    path.write_text(f"new:{HASH}\n")
    assert set(admins.content) == {"new"}
    path.write_text("broken")
    assert set(admins.content) == {"new"}
    path.unlink()
    assert set(admins.content) == {"new"}
    path.write_text(f"back:{HASH}\n")
    assert set(admins.content) == {"back"}


@pytest.mark.parametrize("name", ["boss@example.org", "Boss@EXAMPLE.org"])
def test_a_name_in_both_kinds_of_admins_is_refused(path: Path, name: str) -> None:
    path.write_text(f"{name}:{HASH}\n")
    with pytest.raises(FileRefused, match="line 1 has a name that is in "):
        read_admins(path, {"boss@example.org"})


def test_a_right_password_is_computed_once_and_remembered(world: World) -> None:
    first = world.ask("web", "secret")
    assert not first.called
    world.threads.wait_for(1)
    assert now(first) == b"web"
    assert world.outcome("web", "secret", work=0) == "web"
    assert world.outcome("web", "Secret") == "UnauthorizedLogin"


def test_callers_at_the_same_time_with_the_same_password_share_the_work(world: World) -> None:
    asked = [world.ask("web", "secret") for _ in range(MAX_WAITING + 5)]
    world.threads.wait_for(1)
    assert [now(each) for each in asked] == [b"web"] * len(asked)


def test_a_remembered_password_is_forgotten_with_its_hash(path: Path, world: World) -> None:
    assert world.outcome("web", "secret") == "web"
    path.write_text(f"web:{hashed('another')}\n")
    assert world.outcome("web", "secret") == "UnauthorizedLogin"


def test_nothing_of_a_remembered_password_is_kept(world: World) -> None:
    assert world.outcome("web", "secret") == "web"
    kept = b"".join(world.checker._before._here)
    assert kept and b"secret" not in kept


@pytest.mark.parametrize(("name", "password"), [("nobody", "secret"), ("web", "x" * 73), ("web", "")])
def test_who_is_no_admin_is_refused_after_as_much_work(
    world: World, name: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[bytes] = []
    check = bcrypt.checkpw

    def counted(given: bytes, known: bytes) -> bool:
        computed.append(known)
        return check(given, known)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    assert world.outcome(name, password) == "UnauthorizedLogin"
    assert computed == [HASH.encode()]


def test_a_no_takes_its_time_whoever_was_asked_about(world: World) -> None:
    for name in ("web", "nobody"):
        refused = world.ask(name, "wrong")
        world.threads.wait_for(1)
        world.clock.advance(FAILURE_TIME - 0.01)
        assert not refused.called
        world.clock.advance(0.01)
        with pytest.raises(UnauthorizedLogin):
            now(refused)


def test_72_bytes_are_not_enough_of_a_longer_password(path: Path, world: World) -> None:
    path.write_text(f"web:{hashed('x' * 72)}\n")
    assert world.outcome("web", "x" * 73) == "UnauthorizedLogin"


def test_a_flood_is_bounded_and_remembered_passwords_pass_through_it(world: World) -> None:
    assert world.outcome("web", "secret") == "web"
    flood = [world.ask("web", f"wrong{number}") for number in range(MAX_WAITING + 1)]
    with pytest.raises(Overloaded):
        now(flood.pop())
    assert world.outcome("web", "secret", work=0) == "web"
    world.threads.wait_for(MAX_WAITING)
    world.clock.advance(FAILURE_TIME)
    for refused in flood:
        with pytest.raises((UnauthorizedLogin, TooManyFailures)):
            now(refused)


def test_the_thread_steps_back_behind_everything_else(bcrypt_pool: Bcrypt) -> None:
    priorities: list[int] = []
    bcrypt_pool._executor.submit(lambda: priorities.append(os.getpriority(os.PRIO_PROCESS, 0))).result()
    # On Linux, 0 means the calling thread.
    assert priorities[0] > os.getpriority(os.PRIO_PROCESS, 0)


def test_what_looks_one_time_is_never_an_admins(path: Path, world: World) -> None:
    path.write_text(f"web:{hashed('warmside-otp-x')}\n")
    assert world.outcome("web", "warmside-otp-x") == "UnauthorizedLogin"


def test_who_fails_too_often_is_told_so_and_whoever_is_right_passes(world: World) -> None:
    outcomes = [world.outcome("web", f"wrong{number}") for number in range(MAX_FAILURES + 2)]
    assert outcomes == ["UnauthorizedLogin"] * MAX_FAILURES + ["TooManyFailures"] * 2
    assert world.outcome("web", "secret") == "web"
    assert world.outcome("web", "secret", work=0) == "web"
    assert world.outcome("web", "wrong", address="192.0.2.1") == "UnauthorizedLogin"
    world.clock.advance(WINDOW)
    assert world.outcome("web", "wrong") == "UnauthorizedLogin"


def test_a_slowed_address_has_few_passwords_checked_at_a_time_and_known_ones_still_pass(world: World) -> None:
    assert world.outcome("web", "secret") == "web"
    for number in range(MAX_FAILURES):
        world.outcome("web", f"wrong{number}")
    checks = [world.ask("web", f"more{number}") for number in range(MAX_CHECKS)]
    with pytest.raises(TooManyFailures) as slowed:
        now(world.ask("web", "one too many"))
    assert 1 <= slowed.value.retry_after <= WINDOW
    assert world.outcome("web", "secret", work=0) == "web"
    world.threads.wait_for(MAX_CHECKS)
    world.clock.advance(FAILURE_TIME)
    for check in checks:
        with pytest.raises(TooManyFailures):
            now(check)


def slow_down(world: World) -> list["Deferred[Any]"]:
    """Have an address slowed, with as many passwords under way as it may have."""
    for number in range(MAX_FAILURES):
        world.outcome("x", f"wrong{number}")
    return [world.ask("x", f"more{number}") for number in range(MAX_CHECKS)]


def end(world: World, checks: list["Deferred[Any]"]) -> None:
    world.threads.wait_for(len(checks))
    world.clock.advance(FAILURE_TIME)
    for check in checks:
        check.addErrback(lambda failure: failure.trap(TooManyFailures))


def test_what_was_right_in_one_process_passes_in_all_whatever_else_is_tried(world: World) -> None:
    assert world.outcome("web", "secret") == "web"
    checks = slow_down(world)
    world.checker = world.copy()
    assert world.outcome("web", "another", work=0) == "TooManyFailures"
    assert world.outcome("web", "secret", work=0) == "web"
    end(world, checks)


def test_an_account_that_was_right_before_is_still_asked_about_when_its_address_is_slowed(accounts: World) -> None:
    assert accounts.outcome("boss@example.org", "right", work=0) == "boss@example.org"
    checks = slow_down(accounts)
    accounts.clock.advance(ACCOUNT_REMEMBERED - 5)
    assert accounts.outcome("boss@example.org", "right", work=0) == "boss@example.org"
    assert accounts.outcome("boss@example.org", "another", work=0) == "TooManyFailures"
    assert accounts.asked == [("boss@example.org", "right")] * 2
    end(accounts, checks)


def test_a_name_of_the_file_may_look_like_a_jid(path: Path, world: World) -> None:
    path.write_text(f"Bob@Example.org:{HASH}\n")
    assert world.outcome("Bob@Example.org", "secret") == "Bob@Example.org"
    assert world.outcome("bob@example.org", "secret") == "UnauthorizedLogin"
    assert world.checker.knows("Bob@Example.org")


def test_ejabberd_says_who_of_its_accounts_is_right_and_is_believed_for_a_minute(accounts: World) -> None:
    assert accounts.outcome("Boss@Example.ORG", "right", work=0) == "boss@example.org"
    assert accounts.outcome("boss@example.org", "right", work=0) == "boss@example.org"
    assert accounts.asked == [("boss@example.org", "right")]
    accounts.clock.advance(ACCOUNT_REMEMBERED)
    accounts.account_password = "changed"
    assert accounts.outcome("boss@example.org", "right") == "UnauthorizedLogin"


def test_a_name_that_is_no_account_costs_the_same_and_never_gets_to_ejabberd(accounts: World) -> None:
    assert accounts.outcome("boss@example.org", "wrong") == "UnauthorizedLogin"
    assert accounts.outcome("nobody@example.org", "wrong") == "UnauthorizedLogin"
    assert accounts.asked == [("boss@example.org", "wrong")]
    assert accounts.looked == ["nobody@example.org"]


@pytest.mark.parametrize("password", ["", "warmside-otp-x", "a\0b"])
def test_what_no_account_has_for_a_password_never_gets_to_ejabberd(accounts: World, password: str) -> None:
    accounts.account_password = password
    assert accounts.outcome("boss@example.org", password) == "UnauthorizedLogin"
    assert accounts.asked == []


def test_only_known_names_are_known(world: World, accounts: World) -> None:
    assert world.checker.knows("web") and not world.checker.knows("secret")
    assert accounts.checker.knows("boss@example.org") and not accounts.checker.knows("web")
