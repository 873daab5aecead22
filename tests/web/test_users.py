"""``POST /users`` and ``DELETE /users/JID``, with real stores and a fake end of sessions."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.support import now
from tests.web.interface import Interface, audit_lines, header
from warmside.jids import JID
from warmside.sessions.errors import SessionsLeft
from warmside.store.users import ConstantUsers
from warmside.web.users import UsersEndpoint

JULIET = "juliet@example.org"


def announce(interface: Interface, jids: object, **options: Any) -> Any:
    """Send a ``POST /users``."""
    options.setdefault("headers", {"Accept": "application/json"})
    options.setdefault("json", {"jids": jids})
    return interface.request("POST", "/users", **options)


def remove(interface: Interface, path: str, **options: Any) -> Any:
    """Send a ``DELETE`` of a path below ``/users/``."""
    return interface.request("DELETE", f"/users/{path}", **options)


def test_announced_users_exist_and_are_returned_as_prepared_in_order(interface: Interface) -> None:
    interface.users.remember("romeo@example.org")
    given = ["Juliet@Example.ORG", "romeo@example.org", "JULIET@example.org", "j\xdcrgen@b\xfccher.example", "a@b"]
    response = announce(interface, given)
    assert response.code == 200 and header(response, "Content-Type") == "application/json"
    prepared = [JULIET, "romeo@example.org", JULIET, "j\xfcrgen@b\xfccher.example", "a@b"]
    assert json.loads(response.body) == {"jids": prepared, "added": 3}
    assert all(interface.users.exists(bare) for bare in prepared)
    assert json.loads(announce(interface, given).body)["added"] == 0
    assert json.loads(announce(interface, []).body) == {"jids": [], "added": 0}


def test_a_call_has_at_most_1000_jids(interface: Interface) -> None:
    jids = [f"user{number}@example.org" for number in range(1001)]
    response = announce(interface, jids)
    assert response.code == 400 and "1001 entries" in response.body and json.loads(response.body)["field"] == "jids"
    assert not interface.users.exists(jids[0])
    assert json.loads(announce(interface, jids[:1000]).body)["added"] == 1000


@pytest.mark.parametrize(
    ("bad", "status", "reason"),
    [
        ("romeo", 400, "no local part"),
        ("romeo@example.org/orchard", 400, "full JID"),
        ("ro meo@example.org", 400, "forbidden character"),
        ("", 400, "no local part"),
        (7, 400, "no text"),
        (None, 400, "no text"),
        (["romeo@example.org"], 400, "no text"),
        ({"jid": "romeo@example.org"}, 400, "no text"),
        ("\ud800@example.org", 400, "forbidden character"),
        ("Admin@example.org", 403, "policy"),
    ],
)
def test_one_bad_entry_is_named_and_nobody_is_announced(
    interface: Interface, bad: object, status: int, reason: str
) -> None:
    response = announce(interface, [JULIET, "benvolio@example.org", bad, "also bad"])
    problem = json.loads(response.body)
    assert response.code == status and problem["entry"] == 3
    assert "entry 3: " in problem["detail"] and reason in problem["detail"]
    assert not interface.users.exists(JULIET)


@pytest.mark.parametrize(
    ("options", "status", "what"),
    [
        ({"auth": ("web", "wrong")}, 401, "unauthorized"),
        ({"headers": {"Accept": "text/html"}}, 406, "Not Acceptable"),
        ({"headers": {"Accept": "application/json", "Origin": "https://evil.example"}}, 403, "foreign-origin"),
        ({"json": {"jids": [JULIET], "jid": JULIET}}, 400, '"field": "jid"'),
        ({"json": {}}, 400, "missing"),
        ({"json": {"jids": {"0": JULIET}}}, 400, "an array"),
        ({"json": {"jids": JULIET}}, 400, "an array"),
        ({"json": {"jids": None}}, 400, "an array"),
        ({"json": [JULIET]}, 400, "not a JSON object"),
    ],
)
def test_a_rejected_call_announces_nobody(
    interface: Interface, options: dict[str, Any], status: int, what: str
) -> None:
    response = announce(interface, [JULIET], **options)
    assert response.code == status and what in response.body
    assert not interface.users.exists(JULIET)


def test_a_form_can_not_announce_users(interface: Interface) -> None:
    response = interface.request("POST", "/users", data={"jids": JULIET}, headers={"Accept": "application/json"})
    assert response.code == 415 and "send the field as application/json" in response.body


def test_users_are_not_announced_where_another_authority_knows_them(interface: Interface) -> None:
    accounts = endpoint(interface)._accounts
    accounts._users = ConstantUsers(False, "extauth.url")
    response = announce(interface, [JULIET])
    problem = json.loads(response.body)
    assert response.code == 409 and problem["type"] == "urn:warmside:users-not-kept"
    assert "extauth.url" in problem["detail"]
    assert remove(interface, JULIET).code == 204 and interface.ender.asked == [JULIET]


@pytest.mark.parametrize("path", ["juliet%40example.org", "Juliet@EXAMPLE.org", "%4auliet@example.org"])
def test_a_removed_user_has_no_session_and_no_password_and_does_not_exist(interface: Interface, path: str) -> None:
    minted = now(interface.passwords.mint(JULIET, 30))
    interface.users.remember(JULIET)
    seen: list[object] = []
    during(interface, lambda: seen.append((interface.users.exists(JULIET), redeems(interface, minted.text))))
    response = remove(interface, path)
    assert response.code == 204 and response.body == ""
    assert header(response, "Content-Length") is None and header(response, "Content-Type") is None
    assert header(response, "Cache-Control") == "no-store"
    assert seen == [(False, False)], "the sessions end after the user and the passwords are gone"
    assert interface.ender.asked == [JULIET] and not interface.users.exists(JULIET)
    assert remove(interface, path).code == 204


def test_a_login_that_makes_the_user_known_meanwhile_is_ended_too(interface: Interface) -> None:
    logins = [JULIET]
    during(interface, lambda: interface.users.remember(logins.pop()) if logins else None)
    assert remove(interface, JULIET).code == 204
    assert interface.ender.asked == [JULIET, JULIET] and not interface.users.exists(JULIET)


def test_a_removal_gives_up_if_logins_of_the_user_go_on(interface: Interface) -> None:
    during(interface, lambda: interface.users.remember(JULIET))
    response = remove(interface, JULIET, headers={"Accept": "application/json"})
    assert response.code == 503 and "again while being removed" in response.body
    assert not interface.users.exists(JULIET)


def test_a_login_that_began_before_the_removal_is_marked(interface: Interface) -> None:
    ends = endpoint(interface)._accounts._ends
    began = ends.now()
    assert not now(ends.ended_since(began, JULIET))
    remove(interface, JULIET)
    assert now(ends.ended_since(began, JULIET))


def test_a_user_whose_sessions_can_not_be_ended_is_removed_all_the_same(interface: Interface) -> None:
    interface.users.remember(JULIET)
    interface.ender.outcome = SessionsLeft(1, 2)
    response = remove(interface, JULIET, headers={"Accept": "application/json"})
    assert response.code == 503 and header(response, "Retry-After")
    assert not interface.users.exists(JULIET)


@pytest.mark.parametrize(
    ("path", "options", "status", "what"),
    [
        ("juliet@example.org/balcony", {}, 400, "full JID"),
        ("juliet@example.org%2Fbalcony", {}, 400, "full JID"),
        ("juliet@example.org/", {}, 400, "empty"),
        ("example.org", {}, 400, "no local part"),
        ("", {}, 400, "no local part"),
        ("%FF@example.org", {}, 400, "UTF-8"),
        ("juliet@example.org?x=1", {}, 400, "query"),
        ("admin@example.org", {}, 403, "policy"),
        (JULIET, {"auth": ("web", "wrong")}, 401, "unauthorized"),
        (JULIET, {"headers": {"Origin": "https://evil.example"}}, 403, "foreign-origin"),
        (JULIET, {"headers": {"Sec-Fetch-Site": "cross-site"}}, 403, "foreign-origin"),
    ],
)
def test_a_rejected_removal_does_nothing(
    interface: Interface, path: str, options: dict[str, Any], status: int, what: str
) -> None:
    known = [JULIET, "admin@example.org"]
    now(interface.users.announce(known))
    options = {**options, "headers": {"Accept": "application/json", **options.get("headers", {})}}
    response = remove(interface, path, **options)
    assert response.code == status and what in response.body
    assert all(map(interface.users.exists, known)) and interface.ender.asked == []


def test_other_methods_are_not_allowed(interface: Interface) -> None:
    cases = (("GET", "/users", "POST"), ("DELETE", "/users", "POST"), ("GET", "/users/a@b", "DELETE"))
    for method, path, allowed in cases:
        response = interface.request(method, path)
        assert response.code == 405 and header(response, "Allow") == allowed


def test_each_call_leaves_an_audit_line_and_is_counted(interface: Interface) -> None:
    with audit_lines() as lines:
        announce(interface, [JULIET])
        announce(interface, [JULIET, "a@b"])
        announce(interface, [JULIET, "admin@b"])
        remove(interface, JULIET)
        remove(interface, "admin@b")
    assert [line.partition(" from=")[0] for line in lines] == [
        'request="POST /users" outcome="success" status=200 admin="web"',
        'request="POST /users" outcome="success" status=200 admin="web"',
        'request="POST /users" outcome="policy" status=403 admin="web"',
        'request="DELETE /users/juliet@example.org" outcome="success" status=204 admin="web"',
        'request="DELETE /users/admin@b" outcome="policy" status=403 admin="web"',
    ]
    assert 'jid="juliet@example.org" jids=1' in lines[0] and "jid=null jids=2" in lines[1]
    assert 'jid="admin@b"' in lines[2] and 'jid="juliet@example.org"' in lines[3]
    assert interface.metrics.outcomes == ["success", "success", "policy", "success", "policy"]


def endpoint(interface: Interface) -> UsersEndpoint:
    found: Any = interface.root.children[b"users"]
    assert isinstance(found, UsersEndpoint)
    return found


def during(interface: Interface, call: Callable[[], object]) -> None:
    """Call a function each time sessions end."""
    end = interface.ender.end

    def ended(jid: JID) -> "Deferred[list[str]]":
        call()
        return end(jid)

    interface.ender.end = ended  # type: ignore[method-assign]


def redeems(interface: Interface, text: str) -> bool:
    return bool(now(interface.passwords.redeem(JULIET, text.encode())))
