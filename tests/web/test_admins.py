"""Who is an admin."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred

from tests.support import now
from warmside.web.admins import MOST_WAITING, AdminsError, AdminsFile, Bcrypt, FileChecker, Overloaded, read_admins


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


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


def ask(checker: FileChecker, name: str, password: str) -> "Deferred[Any]":
    return checker.requestAvatarId(UsernamePassword(name.encode(), password.encode()))


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
    with pytest.raises(AdminsError, match=why) as broken:
        read_admins(path)
    assert "plaintext" not in str(broken.value)


@pytest.mark.parametrize("mode", [0o602, 0o620])
def test_a_file_that_others_may_write_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(AdminsError, match="chmod go-w"):
        read_admins(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdminsError, match="No such file"):
        read_admins(tmp_path / "none")


def test_the_file_is_read_again_when_it_changes_and_a_broken_one_changes_nothing(path: Path) -> None:
    admins = AdminsFile(path)
    assert admins.hash_of("web") == (HASH.encode(), True)
    assert admins.hash_of("new")[1] is False
    path.write_text(f"new:{HASH}\n")
    assert admins.hash_of("new")[1] is True
    assert admins.hash_of("web")[1] is False
    path.write_text("broken")
    assert admins.hash_of("new")[1] is True
    path.unlink()
    assert admins.hash_of("new")[1] is True
    path.write_text(f"back:{HASH}\n")
    assert admins.hash_of("back")[1] is True


def test_a_right_password_is_computed_once_and_remembered(path: Path, threads: Threads, bcrypt_pool: Bcrypt) -> None:
    checker = FileChecker(AdminsFile(path), bcrypt_pool)
    first = ask(checker, "web", "secret")
    assert not first.called
    threads.wait_for(1)
    assert now(first) == b"web"
    assert now(ask(checker, "web", "secret")) == b"web"
    wrong = ask(checker, "web", "Secret")
    threads.wait_for(1)
    with pytest.raises(UnauthorizedLogin):
        now(wrong)


def test_a_remembered_password_is_forgotten_with_its_hash(path: Path, threads: Threads, bcrypt_pool: Bcrypt) -> None:
    checker = FileChecker(AdminsFile(path), bcrypt_pool)
    first = ask(checker, "web", "secret")
    threads.wait_for(1)
    now(first)
    path.write_text(f"web:{hashed('another')}\n")
    again = ask(checker, "web", "secret")
    threads.wait_for(1)
    with pytest.raises(UnauthorizedLogin):
        now(again)


def test_nothing_of_a_remembered_password_is_kept(path: Path, threads: Threads, bcrypt_pool: Bcrypt) -> None:
    checker = FileChecker(AdminsFile(path), bcrypt_pool)
    first = ask(checker, "web", "secret")
    threads.wait_for(1)
    now(first)
    assert b"secret" not in b"".join(checker._right)


@pytest.mark.parametrize(("name", "password"), [("nobody", "secret"), ("web", "x" * 73), ("web", "")])
def test_who_is_no_admin_is_refused_after_as_much_work(
    path: Path, threads: Threads, bcrypt_pool: Bcrypt, name: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[bytes] = []
    check = bcrypt.checkpw

    def counted(given: bytes, known: bytes) -> bool:
        computed.append(known)
        return check(given, known)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    refused = ask(FileChecker(AdminsFile(path), bcrypt_pool), name, password)
    threads.wait_for(1)
    with pytest.raises(UnauthorizedLogin):
        now(refused)
    assert computed == [HASH.encode()]


def test_72_bytes_are_not_enough_of_a_longer_password(path: Path, threads: Threads, bcrypt_pool: Bcrypt) -> None:
    path.write_text(f"web:{hashed('x' * 72)}\n")
    checker = FileChecker(AdminsFile(path), bcrypt_pool)
    long = ask(checker, "web", "x" * 73)
    threads.wait_for(1)
    with pytest.raises(UnauthorizedLogin):
        now(long)


def test_a_flood_is_bounded_and_remembered_passwords_pass_through_it(
    path: Path, threads: Threads, bcrypt_pool: Bcrypt
) -> None:
    checker = FileChecker(AdminsFile(path), bcrypt_pool)
    first = ask(checker, "web", "secret")
    threads.wait_for(1)
    now(first)
    flood = [ask(checker, "web", f"wrong{number}") for number in range(MOST_WAITING + 1)]
    with pytest.raises(Overloaded):
        now(flood.pop())
    assert now(ask(checker, "web", "secret")) == b"web"
    threads.wait_for(MOST_WAITING)
    for refused in flood:
        with pytest.raises(UnauthorizedLogin):
            now(refused)


def test_the_thread_steps_back_behind_everything_else(bcrypt_pool: Bcrypt) -> None:
    priorities: list[int] = []
    bcrypt_pool._executor.submit(lambda: priorities.append(os.getpriority(os.PRIO_PROCESS, 0))).result()
    # On Linux, 0 means the calling thread.
    assert priorities[0] > os.getpriority(os.PRIO_PROCESS, 0)


def test_what_looks_one_time_is_never_an_admins(path: Path, bcrypt_pool: Bcrypt) -> None:
    path.write_text(f"web:{hashed('warmside-otp-x')}\n")
    with pytest.raises(UnauthorizedLogin):
        now(ask(FileChecker(AdminsFile(path), bcrypt_pool), "web", "warmside-otp-x"))
