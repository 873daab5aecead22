"""The status and the description of each failure."""

import json
from typing import Any

import pytest

from tests.web.interface import Interface, header
from warmside.bosh import errors
from warmside.sessions.errors import (
    HostState,
    OneTimeRefused,
    RevocationStatus,
    StoreError,
    TooManyFailures,
    UnsafeHost,
)
from warmside.web.body import FORM
from warmside.web.problems import PROBLEMS, SASL_PROBLEMS, Problem


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/warm/", 404), ("GET", "/x", 404), ("PUT", "/warm", 405), ("POST", "/health", 405)],
)
def test_unknown_paths_and_methods(interface: Interface, method: str, path: str, status: int) -> None:
    response = interface.request(method, path, headers={"Accept": "application/json"})
    assert response.code == status
    assert header(response, "Content-Type") == "application/problem+json"
    if status == 405:
        assert "GET" in (header(response, "Allow") or "")


@pytest.mark.parametrize(
    ("options", "status", "field"),
    [
        ({"data": {"jid": "nonsense"}}, 400, "jid"),
        ({"data": {"jid": "a@b", "x": "y"}}, 400, "x"),
        ({"json": {"jid": "a@b", "wait": "x"}}, 400, "wait"),
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, None),
        ({"data": b"jid=a%40b"}, 415, None),
        ({"data": {f"f{number}": "" for number in range(33)}}, 413, None),
        ({"accept": "image/png"}, 406, None),
        ({"data": {"jid": "admin@example.org"}}, 403, None),
    ],
)
def test_an_invalid_request_is_rejected_with_a_description(
    interface: Interface, options: dict[str, Any], status: int, field: str | None
) -> None:
    response = interface.warm(**options)
    assert response.code == status
    assert not interface.warmer.requests
    if options.get("accept") is None:
        problem = json.loads(response.body)
        assert (problem["status"], problem.get("field")) == (status, field)
        assert problem["type"].startswith("urn:warmside:")


def test_a_compressed_body_gets_415(interface: Interface) -> None:
    response = interface.warm(data=b"jid=a%40b", headers={"Content-Type": FORM, "Content-Encoding": "gzip"})
    assert response.code == 415 and header(response, "Accept-Encoding") == "identity"
    assert "Content-Encoding" in json.loads(response.body)["detail"] and not interface.warmer.requests


def test_a_post_with_a_query_string_is_rejected(interface: Interface) -> None:
    response = interface.request("POST", "/warm?jid=a@b", headers={"Accept": "application/json"}, data={})
    assert response.code == 400 and "query string" in response.body


@pytest.mark.parametrize("fields", [{"presence": "available"}, {"fetch": "roster"}])
def test_presence_and_fetch_are_not_available_as_plain_text(interface: Interface, fields: dict[str, str]) -> None:
    response = interface.warm("text/plain", data={"jid": "juliet@example.org", **fields})
    assert response.code == 406 and not interface.warmer.requests


def at_binding(error: errors.BoshError) -> errors.BoshError:
    error.step = "resource binding"
    return error


def ban(owner: str) -> errors.BoshError:
    error = errors.Banned("x", "policy-violation")
    error.owner = owner
    return at_binding(error)


REJECTED = errors.Refused("x", "not-authorized")


