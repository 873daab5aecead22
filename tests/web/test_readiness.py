"""The checks behind ``/ready``."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.support import logging, now
from warmside.store.interface import StoreError
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


class FakeStore:
    def __init__(self, error: Exception | None) -> None:
        self._error = error

    async def sweep(self) -> None:
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize(("error", "state"), [(None, "ok"), (StoreError("disk full"), "broken")])
def test_a_store_that_cannot_be_written_to_is_broken(error: Exception | None, state: str) -> None:
    assert now(check_store(FakeStore(error))) == state  # type: ignore[arg-type]


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
        (["a.example", "b.example"], "unsafe: a.example, b.example"),
        (["x"] * (MAX_NAMED_HOSTS + 2), "unsafe: " + ", ".join(["x"] * MAX_NAMED_HOSTS) + " and 2 more"),
        (None, "unknown"),
    ],
)
def test_unsafe_hosts_are_named(hosts: list[str] | None, state: str) -> None:
    assert now(check_hosts(FakeVerdicts(hosts))) == state  # type: ignore[arg-type]
