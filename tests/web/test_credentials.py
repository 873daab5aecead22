"""``POST /credentials``."""

import json
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.web.interface import MINTED, Interface, header
from warmside.sessions.errors import HostState, UnsafeHost
from warmside.web.site import BoundedSite


@pytest.mark.parametrize("accept", ["application/json", "*/*", "text/html, application/json;q=0.1", "application/*"])
def test_a_credential_is_the_jid_a_one_time_password_and_its_lifetime(interface: Interface, accept: str) -> None:
    response = interface.credentials(accept)
    assert response.code == 200 and header(response, "Content-Type") == "application/json"
    expected = {"jid": "juliet@example.org/balcony", "password": MINTED.text, "expires_in": 30}
    assert json.loads(response.body) == expected
    assert header(response, "Cache-Control") == "no-store"


def test_the_jid_has_the_host_as_the_server_spells_it(interface: Interface) -> None:
    interface.warmer.host = "xn--bcher-kva.example"
    response = interface.credentials(data={"jid": "juliet@b\xfccher.example"})
    assert json.loads(response.body)["jid"] == "juliet@xn--bcher-kva.example"
    assert interface.warmer.minted_for == ["juliet@b\xfccher.example"]


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
    interface.warmer.outcome = UnsafeHost("example.org", HostState.CACHING)
    response = interface.credentials()
    assert response.code == 503 and "auth_use_cache: false" in response.body


def test_only_post_is_allowed(interface: Interface) -> None:
    response = interface.request("GET", "/credentials")
    assert response.code == 405 and header(response, "Allow") == "POST"


REQUEST = (
    b"POST /credentials HTTP/1.1\r\nHost: x\r\nAuthorization: Basic d2ViOnNlY3JldA==\r\nAccept: application/json\r\n"
    b"Content-Type: application/json\r\nContent-Length: 22\r\n\r\n"
    b'{"jid": "a@b.example"}'
)


@pytest.mark.parametrize(
    ("following", "reason", "revoked"),
    [(b"", ConnectionLost, [MINTED]), (b"", ConnectionDone, []), (REQUEST[:40], ConnectionLost, [MINTED])],
)
def test_a_reset_after_the_reply_revokes_the_password(
    interface: Interface, following: bytes, reason: type[Exception], revoked: list[object]
) -> None:
    site = BoundedSite(interface.root, Clock())
    channel = site.buildProtocol(None)
    transport = StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(REQUEST)
    assert transport.value().startswith(b"HTTP/1.1 200 OK\r\n") and MINTED.text.encode() in transport.value()
    if following:
        channel.dataReceived(following)
    channel.connectionLost(Failure(reason()))
    assert interface.warmer.revoked == revoked


def test_a_complete_next_request_means_that_the_reply_was_read(interface: Interface) -> None:
    site = BoundedSite(interface.root, Clock())
    channel = site.buildProtocol(None)
    channel.makeConnection(StringTransport())
    channel.dataReceived(REQUEST)
    channel.dataReceived(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    channel.connectionLost(Failure(ConnectionLost()))
    assert interface.warmer.revoked == []
