"""Known users: stored until they are removed."""

import pytest

from tests.store.backends import Backend
from warmside.store.interface import KnownUsers, StoreError
from warmside.store.users import ConstantUsers

JULIET = "juliet@example.org"


def test_users_are_stored_until_they_are_removed(shared_backend: Backend) -> None:
    users: KnownUsers = shared_backend.users()
    assert not users.exists(JULIET)
    users.remember(JULIET)
    users.remember(JULIET)
    users.close()
    users = shared_backend.users()
    assert users.exists(JULIET)
    assert not users.exists("juliet@example.net")
    assert users.forget(JULIET)
    assert not users.exists(JULIET)
    assert not users.forget(JULIET)


def test_connections_share_users(shared_backend: Backend) -> None:
    first, second = shared_backend.users(), shared_backend.users()
    first.remember(JULIET)
    assert second.exists(JULIET)
    assert second.forget(JULIET)
    assert not first.exists(JULIET)


def test_closed_users_raise_store_error(shared_backend: Backend) -> None:
    users = shared_backend.users()
    users.close()
    for call in (users.exists, users.remember, users.forget):
        with pytest.raises(StoreError):
            call(JULIET)


@pytest.mark.parametrize("everyone", [True, False])
def test_constant_users_store_nothing(everyone: bool) -> None:
    users: KnownUsers = ConstantUsers(everyone=everyone)
    users.remember(JULIET)
    assert users.exists(JULIET) is everyone
    assert users.forget(JULIET) is False
    assert users.exists(JULIET) is everyone
    users.close()
