"""SQLite's files: modes, content, versions of the schema, several processes that open them."""

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from tests.support import now
from warmside.store.interface import StoreError
from warmside.store.sqlite import SQLiteFailureCounters, SQLiteKnownUsers, SQLiteStore

JULIET = "juliet@example.org"
UNVERSIONED = """
CREATE TABLE passwords (
    digest BLOB PRIMARY KEY,
    jid TEXT NOT NULL,
    expires REAL NOT NULL,
    asked INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE counts (key TEXT PRIMARY KEY, count INTEGER NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE users (jid TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT INTO passwords (digest, jid, expires) VALUES (x'00', 'juliet@example.org', 1e12);
INSERT INTO counts VALUES ('x', 3, 1e12);
INSERT INTO users VALUES ('juliet@example.org');
"""
"""Tables of releases that recorded no version."""
VERSIONS = {SQLiteStore: 1, SQLiteFailureCounters: 1, SQLiteKnownUsers: 2}
STORES = [SQLiteStore, SQLiteFailureCounters, SQLiteKnownUsers]
Store = type[SQLiteStore | SQLiteFailureCounters | SQLiteKnownUsers]
OPEN_EACH_LINE = """
import sys
from pathlib import Path
from warmside.store.sqlite import SQLiteStore
print("started", flush=True)
for line in sys.stdin:
    SQLiteStore(Path(line.strip()))
    print("open", flush=True)
"""
OPEN_AND_CLOSE = """
import sys
from pathlib import Path
from warmside.store.sqlite import SQLiteFailureCounters
SQLiteFailureCounters(Path(sys.argv[1])).close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file that does not exist."""
    return tmp_path / "store.sqlite"


@pytest.fixture(scope="module")
def openers() -> Iterator[list["subprocess.Popen[str]"]]:
    """Start eight processes that open each file whose path they read."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_EACH_LINE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    assert [_line(process) for process in processes] == ["started\n"] * 8
    yield processes
    for process in processes:
        process.communicate(timeout=60)


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _open_at_the_same_time(processes: list["subprocess.Popen[str]"], path: Path) -> list[str]:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
    return [_line(process) for process in processes]


def _create(path: Path, statements: str) -> None:
    """Create a database as another release would."""
    path.touch(mode=0o600)
    connection = sqlite3.connect(path)
    connection.executescript(statements)
    connection.close()


def _read(path: Path, statement: str) -> object:
    connection = sqlite3.connect(path)
    rows = connection.execute(statement).fetchall()
    connection.close()
    return rows


def test_the_file_contains_digests_only(path: Path) -> None:
    password = now(SQLiteStore(path).mint(JULIET, 30))
    written = b"".join(each.read_bytes() for each in path.parent.iterdir())
    assert JULIET.encode() in written
    assert password.text.encode() not in written
    assert password.text.removeprefix("warmside-otp-").encode() not in written


def test_only_the_owner_can_read_the_files(path: Path) -> None:
    now(SQLiteStore(path).mint(JULIET, 30))
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}


def test_a_file_that_other_users_may_write_is_rejected(path: Path) -> None:
    path.touch()
    path.chmod(0o666)
    with pytest.raises(StoreError, match="chmod go-w"):
        SQLiteStore(path)


def test_a_file_that_is_not_a_database_is_rejected(path: Path) -> None:
    path.write_bytes(b"this text is not a database and longer than the header of one" * 20)
    path.chmod(0o600)
    with pytest.raises(StoreError, match="not a database"):
        SQLiteStore(path)


def test_a_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a file"):
        SQLiteFailureCounters(tmp_path)


def test_errors_about_known_users_name_the_file(path: Path) -> None:
    users = SQLiteKnownUsers(path)
    users.close()
    with pytest.raises(StoreError, match=r"known users .*/store\.sqlite failed: "):
        users.exists(JULIET)


def test_a_missing_table_is_a_store_error(path: Path) -> None:
    store = SQLiteStore(path)
    sqlite3.connect(path).execute("DROP TABLE passwords").connection.close()
    with pytest.raises(StoreError, match="no such table"):
        now(store.mint(JULIET, 30))


def test_expired_counters_are_deleted_from_the_file(path: Path) -> None:
    clock = Clock()
    counters = SQLiteFailureCounters(path, clock.seconds)
    now(counters.add("old", 9, 10))
    now(counters.add("new", 9, 20))
    clock.advance(10)
    now(counters.sweep())
    assert _read(path, "SELECT key FROM counts") == [("new",)]


def test_a_second_connection_of_a_process_keeps_the_locks_of_the_first(path: Path) -> None:
    """Without these locks, another process that closes the file removes what the first connection works with."""
    store, counters = SQLiteStore(path), SQLiteFailureCounters(path)
    subprocess.run([sys.executable, "-c", OPEN_AND_CLOSE, path], check=True)
    minted = now(SQLiteStore(path).mint(JULIET, 30))
    assert now(store.redeem(JULIET, minted.text.encode()))
    counters.close()


def test_many_processes_open_a_new_file_at_the_same_time(
    openers: list["subprocess.Popen[str]"], tmp_path: Path
) -> None:
    for number in range(3):
        path = tmp_path / f"{number}.sqlite"
        assert _open_at_the_same_time(openers, path) == ["open\n"] * 8
        assert _read(path, "PRAGMA user_version") == [(1,)]


def test_many_processes_upgrade_a_file_at_the_same_time(openers: list["subprocess.Popen[str]"], tmp_path: Path) -> None:
    for number in range(3):
        path = tmp_path / f"{number}.sqlite"
        _create(path, UNVERSIONED)
        assert _open_at_the_same_time(openers, path) == ["open\n"] * 8
        assert _read(path, "SELECT jid FROM passwords") == [(JULIET,)]
        assert _read(path, "PRAGMA user_version") == [(1,)]


@pytest.mark.parametrize("store", STORES)
def test_a_file_without_a_version_is_upgraded_and_keeps_its_content(store: Store, path: Path) -> None:
    _create(path, UNVERSIONED)
    store(path)
    store(path)
    assert _read(path, "PRAGMA user_version") == [(VERSIONS[store],)]
    assert _read(path, "SELECT jid FROM passwords UNION ALL SELECT jid FROM users") == [(JULIET,), (JULIET,)]
    assert _read(path, "SELECT key, count FROM counts") == [("x", 3)]


@pytest.mark.parametrize("store", STORES)
def test_a_file_with_a_newer_version_is_rejected_and_left_unchanged(store: Store, path: Path) -> None:
    version = VERSIONS[store]
    _create(path, f"CREATE TABLE future (x); PRAGMA user_version = {version + 1};")
    before = path.read_bytes()
    with pytest.raises(StoreError) as raised:
        store(path)
    expected = f"{path} has schema version {version + 1}, and this release supports versions up to {version}: "
    assert str(raised.value).startswith(expected)
    assert "upgrade warmside" in str(raised.value)
    assert path.read_bytes() == before


def test_the_pages_of_a_new_file_are_small(path: Path) -> None:
    SQLiteStore(path)
    assert _read(path, "PRAGMA page_size") == [(1024,)]