@pytest.mark.parametrize(
    ("failure", "status", "name", "hint"),
    [
        (at_binding(errors.Refused("x", "not-authorized")), 403, "password-refused", "own password"),
        (OneTimeRefused(REJECTED, RevocationStatus.UNASKED), 502, "otp-not-asked", "never asked"),
        (OneTimeRefused(REJECTED, RevocationStatus.ELSEWHERE), 502, "otp-not-asked", "bosh.url leads to another node"),
        (OneTimeRefused(REJECTED, RevocationStatus.ASKED), 502, "otp-refused", "too late"),
        (OneTimeRefused(REJECTED, RevocationStatus.GONE), 502, "otp-refused", "response was lost"),
        (at_binding(errors.Banned("x", "policy-violation")), 503, "banned", "mod_fail2ban"),
        (ban("warmside"), 503, "banned", "warmside's address: exempt loopback"),
        (ban("browser"), 503, "banned", "the browser's address, which the field address names, and not warmside's"),
        (ban("unknown"), 503, "banned", "names, or warmside's"),
        (at_binding(errors.Refused("x", "account-disabled")), 403, "account-disabled", "ban_account"),
        (at_binding(errors.Refused("x", "credentials-expired")), 403, "credentials-expired", "renew"),
        (at_binding(errors.NotAuthenticated("x", "temporary-auth-failure")), 503, "temporary-auth-failure", "its log"),
        (at_binding(errors.NotAuthenticated("x", "mechanism-too-weak")), 502, "mechanism-too-weak", "stronger"),
        (at_binding(errors.NotAuthenticated("x", "bad-protocol")), 502, "login-failed", "bad-protocol"),
        (at_binding(errors.Busy("too many")), 503, "busy", "too many"),
        (at_binding(errors.Unreachable("refused")), 503, "unreachable", "refused"),
        (at_binding(errors.TimedOut("too long")), 504, "timeout", "resource binding"),
        (at_binding(errors.InvalidResponse("HTTP 404")), 502, "login-failed", "HTTP 404"),
        (at_binding(errors.Terminated("x", "remote-stream-error")), 503, "unreachable", "restarting"),
        (at_binding(errors.Terminated("x", "item-not-found")), 503, "unreachable", "restarting"),
        (at_binding(errors.StreamFailed("x", "system-shutdown")), 503, "unreachable", "system-shutdown"),
        (at_binding(errors.Terminated("x", "internal-server-error")), 503, "unreachable", "restarting"),
        (at_binding(errors.StreamFailed("x", "invalid-xml")), 502, "login-failed", "prebind"),
        (at_binding(errors.NotBound("x", "conflict")), 502, "login-failed", "conflict"),
        (at_binding(errors.WrongJID("another account")), 502, "login-failed", "another account"),
        (UnsafeHost("example.org", HostState.CACHING), 503, "unsafe-host", "auth_use_cache: false"),
        (UnsafeHost("example.org", HostState.ANONYMOUS), 503, "unsafe-host", "anonymous logins"),
        (StoreError("disk full"), 503, "store", "disk full"),
        (ValueError("unforeseen geheim"), 500, "internal", "internal error"),
    ],
)
def test_each_failure_has_its_status_and_description(
    interface: Interface, failure: Exception, status: int, name: str, hint: str
) -> None:
    interface.warmer.outcome = failure
    response = interface.warm()
    problem = json.loads(response.body)
    assert (response.code, problem["status"], problem["type"]) == (status, status, f"urn:warmside:{name}")
    assert hint in problem["detail"] and "geheim" not in response.body
    assert bool(header(response, "Retry-After")) == (status in (503, 504))
    if isinstance(failure, errors.BoshError) and not isinstance(failure, OneTimeRefused):
        assert problem["step"] == "resource binding"
        if problem["type"] in {f"urn:warmside:{name}" for name in SASL_PROBLEMS}:
            assert problem["condition"] == name
    if isinstance(failure, errors.ConditionError) and name == "login-failed":
        assert problem["condition"] == failure.condition


def test_every_sasl_condition_of_the_standard_has_a_problem_of_its_name() -> None:
    assert {*SASL_PROBLEMS, "not-authorized"} == {
        "aborted",
        "account-disabled",
        "credentials-expired",
        "encryption-required",
        "incorrect-encoding",
        "invalid-authzid",
        "invalid-mechanism",
        "malformed-request",
        "mechanism-too-weak",
        "not-authorized",
        "temporary-auth-failure",
    }
    assert SASL_PROBLEMS.keys() <= PROBLEMS.keys()


def test_an_unknown_host_is_named_as_a_cause(interface: Interface) -> None:
    failure = errors.Terminated("x", "internal-server-error")
    failure.step = "session creation"
    interface.warmer.outcome = failure
    response = interface.warm()
    assert response.code == 502 and "does not serve this host" in response.body


def test_a_pause_that_is_too_long_names_the_field_and_the_limit(interface: Interface) -> None:
    interface.warmer.outcome = errors.PauseTooLong(120)
    response = interface.warm()
    problem = json.loads(response.body)
    assert (response.code, problem["type"], problem["field"]) == (400, "urn:warmside:field", "attach_within")
    assert "120 seconds" in problem["detail"]


def test_too_many_failures_get_429(interface: Interface) -> None:
    interface.warmer.outcome = TooManyFailures(41.2)
    response = interface.warm()
    assert response.code == 429 and header(response, "Retry-After") == "42"
    assert json.loads(response.body)["type"] == "urn:warmside:too-many-failures"


def test_every_problem_that_may_pass_says_when_to_retry() -> None:
    for name, status in PROBLEMS.items():
        assert ("Retry-After" in Problem(name, "").headers) == (status in (503, 504)), name
