"""Counts of failures: shared, bounded, forgotten in time."""

import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from tests.support import now
from warmside.store.interface import StoreError
from warmside.store.sqlite import SQLiteFailureCounters, SQLiteStore


def test_counts_are_shared_by_all_who_open_the_file(tmp_path: Path) -> None:
    one, other = (SQLiteFailureCounters(tmp_path / "counts.sqlite") for _ in range(2))
    added = [now((one, other)[number % 2].add("x", 3, 60)) for number in range(5)]
    assert added == [True, True, True, False, False]
    assert now(one.count("x"))[0] == now(other.count("x"))[0] == 3


def test_a_second_connection_of_a_process_leaves_the_first_ones_locks_alone(tmp_path: Path) -> None:
    """Otherwise the next process that closes the file would remove what the first connection works with."""
    path = tmp_path / "passwords.sqlite"
    store, counts = SQLiteStore(path), SQLiteFailureCounters(path)
    other = "Counters(pathlib.Path(sys.argv[1])).close()"
    subprocess.run([sys.executable, "-c", other, str(path)], check=True)
    third = SQLiteStore(path)
    minted = now(third.mint("juliet@example.org", 30))
    assert now(store.redeem("juliet@example.org", minted.text.encode()))
    counts.close()


def test_a_count_is_forgotten_when_nothing_is_added_for_its_window() -> None:
    clock = Clock()
    counts = SQLiteFailureCounters(None, clock.seconds)
    assert now(counts.add("x", 2, 10))
    clock.advance(9)
    assert now(counts.add("x", 2, 10))
    clock.advance(9)
    assert now(counts.count("x")) == (2, 1.0)
    assert not now(counts.add("x", 2, 10))
    clock.advance(1)
    assert now(counts.count("x")) == (0, 0.0)
    assert now(counts.add("x", 2, 10))
    assert now(counts.count("x"))[0] == 1


def test_what_was_added_can_be_taken_back_or_forgotten() -> None:
    counts = SQLiteFailureCounters(None)
    for key in ("x", "x", "y"):
        now(counts.add(key, 9, 60))
    now(counts.take_back("x"))
    now(counts.take_back("none"))
    assert now(counts.count("x"))[0] == 1
    now(counts.forget("x", "y", "none"))
    assert now(counts.count("x"))[0] == now(counts.count("y"))[0] == 0


def test_sweeping_removes_what_is_forgotten() -> None:
    clock = Clock()
    counts = SQLiteFailureCounters(None, clock.seconds)
    now(counts.add("old", 9, 10))
    now(counts.add("new", 9, 20))
    clock.advance(10)
    now(counts.sweep())
    assert counts._database.execute("SELECT key FROM counts").fetchall() == [("new",)]


def test_a_broken_store_says_so(tmp_path: Path) -> None:
    counts = SQLiteFailureCounters(tmp_path / "counts.sqlite")
    counts.close()
    with pytest.raises(StoreError):
        now(counts.add("x", 1, 1))
    with pytest.raises(StoreError):
        SQLiteFailureCounters(tmp_path)
