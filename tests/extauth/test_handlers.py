"""Chain of request handlers: one-time passwords stay with the first, everything else is passed on."""

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from tests.extauth.support import OPERATIONS, request
from tests.support import now
from warmside.extauth.authorities import Answer
from warmside.extauth.handlers import (
    AuthorityAdapter,
    OneTimeAuthority,
    ReadOnlyAuthority,
    RequestHandler,
    UsersAuthority,
)
from warmside.extauth.request import WITH_SECRET, WITHOUT_SECRET, ExtauthRequest
from warmside.store.interface import StoreError
from warmside.store.sqlite import SQLiteKnownUsers, SQLiteStore
from warmside.store.users import ConstantUsers

WITH_PASSWORD = [operation for operation in OPERATIONS if operation in WITH_SECRET]


class Recorder:
    """Handler that records the requests and gives each the same answer."""

    def __init__(self, answer: Answer = True) -> None:
        self.result = answer
        self.requests: list[ExtauthRequest] = []
        self.closed = False

    def answer(self, request: ExtauthRequest) -> Answer:
        self.requests.append(request)
        return self.result

    def close(self) -> None:
        self.closed = True


def chain(answer: Answer = True) -> tuple[OneTimeAuthority, SQLiteStore, Recorder]:
    store, recorder = SQLiteStore(None), Recorder(answer)
    return OneTimeAuthority(store, recorder), store, recorder


def result(handler: RequestHandler, operation: str, secret: bytes = b"") -> bool:
    """Return the answer to a request about juliet."""
    return bool(now(handler.answer(request(operation, secret))))


def mint(store: SQLiteStore) -> bytes:
    """Mint a password for juliet."""
    password: bytes = now(store.mint("juliet@example.org", 30)).text.encode()
    return password


def test_a_one_time_password_is_redeemed_once_and_not_passed_on() -> None:
    handler, store, recorder = chain()
    password = mint(store)
    assert [result(handler, "auth", password) for _ in range(2)] == [True, False]
    assert recorder.requests == []


def test_a_one_time_password_is_redeemed_without_a_deferred() -> None:
    handler, store, _ = chain()
    assert handler.answer(request("auth", mint(store))) is True


@pytest.mark.parametrize("operation", WITH_PASSWORD)
def test_a_password_with_the_one_time_prefix_is_never_passed_on(operation: str) -> None:
    handler, _, recorder = chain()
    assert result(handler, operation, b"warmside-otp-unknown") is False
    assert recorder.requests == []


@pytest.mark.parametrize("operation", [operation for operation in WITH_PASSWORD if operation != "auth"])
def test_only_auth_redeems(operation: str) -> None:
    handler, store, _ = chain()
    password = mint(store)
    assert result(handler, operation, password) is False
    assert result(handler, "auth", password) is True


def test_all_other_requests_are_passed_on() -> None:
    handler, _, recorder = chain()
    requests = [request(operation, b"secret" if operation in WITH_SECRET else b"") for operation in OPERATIONS]
    assert [now(handler.answer(each)) for each in requests] == [True] * len(OPERATIONS)
    assert recorder.requests == requests


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize(("operation", "secret"), [("removeuser", b""), ("removeuser3", b"secret")])
def test_removing_a_user_revokes_the_one_time_passwords(operation: str, secret: bytes, deferred: bool) -> None:
    handler, store, _ = chain(succeed(True) if deferred else True)
    password = mint(store)
    assert result(handler, operation, secret)
    assert not result(handler, "auth", password)


@pytest.mark.parametrize("deferred", [False, True])
def test_a_rejected_removeuser3_revokes_nothing(deferred: bool) -> None:
    handler, store, _ = chain(succeed(False) if deferred else False)
    password = mint(store)
    assert not result(handler, "removeuser3", b"wrong")
    assert result(handler, "auth", password)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_read_only_passes_on_auth_and_isuser_only(operation: str) -> None:
    recorder = Recorder()
    passed_on = operation in ("auth", "isuser")
    assert result(ReadOnlyAuthority(recorder), operation, b"secret") is passed_on
    assert len(recorder.requests) == passed_on


