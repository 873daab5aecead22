"""The chain of authorities: what is one-time stays with the first, everything else goes on."""

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.support import now
from warmside.extauth.authorities import OneTimeAuthority, UsersAuthority, ask
from warmside.extauth.request import ExtauthRequest
from warmside.store.interface import StoreError
from warmside.store.sqlite import SQLiteKnownUsers, SQLiteStore
from warmside.store.users import ConstantUsers

USER = ("juliet", "example.org")


class Next:
    """An authority that says yes to all and remembers what got to it."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, operation: str) -> Any:
        def answer(*arguments: Any) -> bool:
            self.asked.append((operation, *arguments))
            return True

        return answer


def chain() -> tuple[OneTimeAuthority, SQLiteStore, Next]:
    store, following = SQLiteStore(None), Next()
    return OneTimeAuthority(store, following), store, following


def result(answer: Any) -> bool:
    return bool(now(answer)) if isinstance(answer, Deferred) else answer


def test_a_one_time_password_is_redeemed_once_and_goes_no_further() -> None:
    authority, store, following = chain()
    password = now(store.mint("juliet@example.org", 30)).text.encode()
    assert [result(authority.auth(*USER, password)) for _ in range(2)] == [True, False]
    assert following.asked == []


@pytest.mark.parametrize("operation", ["auth", "setpass", "tryregister", "removeuser3", "certauth"])
def test_what_looks_one_time_never_gets_to_another_authority(operation: str) -> None:
    authority, _, following = chain()
    assert result(getattr(authority, operation)(*USER, b"warmside-otp-whatever")) is False
    assert following.asked == []


@pytest.mark.parametrize("operation", ["setpass", "tryregister", "removeuser3"])
def test_only_auth_redeems(operation: str) -> None:
    authority, store, _ = chain()
    password = now(store.mint("juliet@example.org", 30)).text.encode()
    assert result(getattr(authority, operation)(*USER, password)) is False
    assert result(authority.auth(*USER, password)) is True


def test_everything_else_goes_on() -> None:
    authority, _, following = chain()
    for operation in ("auth", "setpass", "tryregister", "removeuser3"):
        assert result(getattr(authority, operation)(*USER, b"secret"))
    for operation in ("isuser", "removeuser"):
        assert result(getattr(authority, operation)(*USER))
    operations = ["auth", "setpass", "tryregister", "removeuser3", "isuser", "removeuser"]
    assert [asked[0] for asked in following.asked] == operations


@pytest.mark.parametrize(("operation", "arguments"), [("removeuser", ()), ("removeuser3", (b"secret",))])
def test_removing_a_user_revokes_his_passwords(operation: str, arguments: tuple[bytes, ...]) -> None:
    authority, store, _ = chain()
    password = now(store.mint("juliet@example.org", 30)).text.encode()
    assert result(getattr(authority, operation)(*USER, *arguments))
    assert not result(authority.auth(*USER, password))


def test_certauth_is_passed_on_and_refused_where_nobody_knows_certificates() -> None:
    authority, _, following = chain()
    assert ask(authority, ExtauthRequest("certauth", *USER, b"CERT")) is True
    assert ask(UsersAuthority(ConstantUsers(everyone=True)), ExtauthRequest("certauth", *USER, b"CERT")) is False
    assert following.asked == [("certauth", *USER, b"CERT")]


def test_known_users_are_kept_in_a_file_until_they_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "users.sqlite"
    users = SQLiteKnownUsers(path)
    authority = UsersAuthority(users)
    assert not authority.isuser(*USER)
    users.remember("juliet@example.org")
    users.remember("juliet@example.org")
    users.close()
    again = UsersAuthority(SQLiteKnownUsers(path))
    assert again.isuser(*USER)
    assert not again.isuser("juliet", "example.net")
    assert again.removeuser(*USER)
    assert not again.isuser(*USER)
    assert not again.removeuser(*USER)


def test_nobody_and_everybody_can_exist() -> None:
    assert UsersAuthority(ConstantUsers(everyone=True)).isuser(*USER)
    assert not UsersAuthority(ConstantUsers(everyone=False)).isuser(*USER)


def test_there_are_no_passwords_at_the_end_of_the_chain() -> None:
    authority = UsersAuthority(ConstantUsers(everyone=True))
    for operation in ("auth", "setpass", "tryregister", "removeuser3"):
        assert getattr(authority, operation)(*USER, b"") is False


def test_a_file_of_users_that_breaks_says_so(tmp_path: Path) -> None:
    users = SQLiteKnownUsers(tmp_path / "users.sqlite")
    users.close()
    with pytest.raises(StoreError, match=r"users\.sqlite"):
        users.exists("juliet@example.org")
