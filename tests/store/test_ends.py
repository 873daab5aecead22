"""Ended users in SQLite."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from warmside.store.ends import MARK_LIFETIME, SQLiteEnds
from warmside.store.sqlite import SQLiteStore

JULIET, ROMEO = "juliet@example.org", "romeo@example.org"


def done(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that waits for nothing."""
    return asyncio.run(coroutine)


class Time:
    """A clock that two processes share."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def pair(tmp_path: Path, time: Time) -> Any:
    """Open the file of the one-time passwords as two processes do."""
    store = SQLiteStore(tmp_path / "passwords.sqlite")
    ends = [SQLiteEnds(tmp_path / "passwords.sqlite", time) for _ in range(2)]
    yield ends
    for each in ends:
        each.close()
    done(store.close())


def test_every_process_sees_a_mark_in_calls_that_began_before(pair: Any, time: Time) -> None:
    one, other = pair
    done(one.mark(JULIET))
    for began, ended in ((999.0, True), (1000.0, True), (1000.1, False)):
        assert done(other.ended_since(began, JULIET, JULIET + "/a")) is ended
    assert not done(other.ended_since(0, ROMEO)) and not done(other.ended_since(0, JULIET + "/a"))
    time.now += 5
    done(other.mark(JULIET))
    assert done(one.ended_since(1004.0, JULIET))


def test_a_mark_that_waited_for_another_process_does_not_replace_a_later_one(pair: Any, time: Time) -> None:
    one, other = pair
    time.now = 1000.3
    done(other.mark(JULIET))
    time.now = 1000.0  # read before the file was locked by the other process
    done(one.mark(JULIET))
    time.now = 1000.5
    assert done(one.ended_since(1000.2, JULIET))
    assert not done(one.ended_since(1000.4, JULIET))


def test_only_one_call_holds_the_lease_of_a_user_until_it_expires(pair: Any, time: Time) -> None:
    one, other = pair
    assert done(one.begin(JULIET, "x", 10))
    assert not done(other.begin(JULIET, "y", 10)) and done(other.begin(ROMEO, "y", 10))
    done(other.release(JULIET, "y"))
    assert not done(other.begin(JULIET, "y", 10))
    done(one.release(JULIET, "x"))
    assert done(other.begin(JULIET, "y", 10))
    time.now += 10
    assert done(one.begin(JULIET, "x", 10))


def test_old_marks_and_leases_are_removed(pair: Any, time: Time) -> None:
    one, _ = pair
    done(one.mark(JULIET))
    done(one.begin(JULIET, "x", 10))
    time.now += MARK_LIFETIME + 1
    done(one.mark(ROMEO))
    done(one.begin(ROMEO, "x", 10))
    done(one.sweep())
    for table in ("ends", "ending"):
        assert one._run(f"SELECT jid FROM {table}") == [(ROMEO,)]


def test_marks_and_leases_of_an_earlier_boot_count_for_nothing(pair: Any, time: Time) -> None:
    one, other = pair
    time.now = 90_000.0
    done(one.mark(JULIET))
    done(one.begin(JULIET, "x", 10))
    time.now = 50.0
    assert not done(other.ended_since(49.0, JULIET))
    assert done(other.begin(JULIET, "y", 10))
    done(other.mark(JULIET))
    assert done(other.ended_since(49.0, JULIET))
    done(one.mark(ROMEO))
    time.now = 40.0
    done(other.sweep())
    assert other._run("SELECT * FROM ends") == []
