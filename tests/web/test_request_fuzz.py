"""Random requests get a reply that the interface describes: never a 500, never none."""

import os
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings

from tests.support import logging
from tests.web.fuzzworld import Unexpected, World, check
from tests.web.requestfuzz import AUTHORIZED, requests
from warmside.web.client_address import parse_address

EXAMPLES = int(os.environ.get("REQUESTS", "200"))
"""Number of requests. `REQUESTS=2000` takes about half a minute."""
QUIET: dict[str, Any] = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


def status_of(request: bytes) -> int:
    """Send a request to a new site and check the reply.

    :raises Unexpected: the reply is none that the interface describes, or an error was logged.
    """
    with logging() as logged:
        reply = World().send(request)
    try:
        status = check(reply)
    except Unexpected as error:
        raise Unexpected(f"{request!r}: {error} {logged}") from None
    faults = [line for line in logged if "Traceback" in line]
    if faults:
        raise Unexpected(f"{request!r}: {faults[0]}")
    return status


def post(path: str, fields: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(fields)}\r\n"
    return head.encode() + b"Accept: application/json\r\nAuthorization: " + AUTHORIZED + b"\r\n\r\n" + fields


@settings(max_examples=EXAMPLES, derandomize="REQUESTS" not in os.environ, **QUIET)
@given(requests())
@example(post("/warm", b'{"jid":' * 9_000))
@example(post("/credentials", b'{"jid": ' + b"9" * 6_000 + b"}"))
@example(post("/warm", b'{"jid": "\\ud800@example.org", "password": "\\udfff"}'))
@example(post("/warm", b'{"jid": "a@b..c", "address": "::1%lo", "ver": "1.\xc2\xb2"}'))
@example(post("/warm", b"{}").replace(b"Host: x", b"Host: [::1"))
@example(post("http://[::1/warm?x", b"{}"))
def test_every_request_gets_a_described_reply(request: bytes) -> None:
    status_of(request)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/warm", b'{"jid": "juliet@example.org"}'),
        ("/warm", '{"jid": "jülia@bücher.example/ß", "lang": "de", "wait": 300, "hold": 0, "ver": "1.10"}'.encode()),
        ("/warm", b'{"jid": "juliet@a_b", "fetch": "roster", "presence": "available", "attach_within": 60}'),
        ("/credentials", b'{"jid": "juliet@example.org/r"}'),
    ],
    ids=range(4),
)
def test_valid_requests_reach_the_manager_and_succeed(path: str, fields: bytes) -> None:
    assert status_of(post(path, fields)) == 200


def test_the_search_finds_a_seeded_fault() -> None:
    def faulty(text: str) -> Any:
        if ":" in text:
            raise IndexError("seeded")
        return parse_address(text)

    @settings(max_examples=2000, derandomize=True, phases=[Phase.generate], **QUIET)
    @given(requests())
    def search(request: bytes) -> None:
        status_of(request)

    with patch("warmside.web.fields.parse_address", faulty), pytest.raises(Unexpected, match="IndexError: seeded"):
        search()
