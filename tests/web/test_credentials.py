"""``POST /credentials``."""

import json
from typing import Any

import pytest

from tests.web.interface import MINTED, Interface, header
from warmside.sessions.errors import UnsafeHost


@pytest.mark.parametrize("accept", ["application/json", "*/*", "text/html, application/json;q=0.1", "application/*"])
def test_a_credential_is_the_jid_a_one_time_password_and_its_lifetime(interface: Interface, accept: str) -> None:
    response = interface.credentials(accept)
    assert response.code == 200 and header(response, "Content-Type") == "application/json"
    expected = {"jid": "juliet@example.org/balcony", "password": MINTED.text, "expires_in": 30}
    assert json.loads(response.body) == expected
    assert header(response, "Cache-Control") == "no-store"


@pytest.mark.parametrize(
    ("options", "status", "what"),
    [
        ({"accept": "text/html"}, 406, "Not Acceptable"),
        ({"accept": "application/json;q=0"}, 406, "406"),
        ({"auth": ("web", "wrong")}, 401, "unauthorized"),
        ({"data": {"jid": "admin@example.org"}}, 403, "policy"),
        ({"data": {"jid": "juliet@example.org", "wait": "5"}}, 400, '"field": "wait"'),
        ({"data": {"jid": "juliet@example.org", "password": "x"}}, 400, '"field": "password"'),
        ({"data": {}}, 400, '"field": "jid"'),
    ],
)
def test_a_rejected_request_mints_no_password(
    interface: Interface, options: dict[str, Any], status: int, what: str
) -> None:
    response = interface.credentials(**options)
    assert response.code == status and what in response.body
    assert interface.warmer.minted_for == []


def test_an_unsafe_host_gets_no_credential(interface: Interface) -> None:
    interface.warmer.outcome = UnsafeHost("example.org")
    response = interface.credentials()
    assert response.code == 503 and "auth_use_cache: false" in response.body


def test_only_post_is_allowed(interface: Interface) -> None:
    response = interface.request("GET", "/credentials")
    assert response.code == 405 and header(response, "Allow") == "POST"
