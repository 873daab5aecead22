"""Verdicts on hosts: shared by connections to one file, leased, dropped, removed."""

from pathlib import Path

import pytest
from twisted.internet.task import Clock

from warmside.store.interface import HostState, HostVerdict, StoreError
from warmside.store.verdicts import KEEP_REFUSED_TIME, MAX_HOSTS, SQLiteVerdicts

HOST = "example.org"


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.advance(1000)
    return clock


@pytest.fixture
def both(tmp_path: Path, clock: Clock) -> tuple[SQLiteVerdicts, SQLiteVerdicts]:
    """Two connections to one file, as two processes have them."""
    path = tmp_path / "x.sqlite"
    return SQLiteVerdicts(path, clock.seconds), SQLiteVerdicts(path, clock.seconds)


Both = tuple[SQLiteVerdicts, SQLiteVerdicts]


def verdict(clock: Clock, state: HostState = HostState.SAFE, host_time: float = 60) -> HostVerdict:
    return HostVerdict(state, clock.seconds(), clock.seconds() + host_time)


def record(verdicts: SQLiteVerdicts, recorded: HostVerdict, host: str = HOST) -> None:
    assert verdicts.begin(host, "lease", 5)
    assert verdicts.record(host, "lease", recorded)


def test_a_verdict_is_read_by_the_other_connection(both: Both, clock: Clock) -> None:
    assert both[1].get(HOST) is None
    recorded = HostVerdict(HostState.REFUSED, 1.5, 2.5, 3, '{"condition": "x"}')
    record(both[0], recorded)
    assert both[1].get(HOST) == recorded


def test_one_lease_is_held_at_a_time_and_expires_by_itself(both: Both, clock: Clock) -> None:
    first, second = both
    assert first.begin(HOST, "a", 5)
    assert not second.begin(HOST, "b", 5)
    assert second.begin("other.example", "b", 5)
    clock.advance(4.9)
    assert first.extend(HOST, "a", 5)
    clock.advance(4.9)
    assert not second.begin(HOST, "b", 5)
    clock.advance(0.1)
    assert second.begin(HOST, "b", 5)
    assert not first.extend(HOST, "a", 5)
    assert not first.record(HOST, "a", verdict(clock))
    assert second.get(HOST) is None


@pytest.mark.parametrize("host", [None, HOST])
def test_a_drop_during_a_probe_voids_its_result(both: Both, clock: Clock, host: str | None) -> None:
    first, second = both
    record(first, verdict(clock))
    assert first.begin(HOST, "a", 5)
    second.drop(host)
    assert first.get(HOST) is None
    assert not first.extend(HOST, "a", 5)
    assert not first.record(HOST, "a", verdict(clock))
    assert second.get(HOST) is None


def test_a_back_off_survives_the_drop_of_its_host_and_ends_by_its_own_call(both: Both, clock: Clock) -> None:
    record(both[0], verdict(clock, HostState.REFUSED))
    both[1].drop(HOST)
    both[1].end_back_off("other.example")
    assert both[0].get(HOST) is not None
    both[1].end_back_off(HOST)
    assert both[0].get(HOST) is None


@pytest.mark.parametrize("state", [HostState.SAFE, HostState.CACHING, HostState.ANONYMOUS])
def test_the_end_of_a_back_off_leaves_other_verdicts(both: Both, clock: Clock, state: HostState) -> None:
    record(both[0], verdict(clock, state))
    both[1].end_back_off(HOST)
    assert both[0].get(HOST) is not None


@pytest.mark.parametrize(
    ("state", "age", "stays"),
    [(HostState.SAFE, 59, True), (HostState.SAFE, 60, False), (HostState.CACHING, 1, False), (None, 0, False)],
)
def test_a_release_leaves_only_a_valid_safe_verdict(
    both: Both, clock: Clock, state: HostState | None, age: float, stays: bool
) -> None:
    if state is not None:
        record(both[0], verdict(clock, state))
    clock.advance(age)
    assert both[0].begin(HOST, "a", 5)
    both[0].release(HOST, "a")
    assert (both[0].get(HOST) is not None) is stays
    assert both[1].begin(HOST, "b", 5)


def test_unsafe_hosts_are_listed_until_another_verdict(both: Both, clock: Clock) -> None:
    record(both[0], verdict(clock, HostState.CACHING), "b.example")
    record(both[0], verdict(clock, HostState.ANONYMOUS), "a.example")
    record(both[0], verdict(clock, HostState.REFUSED), "c.example")
    record(both[0], verdict(clock), "d.example")
    clock.advance(3600)
    both[0].sweep()
    assert both[1].unsafe() == ["a.example", "b.example"]
    record(both[1], verdict(clock), "b.example")
    assert both[0].unsafe() == ["a.example"]


def test_verdicts_that_are_due_are_listed_without_leased_and_refused_ones(both: Both, clock: Clock) -> None:
    for number, state in enumerate((HostState.SAFE, HostState.CACHING, HostState.REFUSED, HostState.SAFE)):
        record(both[0], verdict(clock, state), f"{number}.example")
    assert both[0].begin("3.example", "a", 5)
    assert both[1].probed_before(clock.seconds() - 0.1) == {}
    assert set(both[1].probed_before(clock.seconds())) == {"0.example", "1.example"}


def test_expired_verdicts_are_removed(both: Both, clock: Clock) -> None:
    verdicts = both[0]
    record(verdicts, verdict(clock, HostState.SAFE), "safe.example")
    record(verdicts, verdict(clock, HostState.REFUSED), "refused.example")
    assert verdicts.begin("leased.example", "a", 5)
    clock.advance(4)
    verdicts.sweep()
    assert verdicts.extend("leased.example", "a", 5)
    clock.advance(56)
    verdicts.sweep()
    assert verdicts.get("safe.example") is None and verdicts.get("refused.example") is not None
    assert not verdicts.extend("leased.example", "a", 5)
    clock.advance(KEEP_REFUSED_TIME)
    verdicts.sweep()
    assert verdicts.get("refused.example") is None


def test_the_number_of_verdicts_is_bounded(both: Both, clock: Clock) -> None:
    verdicts = both[0]
    for number in range(MAX_HOSTS + 10):
        clock.advance(0.001)
        record(verdicts, verdict(clock, HostState.CACHING), f"{number:04}.example")
    verdicts.sweep()
    unsafe = verdicts.unsafe()
    assert len(unsafe) == MAX_HOSTS and unsafe[0] == "0010.example"


def test_errors_are_store_errors(both: Both) -> None:
    both[0].close()
    with pytest.raises(StoreError):
        both[0].get(HOST)
    with pytest.raises(StoreError):
        both[0].drop()
