"""The interface of the throttle, and its limit on the rejections of an address."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.support import logging, now, work_at_once
from warmside.store.interface import StoreError
from warmside.store.sqlite import SQLiteFailureCounters
from warmside.throttle.limits import ADMIN_LIMIT, Kind, TooManyFailures
from warmside.throttle.throttle import Attempt, Throttle, Verdict

MAX_FAILURES = ADMIN_LIMIT.limit.max_failures


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counters(clock: Clock) -> SQLiteFailureCounters:
    return SQLiteFailureCounters(None, clock.seconds)


@pytest.fixture
def throttle(clock: Clock, counters: SQLiteFailureCounters) -> Throttle:
    return Throttle(clock, counters, work_at_once)


def web(password: str, address: str = "192.0.2.1", version: str = "") -> Attempt:
    return Attempt(Kind.ADMIN, "web", password.encode(), address, version.encode())


def begin(throttle: Throttle, attempt: Attempt) -> tuple[Any, Verdict]:
    """Begin an attempt; return its context and its verdict."""
    context = throttle.attempt(attempt)
    return context, now(context.__aenter__())


def reject(throttle: Throttle, attempt: Attempt) -> "Deferred[None]":
    async def rejected() -> None:
        async with throttle.attempt(attempt) as verdict:
            await verdict.rejected()

    return Deferred.fromCoroutine(rejected())


def accept(throttle: Throttle, attempt: Attempt) -> None:
    async def accepted() -> None:
        async with throttle.attempt(attempt) as verdict:
            await verdict.accepted()

    now(accepted())


def slow_down(throttle: Throttle, clock: Clock) -> None:
    for number in range(MAX_FAILURES):
        rejection = reject(throttle, web(f"wrong{number}"))
        clock.advance(ADMIN_LIMIT.min_rejection_time)
        now(rejection)


def test_repr_of_an_attempt_shows_no_password() -> None:
    assert "secret" not in repr(web("secret", version="secret"))


def test_rejection_of_an_admin_takes_a_minimum_time(throttle: Throttle, clock: Clock) -> None:
    rejection = reject(throttle, web("wrong"))
    clock.advance(ADMIN_LIMIT.min_rejection_time - 0.01)
    assert not rejection.called
    clock.advance(0.01)
    now(rejection)


def test_attempts_of_a_slowed_address_are_limited_until_they_have_an_outcome(throttle: Throttle, clock: Clock) -> None:
    slow_down(throttle, clock)
    begun = [begin(throttle, web(f"more{number}")) for number in range(ADMIN_LIMIT.max_checks)]
    with pytest.raises(TooManyFailures):
        begin(throttle, web("one too many"))
    begun.append(begin(throttle, web("secret", address="192.0.2.2")))
    context, _ = begun[0]
    now(context.__aexit__(None, None, None))
    now(begun[1][1].accepted())
    begun += [begin(throttle, web(f"again{number}")) for number in range(2)]
    with pytest.raises(TooManyFailures):
        begin(throttle, web("one too many"))


def test_accepted_password_of_another_version_is_unknown(throttle: Throttle) -> None:
    accept(throttle, web("secret", version="hash"))
    assert begin(throttle, web("secret", version="hash"))[1].previously_accepted
    assert not begin(throttle, web("secret", version="changed"))[1].previously_accepted


def test_passwords_of_users_and_admins_are_remembered_apart(throttle: Throttle) -> None:
    accept(throttle, Attempt(Kind.USER, "juliet@example.org", b"secret"))
    assert begin(throttle, Attempt(Kind.USER, "juliet@example.org", b"secret"))[1].previously_accepted
    assert not begin(throttle, Attempt(Kind.ADMIN, "juliet@example.org", b"secret", "::1"))[1].previously_accepted


def test_failing_store_does_not_hide_the_error_of_an_attempt(
    throttle: Throttle, counters: SQLiteFailureCounters, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(key: str) -> None:
        raise StoreError("disk full")

    async def failing() -> None:
        async with throttle.attempt(Attempt(Kind.USER, "juliet@example.org", b"secret")):
            raise LookupError

    monkeypatch.setattr(counters, "take_back", broken)
    with logging() as logged, pytest.raises(LookupError):
        now(failing())
    assert "disk full" in "".join(logged) and "secret" not in "".join(logged)


def test_least_recently_used_accepted_password_is_dropped_from_memory(
    clock: Clock, counters: SQLiteFailureCounters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warmside.throttle.verified.MAX_REMEMBERED", 2)
    throttle = Throttle(clock, counters, work_at_once)
    accept(throttle, web("a"))
    accept(throttle, web("b"))
    assert begin(throttle, web("a"))[1].previously_accepted
    accept(throttle, web("c"))
    known = {each: throttle._verified[b"admin"].known_here(*web(each).parts) for each in "abc"}
    assert known == {"a": True, "b": False, "c": True}
