"""Checks of the connection managers."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.support import now
from warmside.bosh.errors import InvalidResponse, Unreachable
from warmside.sessions.reachability import CHECK_TIMEOUT, check_managers


class FakeManager:
    """Answers a check when the test does."""

    def __init__(self) -> None:
        self.url = "http://127.0.0.1:5282/bosh"
        self.result: Deferred[None] = Deferred()

    async def check(self) -> None:
        await self.result


def check(clock: Clock, *managers: FakeManager) -> "Deferred[str]":
    fakes: Any = managers
    return Deferred.fromCoroutine(check_managers(clock, fakes))


def test_managers_that_respond_are_ok() -> None:
    managers = [FakeManager(), FakeManager()]
    result = check(Clock(), *managers)
    for manager in managers:
        assert not result.called
        manager.result.callback(None)
    assert now(result) == "ok"


@pytest.mark.parametrize(
    ("error", "state"),
    [(Unreachable("connection refused"), "unreachable"), (InvalidResponse("HTTP 404"), "not-bosh")],
)
def test_a_fault_has_a_word_a_url_and_a_cause(error: Exception, state: str) -> None:
    failed, sound = FakeManager(), FakeManager()
    failed.result.errback(error)
    sound.result.callback(None)
    assert now(check(Clock(), sound, failed)) == f"{state}: http://127.0.0.1:5282/bosh: {error}"


def test_managers_that_do_not_respond_are_unreachable_after_one_time_limit() -> None:
    clock = Clock()
    result = check(clock, FakeManager(), FakeManager())
    clock.advance(CHECK_TIMEOUT - 0.1)
    assert not result.called
    clock.advance(0.1)
    assert now(result).startswith("unreachable: ") and not clock.getDelayedCalls()


def test_no_manager_is_ok() -> None:
    assert now(check(Clock())) == "ok"
