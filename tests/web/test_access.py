"""Requests that are rejected before their body is read: credentials, foreign pages, odd headers."""

import json

import pytest

from tests.web.interface import Interface, header


@pytest.mark.parametrize("auth", [None, ("web", "wrong"), ("nobody", "secret"), ("", "")])
def test_wrong_credentials_get_401(interface: Interface, auth: tuple[str, str] | None) -> None:
    for response in (interface.warm(auth=auth), interface.request("GET", "/warm", auth=auth)):
        assert response.code == 401
        assert header(response, "WWW-Authenticate") == 'Basic realm="warmside", charset="UTF-8"'
    assert not interface.warmer.requests


@pytest.mark.parametrize("name", ["Accept", "X-Request-ID", "Origin", "Authorization", "Content-Type"])
def test_a_header_that_is_not_ascii_causes_no_internal_error(interface: Interface, name: str) -> None:
    response = interface.warm(headers={name: b"\xff"})  # type: ignore[dict-item]
    assert response.code in (200, 401, 403, 406, 415)
    assert header(response, "Cache-Control") == "no-store"


@pytest.mark.parametrize("value", ["Basic", "Basic !!!", "Bearer x", "Basic d2Vi", "Basic " + "x" * 1000, "é"])
def test_a_malformed_authorization_header_gets_401(interface: Interface, value: str) -> None:
    assert interface.warm(auth=None, headers={"Authorization": value}).code == 401


def test_too_many_waiting_passwords_get_503(interface: Interface) -> None:
    response = interface.warm(auth=("busy", "x"))
    assert response.code == 503 and header(response, "Retry-After")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:5282"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://127.0.0.1:x"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "none"},
    ],
)
def test_a_request_from_a_page_of_another_site_gets_403(interface: Interface, headers: dict[str, str]) -> None:
    response = interface.warm(headers=headers)
    assert response.code == 403
    assert json.loads(response.body)["type"] == "urn:warmside:foreign-origin"
    assert not interface.warmer.requests


def test_a_request_from_a_page_of_this_site_is_accepted(interface: Interface) -> None:
    headers = {"Origin": "http://127.0.0.1:5281", "Sec-Fetch-Site": "same-origin"}
    assert interface.warm(headers=headers).code == 200


@pytest.mark.parametrize("origin", ["https://www.example.org", "null"])
def test_a_page_of_this_site_is_accepted_behind_a_proxy_with_its_own_host(interface: Interface, origin: str) -> None:
    assert interface.warm(headers={"Origin": origin, "Sec-Fetch-Site": "same-origin"}).code == 200


@pytest.mark.parametrize(("size", "named"), [(72, False), (73, True)])
def test_a_password_that_bcrypt_would_truncate_is_named(interface: Interface, size: int, named: bool) -> None:
    for name in ("web", "stranger"):
        response = interface.warm(auth=(name, "x" * size))
        assert response.code == 401
        assert ("more than 72 bytes" in json.loads(response.body)["detail"]) == named
