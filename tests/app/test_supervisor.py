"""The supervisor of `warmside extauth`: a program with a pipe on stdin stays up."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.support import logging, now
from warmside.app.supervisor import REMIND_INTERVAL, RETRY_INTERVAL, Supervisor
from warmside.extauth.authorities import Authority
from warmside.extauth.request import ExtauthRequest


class Accepting(Authority):
    pass


class Service:
    def __init__(self) -> None:
        self.authority: Any = Accepting()
        self.closed_within: float | None = None

    async def close(self, within: float, last: Callable[[], None]) -> None:
        self.closed_within = within
        last()


class World:
    """A service that starts if `fault` is not set."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.fault: Exception | None = None
        self.service = Service()
        self.attempts = 0
        self.supervisor = Supervisor(self.clock, self.start)
        self.logged: list[str] = []

    async def start(self) -> Service:
        self.attempts += 1
        if self.fault is not None:
            raise self.fault
        return self.service

    def complaints(self) -> int:
        return sum("rejecting all extauth requests" in line for line in self.logged)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    with logging() as world.logged:
        yield world


def test_started_service_answers(world: World) -> None:
    assert not isinstance(world.supervisor.authority(), Accepting)
    world.supervisor.begin()
    assert isinstance(world.supervisor.authority(), Accepting)
    assert world.complaints() == 0


def test_requests_are_rejected_until_the_service_starts(world: World) -> None:
    world.fault = ValueError("port taken")
    world.supervisor.begin()
    for _ in range(5):
        refusing = world.supervisor.authority()
        assert refusing is not None and refusing.answer(ExtauthRequest("auth", "u", "h", b"p")) is False
        assert not isinstance(world.supervisor.authority(), Accepting)
        world.clock.advance(RETRY_INTERVAL)
    world.fault = None
    world.clock.advance(RETRY_INTERVAL)
    assert isinstance(world.supervisor.authority(), Accepting)
    assert any("the error is fixed" in line for line in world.logged)


def test_reason_is_logged_once_a_minute_and_when_it_changes(world: World) -> None:
    world.fault = ValueError("port taken")
    world.supervisor.begin()
    for _ in range(int(REMIND_INTERVAL) - 1):
        world.clock.advance(RETRY_INTERVAL)
    assert world.complaints() == 1
    world.clock.advance(RETRY_INTERVAL)
    assert world.complaints() == 2
    world.fault = KeyError()
    world.clock.advance(RETRY_INTERVAL)
    assert world.complaints() == 3
    assert "KeyError" in world.logged[-1]


def test_end_closes_the_service(world: World) -> None:
    world.supervisor.begin()
    now(world.supervisor.end(0.5, lambda: None))
    assert world.service.closed_within == 0.5


def test_after_the_end_no_request_is_answered(world: World) -> None:
    world.supervisor.begin()
    asked: list[object] = []
    now(world.supervisor.end(0.5, lambda: asked.append(world.supervisor.authority())))
    assert asked == [None]


def test_end_stops_the_attempts_to_start(world: World) -> None:
    world.fault = ValueError("x")
    world.supervisor.begin()
    now(world.supervisor.end(0.5, lambda: None))
    attempts = world.attempts
    world.clock.advance(10)
    assert world.attempts == attempts
    assert not world.clock.getDelayedCalls()
