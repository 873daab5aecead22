"""What is remembered of an authority that is down."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from tests.support import now
from warmside.extauth.authorities import Answer, Authority, AuthorityUnavailable
from warmside.extauth.stale import REMEMBERED, StaleIsUserCache


class Other(Authority):
    """Answers as it is told, or is down."""

    def __init__(self, *, slowly: bool) -> None:
        self.slowly = slowly
        self.says: bool | None = True

    def isuser(self, user: str, host: str) -> Answer:
        if self.says is None:
            if self.slowly:
                return fail(AuthorityUnavailable())
            raise AuthorityUnavailable
        return succeed(self.says) if self.slowly else self.says

    def removeuser(self, user: str, host: str) -> Answer:
        return succeed(True) if self.slowly else True

    def tryregister(self, user: str, host: str, password: bytes) -> Answer:
        return succeed(True) if self.slowly else True


class World:
    def __init__(self, slowly: bool) -> None:
        self.seconds = 0.0
        self.other = Other(slowly=slowly)
        self.remembering = StaleIsUserCache(self.other, lambda: self.seconds)

    def isuser(self, says: bool | None) -> bool | None:
        """The answer when the other authority says this; ``None``: there is none."""
        self.other.says = says
        try:
            answer: Any = self.remembering.isuser("juliet", "example.org")
            return bool(now(answer)) if isinstance(answer, Deferred) else answer
        except AuthorityUnavailable:
            return None


@pytest.fixture(params=[False, True])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def test_the_last_yes_counts_for_an_hour(world: World) -> None:
    assert world.isuser(True) is True
    world.seconds = REMEMBERED - 1
    assert world.isuser(None) is True
    world.seconds = REMEMBERED
    assert world.isuser(None) is None


def test_a_no_is_never_remembered_and_ends_a_yes(world: World) -> None:
    assert world.isuser(True) is True
    assert world.isuser(False) is False
    assert world.isuser(None) is None


def test_who_was_removed_exists_no_more_and_who_was_registered_does(world: World) -> None:
    assert world.isuser(True) is True
    world.remembering.removeuser("juliet", "example.org")
    assert world.isuser(None) is None
    world.remembering.tryregister("juliet", "example.org", b"x")
    assert world.isuser(None) is True


def test_memory_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warmside.extauth.stale.MAX_REMEMBERED", 10)
    for number in range(50):
        world.remembering.isuser(f"user{number}", "example.org")
    assert len(world.remembering._exists) == 10
