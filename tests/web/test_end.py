"""``POST /end``."""

import json
import time
from typing import Any

import pytest

from tests.web.interface import AUTH, Interface, audit_lines, header
from warmside.sessions.errors import (
    EndedMeanwhile,
    NoSessionList,
    ResourceConflict,
    SessionsLeft,
    StoreError,
    TimedOut,
)


@pytest.mark.parametrize("jid", ["Juliet@Example.org", "juliet@example.org/balcony"])
@pytest.mark.parametrize("kind", ["data", "json"])
def test_the_reply_lists_the_ended_sessions(interface: Interface, jid: str, kind: str) -> None:
    response = interface.end(**{"data": None, kind: {"jid": jid}})  # type: ignore[arg-type]
    assert response.code == 200 and header(response, "Content-Type") == "application/json"
    assert json.loads(response.body) == {"ended": ["juliet@example.org/a"]}
    assert interface.ender.asked == [jid[:1].lower() + jid[1:].replace("E", "e")]
    assert interface.metrics.outcomes == ["success"]


def test_nothing_to_end_is_an_empty_list(interface: Interface) -> None:
    interface.ender.outcome = []
    response = interface.end()
    assert response.code == 200 and json.loads(response.body) == {"ended": []}


@pytest.mark.parametrize(
    ("options", "status", "what"),
    [
        ({"accept": "text/html"}, 406, "Not Acceptable"),
        ({"auth": ("web", "wrong")}, 401, "unauthorized"),
        ({"data": {"jid": "admin@example.org"}}, 403, "policy"),
        ({"data": {"jid": "admin@example.org/x"}}, 403, "policy"),
        ({"data": {"jid": "juliet@example.org", "password": "x"}}, 400, '"field": "password"'),
        ({"data": {"jid": "example.org"}}, 400, '"field": "jid"'),
        ({"data": {}}, 400, '"field": "jid"'),
    ],
)
def test_a_rejected_request_ends_nothing(interface: Interface, options: dict[str, Any], status: int, what: str) -> None:
    with audit_lines() as lines:
        response = interface.end(**options)
    assert response.code == status and what in response.body
    assert interface.ender.asked == []
    assert len(lines) == len(interface.metrics.outcomes) == 1 and f"status={status}" in lines[0]


def test_a_page_of_another_site_ends_nothing(interface: Interface) -> None:
    headers = {"Accept": "application/json", "Sec-Fetch-Site": "cross-site"}
    response = interface.request("POST", "/end", headers=headers, data={"jid": "juliet@example.org"})
    assert response.code == 403 and "foreign-origin" in response.body and interface.ender.asked == []


def test_the_audit_line_names_the_jid_and_the_admin(interface: Interface) -> None:
    with audit_lines() as lines:
        interface.end(data={"jid": "juliet@example.org/balcony"})
    assert 'request="POST /end" outcome="success" status=200 admin="web"' in lines[0]
    assert 'jid="juliet@example.org/balcony"' in lines[0]


@pytest.mark.parametrize(
    ("error", "status", "name", "texts"),
    [
        (SessionsLeft(3, 2), 503, "sessions-left", ["2 of the user's sessions are left", "3 were ended"]),
        (NoSessionList("no list", "service-unavailable"), 502, "no-session-list", ["mod_disco", "service-unavailable"]),
        (ResourceConflict("closenew"), 502, "resource-conflict", ["closenew", "acceptnew"]),
        (ResourceConflict("setresource"), 502, "resource-conflict", ["setresource", "acceptnew"]),
        (StoreError("broken"), 503, "store", ["broken"]),
        (TimedOut("too slow"), 504, "timeout", ["too slow"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_a_failure_says_what_to_do(
    interface: Interface, error: Exception, status: int, name: str, texts: list[str]
) -> None:
    interface.ender.outcome = error
    response = interface.end()
    problem = json.loads(response.body)
    assert (response.code, problem["type"]) == (status, f"urn:warmside:{name}")
    assert all(text in problem["detail"] for text in texts)
    assert (header(response, "Retry-After") is not None) is (status != 502)
    assert interface.metrics.outcomes == [name]
    for accept, kind in (
        ("text/html;q=0.9, application/json;q=0.1", "text/html"),
        ("text/plain, */*;q=0.1", "text/plain"),
    ):
        other = interface.end(accept)
        assert other.code == status and kind in (header(other, "Content-Type") or "")


def test_only_post_is_allowed(interface: Interface) -> None:
    response = interface.request("GET", "/end", auth=AUTH)
    assert response.code == 405 and header(response, "Allow") == "POST"


@pytest.mark.parametrize("path", ["/warm", "/credentials"])
def test_a_call_that_began_before_the_end_is_a_conflict(interface: Interface, path: str) -> None:
    interface.warmer.outcome = EndedMeanwhile()
    headers = {"Accept": "application/json"}
    response = interface.request("POST", path, headers=headers, data={"jid": "juliet@example.org"})
    problem = json.loads(response.body)
    assert (response.code, problem["type"]) == (409, "urn:warmside:ended")


def test_a_warm_call_begins_when_its_request_was_received(interface: Interface) -> None:
    interface.warm()
    began = interface.warmer.requests[0].began
    assert began is not None and began <= time.monotonic()
