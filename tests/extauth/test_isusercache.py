"""``isuser`` results that are kept for the time that an authority is unavailable."""

import pytest
from twisted.internet.defer import fail, succeed

from tests.extauth.support import request
from tests.support import now
from warmside.extauth import isusercache
from warmside.extauth.authorities import Answer, AuthorityUnavailable
from warmside.extauth.isusercache import CACHE_TIMEOUT, StaleIsUserCache
from warmside.extauth.request import ExtauthRequest


class Next:
    """Handler whose ``isuser`` a test sets. Accepts all other requests."""

    def __init__(self, *, deferred: bool) -> None:
        self.deferred = deferred
        self.exists: bool | None = True
        self.others = True

    def answer(self, request: ExtauthRequest) -> Answer:
        result = self.exists if request.operation == "isuser" else self.others
        if result is None:
            if self.deferred:
                return fail(AuthorityUnavailable())
            raise AuthorityUnavailable
        return succeed(result) if self.deferred else result

    def close(self) -> None:
        pass


class World:
    """A cache, its next handler and the time."""

    def __init__(self, deferred: bool) -> None:
        self.seconds = 0.0
        self.next = Next(deferred=deferred)
        self.cache = StaleIsUserCache(self.next, lambda: self.seconds)

    def isuser(self, exists: bool | None) -> bool | None:
        """Return the answer while the next handler has this one; ``None`` means unavailable."""
        self.next.exists = exists
        try:
            return bool(now(self.cache.answer(request("isuser"))))
        except AuthorityUnavailable:
            return None


@pytest.fixture(params=[False, True])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def test_a_user_is_taken_to_exist_for_an_hour(world: World) -> None:
    assert world.isuser(True) is True
    world.seconds = CACHE_TIMEOUT - 1
    assert world.isuser(None) is True
    world.seconds = CACHE_TIMEOUT
    assert world.isuser(None) is None


def test_each_accepted_isuser_starts_a_new_hour(world: World) -> None:
    assert world.isuser(True) is True
    world.seconds = CACHE_TIMEOUT / 2
    assert world.isuser(True) is True
    world.seconds = CACHE_TIMEOUT
    assert world.isuser(None) is True


def test_a_rejected_isuser_is_not_cached_and_removes_an_accepted_one(world: World) -> None:
    assert world.isuser(True) is True
    assert world.isuser(False) is False
    assert world.isuser(None) is None


@pytest.mark.parametrize("removal", ["removeuser", "removeuser3"])
def test_a_removed_user_does_not_exist_and_a_registered_one_does(world: World, removal: str) -> None:
    assert world.isuser(True) is True
    world.cache.answer(request(removal))
    assert world.isuser(None) is None
    world.cache.answer(request("tryregister", b"x"))
    assert world.isuser(None) is True


def test_a_rejected_removal_or_registration_changes_nothing(world: World) -> None:
    world.next.others = False
    world.cache.answer(request("tryregister", b"x"))
    assert world.isuser(None) is None
    assert world.isuser(True) is True
    world.cache.answer(request("removeuser"))
    assert world.isuser(None) is True


def test_other_operations_fail_while_the_next_handler_is_unavailable(world: World) -> None:
    assert world.isuser(True) is True
    world.next.others = None  # type: ignore[assignment]
    with pytest.raises(AuthorityUnavailable):
        now(world.cache.answer(request("auth", b"x")))


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isusercache, "MAX_USERS", 10)
    world = World(False)
    for number in range(50):
        world.cache.answer(request("isuser", user=f"user{number}"))
    world.next.exists = None
    with pytest.raises(AuthorityUnavailable):
        world.cache.answer(request("isuser", user="user39"))
    assert all(world.cache.answer(request("isuser", user=f"user{number}")) for number in range(40, 50))
