"""The check of the authority for ordinary passwords."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from tests.support import now
from warmside.extauth.authorities import AuthorityUnavailable
from warmside.extauth.check import CHECK_TIMEOUT, PENDING_TIMEOUT, UNKNOWN_HOST, USER, AuthorityCheck
from warmside.extauth.request import ExtauthRequest


class SlowAuthority:
    """Responds when the test does."""

    def __init__(self) -> None:
        self.pending: list[Deferred[bool]] = []
        self.requests: list[ExtauthRequest] = []

    def answer(self, request: ExtauthRequest) -> "Deferred[bool]":
        self.requests.append(request)
        self.pending.append(Deferred())
        return self.pending[-1]


class Checked:
    """A check of a slow authority."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.authority = SlowAuthority()
        self.check = AuthorityCheck(self.clock, self.authority.answer)

    def start(self) -> "Deferred[str]":
        return Deferred.fromCoroutine(self.check.state())

    def time_out(self) -> str:
        """Start a check and let its time pass; return the state."""
        state = self.start()
        self.clock.advance(CHECK_TIMEOUT)
        found: str = now(state)
        return found


@pytest.fixture
def checked() -> Checked:
    return Checked()


def raising(error: Exception) -> Callable[[ExtauthRequest], bool]:
    def ask(request: ExtauthRequest) -> bool:
        raise error

    return ask


@pytest.mark.parametrize(
    ("ask", "state"),
    [
        (None, "ok"),
        (lambda _: True, "ok"),
        (lambda _: False, "ok"),
        (lambda _: succeed(False), "ok"),
        (raising(AuthorityUnavailable("not-running")), "not-running"),
        (raising(AuthorityUnavailable()), "unavailable"),
        (raising(AuthorityUnavailable("password secret of juliet")), "unavailable"),
        (lambda _: fail(AuthorityUnavailable("unreachable")), "unreachable"),
        (raising(ZeroDivisionError("secret")), "failed: ZeroDivisionError"),
        (lambda _: fail(OSError("secret")), "failed: OSError"),
    ],
    ids=range(10),
)
def test_the_state_is_what_the_request_finds(ask: Any, state: str) -> None:
    clock = Clock()
    assert now(AuthorityCheck(clock, ask).state()) == state
    assert clock.getDelayedCalls() == []


def test_the_request_changes_nothing_and_has_the_known_host(checked: Checked) -> None:
    checked.start()
    checked.authority.pending[0].callback(False)
    checked.check.host = "example.org"
    checked.start()
    assert checked.authority.requests == [
        ExtauthRequest("isuser", USER, UNKNOWN_HOST),
        ExtauthRequest("isuser", USER, "example.org"),
    ]


def test_an_authority_that_does_not_respond_gets_one_request(checked: Checked) -> None:
    assert [checked.time_out().partition(":")[0] for _ in range(3)] == ["no-response"] * 3
    assert len(checked.authority.requests) == 1
    state = checked.start()
    checked.authority.pending[0].callback(True)
    assert now(state) == "ok", "a late result is as good"


def test_a_request_whose_result_never_comes_is_given_up(checked: Checked) -> None:
    checked.time_out()
    checked.clock.advance(PENDING_TIMEOUT)
    state = checked.start()
    assert len(checked.authority.requests) == 2
    checked.authority.pending[1].callback(True)
    assert now(state) == "ok"
