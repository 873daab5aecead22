"""The queue of a login's responses: when its coroutine goes on, and when it does not."""

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.testing import MemoryReactorClock

from tests.support import now
from warmside.bosh.responses import Responses, is_long, parsed
from warmside.bosh.transport import Response

FIRST, SECOND = Response(200, b"<first/>"), Response(200, b"<second/>")


def waiting(responses: Responses, ready: Any) -> "Deferred[None]":
    """Return a coroutine that waits, as a Deferred."""
    return Deferred.fromCoroutine(responses.until(ready))


def test_the_coroutine_goes_on_only_when_its_function_says_so() -> None:
    responses, taken = Responses(), []

    def take_both() -> bool:
        while responses.arrived():
            taken.append(responses.take())
        return len(taken) == 2

    waited = waiting(responses, take_both)
    responses.add(FIRST, 1)
    assert (taken, waited.called) == ([(1, FIRST)], False)
    responses.add(SECOND, 2)
    assert (taken, waited.called) == ([(1, FIRST), (2, SECOND)], True)


def test_a_response_that_has_arrived_before_needs_no_wait() -> None:
    responses = Responses()
    responses.add(FIRST, 1)
    responses.add(SECOND, 2)
    now(responses.until(responses.arrived))
    assert responses.first is FIRST and [responses.take(), responses.take()] == [(1, FIRST), (2, SECOND)]


def test_responses_that_arrive_while_the_function_runs_are_kept_in_order() -> None:
    responses = Responses()
    runs: list[int] = []

    def ready() -> bool:
        runs.append(len(runs))
        if len(runs) == 2:
            responses.add(SECOND, 2)  # as a request that fails at once
        return len(runs) == 2

    waited = waiting(responses, ready)
    responses.add(FIRST, 1)
    assert waited.called and len(runs) == 2
    assert [responses.take(), responses.take()] == [(1, FIRST), (2, SECOND)]


def test_an_error_of_the_function_is_raised_in_the_coroutine() -> None:
    responses = Responses()

    def ready() -> bool:
        if responses.arrived():
            raise ValueError("wrong")
        return False

    waited = waiting(responses, ready)
    responses.add(FIRST, 1)
    with pytest.raises(ValueError, match="wrong"):
        now(waited)


def test_after_a_cancelled_wait_responses_are_kept_for_the_cleanup() -> None:
    responses = Responses()
    calls: list[int] = []

    def ready() -> bool:
        calls.append(1)
        return False

    waited = waiting(responses, ready)
    waited.cancel()
    with pytest.raises(CancelledError):
        now(waited)
    responses.add(FIRST, 1)
    assert len(calls) == 1, "the cancelled coroutine's function is not called again"
    now(responses.until(responses.arrived))
    assert responses.take() == (1, FIRST)


@pytest.mark.parametrize(("status", "size", "long"), [(200, 4097, True), (200, 4096, False), (500, 4097, False)])
def test_only_a_long_body_is_parsed_in_turns(status: int, size: int, long: bool) -> None:
    data = b"<body xmlns='http://jabber.org/protocol/httpbind'>%s</body>"
    response = Response(status, data % (b" " * (size - len(data) + 2)))
    assert is_long(response) is long
    body = now(parsed(MemoryReactorClock(), response, ()))
    assert (body is not None) is long
