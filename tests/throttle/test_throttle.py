"""The interface of the throttle, and its limit on the rejections of an address."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.support import logging, now
from warmside.store.accepted import AcceptedPasswords
from warmside.store.interface import StoreError
from warmside.store.sqlite import SQLiteFailureCounters
from warmside.throttle.addresses import MAX_DELAY
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
    return Throttle(clock, counters, AcceptedPasswords(None, clock=clock.seconds))


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


def test_rejections_of_an_address_leave_one_by_one(throttle: Throttle, clock: Clock) -> None:
    """However many connections an address has, its next guesses come one by one, and the queue stays short."""
    contexts = [begin(throttle, web(f"wrong{number}")) for number in range(24)]
    rejections = [Deferred.fromCoroutine(verdict.rejected()) for _, verdict in contexts]
    elsewhere = reject(throttle, web("wrong", address="192.0.2.2"))
    clock.advance(ADMIN_LIMIT.min_rejection_time)
    now(elsewhere)
    for number, rejection in enumerate(rejections):
        assert [each.called for each in rejections] == [True] * (number + 1) + [False] * (23 - number)
        rejection.addErrback(lambda failure: failure.trap(TooManyFailures))
        clock.advance(ADMIN_LIMIT.interval)


def test_rejections_wait_longer_if_checks_take_longer(throttle: Throttle, clock: Clock) -> None:
    """Otherwise one address could use all checks of a busy machine, and a new password would wait for ever."""
    contexts = [begin(throttle, web(f"wrong{number}")) for number in range(3)]
    first, second, third = (Deferred.fromCoroutine(verdict.rejected(check_time=9)) for _, verdict in contexts)
    clock.advance(ADMIN_LIMIT.min_rejection_time)
    now(first)
    clock.advance(2 * 9 - 0.01)
    assert not second.called
    clock.advance(0.02)
    now(second)
    assert not third.called
    clock.advance(MAX_DELAY - clock.seconds())
    now(third)


def test_attempts_of_an_address_in_progress_are_limited_until_they_have_an_outcome(throttle: Throttle) -> None:
    begun = [begin(throttle, web(f"more{number}")) for number in range(ADMIN_LIMIT.max_pending)]
    with pytest.raises(TooManyFailures) as refused:
        begin(throttle, web("one too many"))
    assert 1 <= refused.value.retry_after <= ADMIN_LIMIT.limit.window
    begun.append(begin(throttle, web("secret", address="192.0.2.2")))
    now(begun[0][0].__aexit__(None, None, None))
    now(begun[1][1].accepted())
    now(begun[1][0].__aexit__(None, None, None))
    begun += [begin(throttle, web(f"again{number}")) for number in range(2)]
    with pytest.raises(TooManyFailures):
        begin(throttle, web("one too many"))


def test_attempts_of_all_addresses_in_progress_are_limited_and_each_address_may_have_some(throttle: Throttle) -> None:
    addresses = ADMIN_LIMIT.max_pending_in_all // ADMIN_LIMIT.max_pending
    begun = [
        begin(throttle, web(f"{number}", address=f"192.0.2.{address}"))
        for address in range(addresses)
        for number in range(ADMIN_LIMIT.max_pending)
    ]
    begun += [begin(throttle, web(f"{number}", address="::1")) for number in range(ADMIN_LIMIT.min_pending)]
    with pytest.raises(TooManyFailures):
        begin(throttle, web("one too many", address="::1"))


def test_attempt_that_is_refused_unchecked_takes_as_long_as_a_rejection(throttle: Throttle, clock: Clock) -> None:
    _, verdict = begin(throttle, web("wrong"))
    delay = Deferred.fromCoroutine(verdict.delay())
    clock.advance(ADMIN_LIMIT.min_rejection_time - 0.01)
    assert not delay.called
    clock.advance(0.01)
    now(delay)


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
