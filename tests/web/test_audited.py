"""Audit lines, and calls whose client disconnects."""

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from tests.support import logging
from tests.web.interface import MINTED, SESSION, Interface, audit_lines
from warmside.sessions.errors import StoreError


def audit_line(interface: Interface, **options: Any) -> str:
    """Send a ``POST /warm``; return its audit line."""
    with audit_lines() as lines:
        interface.warm(**options)
    (line,) = lines
    return line


def test_a_disconnected_client_cancels_the_login(interface: Interface) -> None:
    request = interface.start_endless_warm()
    assert len(interface.warmer.requests) == 1
    request.processingFailed(Failure(ConnectionDone()))
    assert interface.warmer.cancelled == 1
    assert not request.written


def test_no_secret_is_logged(interface: Interface) -> None:
    with logging() as logged:
        interface.warm(data={"jid": "juliet@example.org", "password": "geheim"})
        interface.warm(auth=("web", "geheim"))
        interface.warmer.outcome = ValueError("x")
        interface.warm(data={"jid": "juliet@example.org", "password": "geheim"})
        interface.warm(auth=("geheim", "x"))
        interface.warmer.outcome = SESSION
        interface.credentials()
    assert sum("audit" in line for line in logged) == 5
    secrets = ("geheim", "s&id", "4711", MINTED.text)
    assert not any(secret in line for line in logged for secret in secrets)


def test_the_audit_line_has_admin_address_jid_and_outcome(interface: Interface) -> None:
    line = audit_line(interface, headers={"X-Request-ID": "abc.1"})
    assert line.startswith(
        'request="POST /warm" outcome="success" status=200 admin="web" from="127.0.0.1" '
        'jid="juliet@example.org/a<b" ms='
    )
    assert ' id="abc.1"' in line
    line = audit_line(interface, data={"jid": "Admin@example.org"})
    assert 'outcome="policy" status=403 admin="web"' in line and 'jid="admin@example.org"' in line
    line = audit_line(interface, auth=("web", "wrong"))
    assert 'outcome="unauthorized" status=401 admin="web"' in line and "jid=null" in line
    line = audit_line(interface, auth=("somebody", "wrong"))
    assert "admin=null" in line and "somebody" not in line
    assert interface.metrics.outcomes == ["success", "policy", "unauthorized", "unauthorized"]


def test_an_audit_line_is_one_line_of_bounded_length_for_any_request(interface: Interface) -> None:
    long = 'juliet@example.org/\u266b"\\' + "y" * 900
    line = audit_line(interface, json={"jid": long, "nonsense": "1"}, headers={"X-Request-ID": "a b\tc"})
    assert 'outcome="field"' in line and "jid=null" in line and 'id="a b' not in line
    interface.warmer.outcome = StoreError("x")
    line = audit_line(interface, json={"jid": long})
    assert line.isascii() and line.isprintable() and len(line) < 800
    assert 'jid="juliet@example.org/\\u266b\\"\\\\yyy' in line


def test_a_disconnected_client_has_an_audit_line(interface: Interface) -> None:
    with audit_lines() as lines:
        interface.start_endless_warm().processingFailed(Failure(ConnectionDone()))
    assert interface.metrics.outcomes == ["hung-up"] and 'outcome="hung-up" status=null' in lines[0]


def test_the_audit_line_ignores_forwarded_addresses_of_untrusted_peers(interface: Interface) -> None:
    assert 'from="127.0.0.1"' in audit_line(interface, headers={"X-Forwarded-For": "203.0.113.9"})
