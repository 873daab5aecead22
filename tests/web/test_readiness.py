"""The checks behind ``/ready``."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.support import logging, now
from warmside.store.interface import StoreError
from warmside.store.sqlite import SQLiteKnownUsers, SQLiteStore
from warmside.web.readiness import MAX_AGE, MAX_NAMED_HOSTS, Readiness, check_hosts, check_store


class Part:
    """A part whose check is counted, and answered by the test if it is to take time."""

    def __init__(self) -> None:
        self.state = "ok"
        self.checks = 0
        self.pending: Deferred[None] | None = None

    async def check(self) -> str:
        self.checks += 1
        if self.pending is not None:
            await self.pending
        return self.state


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def part() -> Part:
    return Part()


@pytest.fixture
def readiness(clock: Clock, part: Part) -> Readiness:
    async def check_other() -> str:
        return "ok"

    return Readiness(clock, {"part": part.check, "other": check_other})


def test_a_result_is_used_for_a_second(readiness: Readiness, clock: Clock, part: Part) -> None:
    assert now(readiness.check()) == {"part": "ok", "other": "ok"}
    part.state = "broken"
    clock.advance(MAX_AGE)
    assert now(readiness.check()) == {"part": "ok", "other": "ok"} and part.checks == 1
    clock.advance(0.1)
    assert now(readiness.check()) == {"part": "broken", "other": "ok"} and part.checks == 2


def test_requests_at_the_same_time_share_one_check(readiness: Readiness, part: Part) -> None:
    part.pending = Deferred()
    results = [Deferred.fromCoroutine(readiness.check()) for _ in range(3)]
    part.pending.callback(None)
    assert [now(result) for result in results] == [{"part": "ok", "other": "ok"}] * 3
    assert part.checks == 1


def test_the_age_of_a_result_counts_from_the_start_of_its_check(readiness: Readiness, clock: Clock, part: Part) -> None:
    part.pending = Deferred()
    result = Deferred.fromCoroutine(readiness.check())
    clock.advance(0.9)
    part.pending.callback(None)
    assert now(result) == {"part": "ok", "other": "ok"}
    clock.advance(0.2)
    now(readiness.check())
    assert part.checks == 2


def test_changes_are_logged(readiness: Readiness, clock: Clock, part: Part) -> None:
    with logging() as logged:
        for state in ("ok", "broken", "broken", "ok"):
            part.state = state
            now(readiness.check())
            clock.advance(MAX_AGE + 0.1)
    assert [line.partition("ready: ")[2].partition(" {'")[0] for line in logged] == [
        "part broken, other ok",
        "part ok, other ok",
    ]


def test_a_cause_is_logged_and_not_shown(readiness: Readiness, part: Part) -> None:
    part.state = "broken: /var/lib/warmside is full"
    with logging() as logged:
        assert now(readiness.check()) == {"part": "broken", "other": "ok"}
    assert "/var/lib/warmside is full" in logged[0]


def test_a_check_that_raises_is_a_part_that_failed(clock: Clock, part: Part) -> None:
    async def check() -> str:
        raise ZeroDivisionError

    with logging() as logged:
        assert now(Readiness(clock, {"broken": check, "part": part.check}).check()) == {
            "broken": "failed",
            "part": "ok",
        }
    assert any("the check of broken failed" in line for line in logged)


def test_parts_are_checked_at_the_same_time(clock: Clock) -> None:
    first, second = Part(), Part()
    first.pending = Deferred()
    result = Deferred.fromCoroutine(Readiness(clock, {"first": first.check, "second": second.check}).check())
    assert second.checks == 1
    first.pending.callback(None)
    assert now(result) == {"first": "ok", "second": "ok"}


class FakeVerdicts:
    def __init__(self, hosts: list[str] | None) -> None:
        self._hosts = hosts

    def unsafe(self) -> list[str]:
        if self._hosts is None:
            raise StoreError("disk full")
        return self._hosts


@pytest.mark.parametrize(
    ("hosts", "state"),
    [
        ([], "ok"),
        (["a.example", "b.example"], "unsafe a.example, b.example"),
        (["x"] * (MAX_NAMED_HOSTS + 2), "unsafe " + ", ".join(["x"] * MAX_NAMED_HOSTS) + " and 2 more"),
        (None, "unknown"),
    ],
)
def test_unsafe_hosts_are_named(hosts: list[str] | None, state: str) -> None:
    assert now(check_hosts(FakeVerdicts(hosts))) == state  # type: ignore[arg-type]


class Files:
    """A store and known users in files that may be full."""

    def __init__(self, folder: Path) -> None:
        self.store = SQLiteStore(folder / "passwords.sqlite")
        self.users = SQLiteKnownUsers(folder / "users.sqlite")

    def fill(self, full: SQLiteStore | SQLiteKnownUsers) -> None:
        """Let a file grow no more, as on a full disk."""
        (pages,) = full._database.execute("PRAGMA page_count").fetchone()
        full._database.execute(f"PRAGMA max_page_count = {pages}")

    def check(self) -> str:
        result: str = now(check_store(self.store, self.users))
        return result

    def rows(self) -> int:
        """Return the number of rows in both files."""
        counts = [
            self.store._database.execute("SELECT count(*) FROM passwords").fetchone()[0],
            self.users._database.execute("SELECT count(*) FROM users").fetchone()[0],
        ]
        return int(sum(counts))


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    opened = Files(tmp_path)
    yield opened
    opened.users.close()
    now(opened.store.close())


def test_the_check_of_the_store_leaves_nothing_behind(files: Files) -> None:
    assert files.check() == "ok" and files.rows() == 0


@pytest.mark.parametrize("name", ["store", "users"])
def test_a_full_file_is_broken(files: Files, name: str) -> None:
    files.fill(getattr(files, name))
    state = files.check()
    assert state.startswith("broken: ") and "full" in state and files.rows() == 0


def test_a_store_that_does_not_redeem_is_broken(files: Files) -> None:
    files.store.redeem = lambda bare, password: False  # type: ignore[method-assign]
    assert files.check().startswith("broken: ") and files.rows() == 0
