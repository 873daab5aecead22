"""The file of known users: version 1 becomes version 2, in place."""

import sqlite3
from pathlib import Path

import pytest

from tests.support import now
from warmside.store.interface import StoreError
from warmside.store.sqlite import SQLiteKnownUsers
from warmside.store.usersfile import SharedUsersFile

VERSION_1 = """
CREATE TABLE users (jid TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT INTO users VALUES ('juliet@example.org'), ('romeo@example.org');
PRAGMA user_version = 1;
"""
DOWNGRADE = "DELETE FROM users WHERE score % 2 = 1 AND NOT pending; PRAGMA user_version = 1;"
"""As in docs/OPERATIONS.md."""
JULIET, ROMEO, NURSE = "juliet@example.org", "romeo@example.org", "nurse@example.org"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file of version 1 with two users."""
    path = tmp_path / "users.sqlite"
    path.touch(0o600)
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1)
    connection.close()
    return path


@pytest.mark.parametrize("kind", [SQLiteKnownUsers, SharedUsersFile])
def test_the_users_of_a_file_of_version_1_stay(path: Path, kind: type[SQLiteKnownUsers]) -> None:
    users = kind(path)
    assert [users.exists(jid) for jid in (JULIET, ROMEO, NURSE)] == [True, True, False]
    assert users._run("PRAGMA user_version") == [(2,)]
    assert now(users.announce([NURSE, JULIET])) == 1 and now(users.forget(ROMEO))
    users.close()
    users = kind(path)
    assert [users.exists(jid) for jid in (JULIET, ROMEO, NURSE)] == [True, False, True]


def test_a_process_of_the_release_before_goes_on_while_the_file_is_upgraded(path: Path) -> None:
    old = sqlite3.connect(path, isolation_level=None)
    users = SQLiteKnownUsers(path)
    old.execute("INSERT OR IGNORE INTO users (jid) VALUES (?)", (NURSE,))
    old.execute("DELETE FROM users WHERE jid = ?", (ROMEO,))
    assert [users.exists(jid) for jid in (JULIET, ROMEO, NURSE)] == [True, False, True]


def test_an_upgrade_that_fails_changes_nothing(path: Path) -> None:
    """A table in the way stands for a disk that is full."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE pending_users (x)")
    connection.close()
    with pytest.raises(StoreError, match=f"{path} failed: there is already a table named pending_users"):
        SQLiteKnownUsers(path)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert [row[1] for row in connection.execute("PRAGMA table_info(users)")] == ["jid"]


def test_a_file_goes_back_to_version_1_and_comes_again(path: Path) -> None:
    shared = SharedUsersFile(path)
    shared.apply([(ROMEO, 11), (NURSE, 12)])
    shared.close()
    connection = sqlite3.connect(path)
    connection.executescript(DOWNGRADE)
    assert {jid for (jid,) in connection.execute("SELECT jid FROM users")} == {JULIET, NURSE}
    connection.close()
    users = SQLiteKnownUsers(path)
    assert [users.exists(jid) for jid in (JULIET, ROMEO, NURSE)] == [True, False, True]


def test_a_removed_user_leaves_nothing_in_a_file_that_was_never_shared(path: Path) -> None:
    users = SQLiteKnownUsers(path)
    users.remember(NURSE)
    assert now(users.forget(NURSE, ROMEO)) and not now(users.forget(NURSE))
    assert users._run("SELECT jid, score, pending FROM users") == [(JULIET, 0, 0)]


def test_a_file_that_is_not_shared_any_more_keeps_who_was_removed(path: Path) -> None:
    shared = SharedUsersFile(path)
    shared.apply([(ROMEO, 10), (NURSE, 13)])
    shared.progress()
    shared.close()
    users = SQLiteKnownUsers(path)
    assert now(users.forget(ROMEO)) and not now(users.forget(NURSE))
    assert now(users.announce([NURSE])) == 1 and users.exists(NURSE)
    assert sorted(users._run("SELECT jid, score, pending FROM users WHERE score")) == [(NURSE, 13, 1), (ROMEO, 11, 0)]
    assert users._run("SELECT * FROM followed") == [], "all is exchanged again once the file is shared"