def test_closing_the_chain_closes_the_last_handler() -> None:
    recorder: Any = Recorder()
    OneTimeAuthority(SQLiteStore(None), ReadOnlyAuthority(AuthorityAdapter(recorder))).close()
    assert recorder.closed


def test_certauth_is_passed_on_and_rejected_without_an_authority() -> None:
    handler, _, recorder = chain()
    assert handler.answer(request("certauth", b"CERT")) is True
    assert UsersAuthority(ConstantUsers(everyone=True)).answer(request("certauth", b"CERT")) is False
    assert recorder.requests == [request("certauth", b"CERT")]


def test_known_users_are_kept_in_a_file_until_they_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "users.sqlite"
    users = SQLiteKnownUsers(path)
    handler = UsersAuthority(users)
    assert not result(handler, "isuser")
    users.remember("juliet@example.org")
    users.remember("juliet@example.org")
    users.close()
    reopened = UsersAuthority(SQLiteKnownUsers(path))
    assert result(reopened, "isuser")
    assert not reopened.answer(ExtauthRequest("isuser", "juliet", "example.net"))
    assert result(reopened, "removeuser")
    assert not result(reopened, "isuser")
    assert not result(reopened, "removeuser")


def test_a_user_of_a_host_in_punycode_is_known_in_both_spellings(tmp_path: Path) -> None:
    users = SQLiteKnownUsers(tmp_path / "users.sqlite")
    handler = UsersAuthority(users)
    for known in ("juliet@bücher.example", "juliet@xn--bcher-kva.example"):
        users.remember(known)
        assert handler.answer(ExtauthRequest("isuser", "juliet", "xn--bcher-kva.example")) is True
        assert now(handler.answer(ExtauthRequest("removeuser", "juliet", "xn--bcher-kva.example"))) is True
        assert not users.exists(known)


def test_a_one_time_password_is_redeemed_in_both_spellings_of_its_host() -> None:
    handler, store, _ = chain()
    for host in ("bücher.example", "xn--bcher-kva.example"):
        minted = store.mint("juliet@bücher.example", 30)
        asked = ExtauthRequest("auth", "juliet", host, now(minted).text.encode())
        assert now(handler.answer(asked)) is True
        assert now(handler.answer(asked)) is False


def test_all_users_or_none_may_exist() -> None:
    assert result(UsersAuthority(ConstantUsers(everyone=True)), "isuser")
    assert not result(UsersAuthority(ConstantUsers(everyone=False)), "isuser")


def test_without_an_authority_no_password_is_valid() -> None:
    handler = UsersAuthority(ConstantUsers(everyone=True))
    for operation in WITH_PASSWORD:
        assert handler.answer(request(operation)) is False


def test_a_broken_file_of_users_is_named(tmp_path: Path) -> None:
    users = SQLiteKnownUsers(tmp_path / "users.sqlite")
    users.close()
    with pytest.raises(StoreError, match=r"users\.sqlite"):
        users.exists("juliet@example.org")


class DuckTyped:
    """Authority that derives from nothing and accepts everything."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, operation: str) -> Any:
        def method(*arguments: Any) -> bool:
            self.calls.append((operation, *arguments))
            return True

        return method


def test_an_authority_is_called_by_the_name_of_the_operation() -> None:
    authority = DuckTyped()
    handler = AuthorityAdapter(authority)
    assert all(result(handler, operation, b"secret") for operation in OPERATIONS)
    user = ("juliet", "example.org")
    assert authority.calls == [
        (operation, *user, b"secret") if operation in WITH_SECRET else (operation, *user) for operation in OPERATIONS
    ]


def test_an_authority_may_answer_later() -> None:
    class Later(DuckTyped):
        def auth(self, user: str, host: str, password: bytes) -> "Deferred[bool]":
            return succeed(password == b"right")

    handler = AuthorityAdapter(Later())
    assert [result(handler, "auth", password) for password in (b"right", b"wrong")] == [True, False]


def test_a_request_becomes_the_payload_that_it_was_parsed_from() -> None:
    assert set(OPERATIONS) == WITH_SECRET | WITHOUT_SECRET
    for operation in OPERATIONS:
        payload = f"{operation}:jülïet:example.org".encode() + (b":a:b\xff" if operation in WITH_SECRET else b"")
        assert ExtauthRequest.parse(payload).to_payload() == payload
