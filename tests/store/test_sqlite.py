"""The SQLite store: a password is right once, for one JID, for its lifetime."""

import re
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import now
from warmside.otp import OneTimePassword, has_prefix
from warmside.store.interface import RevocationStatus, StoreError
from warmside.store.sqlite import SQLiteStore

JULIET = "juliet@example.org"


class Clock:
    """A clock that stands still until it is set."""

    time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SQLiteStore:
    return SQLiteStore(None if request.param == "memory" else tmp_path / "passwords.sqlite", Clock())


def mint(store: SQLiteStore, bare: str = JULIET, lifetime: float = 30) -> OneTimePassword:
    password: OneTimePassword = now(store.mint(bare, lifetime))
    return password


def redeem(store: SQLiteStore, password: OneTimePassword, bare: str = JULIET) -> bool:
    answer: bool = now(store.redeem(bare, password.text.encode()))
    return answer


def test_a_password_has_256_bits_behind_its_prefix_and_no_colon(store: SQLiteStore) -> None:
    passwords = {mint(store).text for _ in range(100)}
    assert len(passwords) == 100
    assert all(re.fullmatch(r"warmside-otp-[A-Za-z0-9_-]{43}", password) for password in passwords)
    assert has_prefix(passwords.pop().encode())


def test_a_password_shows_itself_in_no_repr(store: SQLiteStore) -> None:
    password = mint(store)
    assert password.text not in repr(password) and password.text not in str(password)


def test_a_password_is_redeemed_once(store: SQLiteStore) -> None:
    password = mint(store)
    assert redeem(store, password)
    assert not redeem(store, password)


def test_a_password_is_neither_right_nor_used_up_for_another_jid(store: SQLiteStore) -> None:
    password = mint(store)
    assert not redeem(store, password, "romeo@example.org")
    assert redeem(store, password)


def test_a_password_ends_with_its_lifetime(store: SQLiteStore) -> None:
    password = mint(store, lifetime=30)
    store._clock.time += 30  # type: ignore[attr-defined]
    assert not redeem(store, password)


def test_revoking_says_what_had_become_of_the_password(store: SQLiteStore) -> None:
    unasked, asked, redeemed = mint(store), mint(store), mint(store)
    redeem(store, asked, "romeo@example.org")
    redeem(store, redeemed)
    assert now(store.revoke(unasked)) is RevocationStatus.UNASKED
    assert now(store.revoke(asked)) is RevocationStatus.ASKED
    assert now(store.revoke(redeemed)) is RevocationStatus.GONE
    assert not redeem(store, unasked)


def test_all_of_a_users_passwords_are_revoked_and_nobody_elses(store: SQLiteStore) -> None:
    hers, his = [mint(store), mint(store)], mint(store, "romeo@example.org")
    assert now(store.revoke_all(JULIET)) == 2
    assert not any(redeem(store, password) for password in hers)
    assert redeem(store, his, "romeo@example.org")


def test_what_has_expired_is_swept_away(store: SQLiteStore) -> None:
    mint(store, lifetime=1)
    lasting = mint(store, lifetime=60)
    store._clock.time += 10  # type: ignore[attr-defined]
    assert now(store.sweep()) == 1
    assert redeem(store, lasting)


def test_only_a_digest_is_in_the_file(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "passwords.sqlite")
    password = mint(store)
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert JULIET.encode() in written
    assert password.text.encode() not in written
    assert password.text.removeprefix("warmside-otp-").encode() not in written


def test_the_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "passwords.sqlite")
    mint(store)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "passwords.sqlite"
    path.touch()
    path.chmod(0o666)
    with pytest.raises(StoreError, match="chmod go-w"):
        SQLiteStore(path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "passwords.sqlite"
    path.write_bytes(b"this is not a database, and it is long enough to be seen as none" * 20)
    path.chmod(0o600)
    with pytest.raises(StoreError, match="not a database"):
        SQLiteStore(path)


def test_two_processes_share_a_file_and_one_of_them_redeems(tmp_path: Path) -> None:
    first, second = (SQLiteStore(tmp_path / "passwords.sqlite") for _ in range(2))
    password = mint(first)
    assert [redeem(second, password), redeem(first, password)] == [True, False]


def test_many_processes_open_the_same_new_file_at_once(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from warmside.store.sqlite import SQLiteStore;"
        "sys.stdin.readline(); SQLiteStore(Path(sys.argv[1])); print('open')"
    )
    for attempt in range(3):
        path = tmp_path / f"{attempt}.sqlite"
        starts = [
            subprocess.Popen(
                [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(8)
        ]
        for process in starts:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        assert [process.communicate()[0] for process in starts] == ["open\n"] * 8


def test_a_store_that_breaks_says_so(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "passwords.sqlite")
    sqlite3.connect(tmp_path / "passwords.sqlite").execute("DROP TABLE passwords").connection.close()
    with pytest.raises(StoreError, match="no such table"):
        mint(store)
