"""Failure counters: shared, limited, and removed once they expire."""

from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.store.backends import Backend
from warmside.store.interface import UNLIMITED, StoreError


class Counters:
    """Failure counters whose methods return results, and their clock."""

    def __init__(self, backend: Backend) -> None:
        self.clock = Clock()
        self._result = backend.result
        self._counters = backend.counters(self.clock.seconds)

    def add(self, key: str, limit: int, window: float) -> bool:
        return bool(self._result(self._counters.add(key, limit, window)))

    def count(self, key: str) -> Any:
        return self._result(self._counters.count(key))

    def take_back(self, key: str) -> None:
        self._result(self._counters.take_back(key))

    def forget(self, *keys: str) -> None:
        self._result(self._counters.forget(*keys))

    def sweep(self) -> None:
        self._result(self._counters.sweep())

    def close(self) -> None:
        self._counters.close()


@pytest.fixture
def counters(backend: Backend) -> Counters:
    return Counters(backend)


def test_connections_share_counters(shared_backend: Backend) -> None:
    first, second = Counters(shared_backend), Counters(shared_backend)
    added = [(first, second)[number % 2].add("x", 3, 60) for number in range(5)]
    assert added == [True, True, True, False, False]
    assert first.count("x")[0] == second.count("x")[0] == 3


def test_a_counter_expires_when_nothing_is_added_within_its_window(counters: Counters) -> None:
    assert counters.add("x", 2, 10)
    counters.clock.advance(9)
    assert counters.add("x", 2, 10)
    counters.clock.advance(9)
    assert counters.count("x") == (2, 1.0)
    assert not counters.add("x", 2, 10)
    counters.clock.advance(1)
    assert counters.count("x") == (0, 0.0)
    assert counters.add("x", 2, 10)
    assert counters.count("x")[0] == 1


def test_a_counter_without_a_limit_counts_on(counters: Counters) -> None:
    assert [counters.add("x", limit, 10) for limit in (1, 1, UNLIMITED)] == [True, False, True]
    assert counters.count("x")[0] == 2


def test_a_counter_is_decremented_or_removed(counters: Counters) -> None:
    for key in ("x", "x", "y"):
        counters.add(key, 9, 60)
    counters.take_back("x")
    counters.take_back("none")
    assert counters.count("x")[0] == 1
    counters.take_back("x")
    counters.take_back("x")
    assert counters.count("x")[0] == 0
    counters.forget("x", "y", "none")
    assert counters.count("x")[0] == counters.count("y")[0] == 0


def test_removing_expired_counters_keeps_the_others(counters: Counters) -> None:
    counters.add("old", 9, 10)
    counters.add("new", 9, 20)
    counters.clock.advance(10)
    counters.sweep()
    assert counters.count("old") == (0, 0.0)
    assert counters.count("new") == (1, 10.0)


def test_closed_counters_raise_store_error(counters: Counters) -> None:
    counters.close()
    with pytest.raises(StoreError):
        counters.add("x", 1, 1)
    with pytest.raises(StoreError):
        counters.count("x")
