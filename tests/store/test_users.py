"""Known users: stored until they are removed."""

from pathlib import Path
from typing import Any

import pytest

from tests.store.backends import Backend, SQLiteBackend
from tests.support import now
from warmside.store.interface import KnownUsers, StoreError, UsersNotKept
from warmside.store.users import ConstantUsers

JULIET = "juliet@example.org"


@pytest.fixture
def shared_backend(tmp_path: Path) -> Backend:
    """Return the file of one machine. What several machines share has its own tests."""
    return SQLiteBackend(str(tmp_path))


def test_users_are_stored_until_they_are_removed(shared_backend: Backend) -> None:
    users: KnownUsers = shared_backend.users()
    assert not users.exists(JULIET)
    users.remember(JULIET)
    users.remember(JULIET)
    users.close()
    users = shared_backend.users()
    assert users.exists(JULIET)
    assert not users.exists("juliet@example.net")
    assert now(users.forget(JULIET))
    assert not users.exists(JULIET)
    assert not now(users.forget(JULIET))


def test_connections_share_users(shared_backend: Backend) -> None:
    first, second = shared_backend.users(), shared_backend.users()
    first.remember(JULIET)
    assert second.exists(JULIET)
    assert now(second.forget(JULIET))
    assert not first.exists(JULIET)


def test_closed_users_raise_store_error(shared_backend: Backend) -> None:
    users = shared_backend.users()
    users.close()
    for call in (users.exists, users.remember):
        with pytest.raises(StoreError):
            call(JULIET)
    with pytest.raises(StoreError):
        now(users.announce([JULIET]))
    with pytest.raises(StoreError):
        now(users.forget(JULIET))


def test_users_are_announced_in_one_transaction(shared_backend: Backend) -> None:
    users, other = shared_backend.users(), shared_backend.users()
    users.remember(JULIET)
    assert now(users.announce([f"user{number}@example.org" for number in range(1000)] + [JULIET])) == 1000
    assert other.exists("user0@example.org") and other.exists("user999@example.org")
    assert now(other.announce(["romeo@example.org", "romeo@example.org", "user7@example.org"])) == 1
    assert now(users.announce([])) == 0


def test_a_failed_announcement_adds_nobody(shared_backend: Backend) -> None:
    users = shared_backend.users()
    broken: list[Any] = [JULIET, b"\xff", object()]
    with pytest.raises(StoreError):
        now(users.announce(broken))
    assert not users.exists(JULIET)
    assert now(users.announce([JULIET])) == 1


def test_several_spellings_of_a_user_are_removed(shared_backend: Backend) -> None:
    users = shared_backend.users()
    users.remember("juliet@b\xfccher.example")
    assert now(users.forget("juliet@xn--bcher-kva.example", "juliet@b\xfccher.example"))
    assert not users.exists("juliet@b\xfccher.example")


@pytest.mark.parametrize("everyone", [True, False])
def test_constant_users_store_nothing(everyone: bool) -> None:
    users: KnownUsers = ConstantUsers(everyone, "extauth.program")
    users.remember(JULIET)
    assert users.exists(JULIET) is everyone
    assert now(users.forget(JULIET)) is False
    with pytest.raises(UsersNotKept, match=r"extauth\.program"):
        now(users.announce([JULIET]))
    assert users.exists(JULIET) is everyone
    users.close()
