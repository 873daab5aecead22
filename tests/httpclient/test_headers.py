"""Headers that are rendered once: treq must send them as it sends any others."""

from typing import Any

import pytest
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers

from warmside.httpclient.agent import NoCookies, WholeBody
from warmside.httpclient.headers import PreparedHeaders, lines_of

NAMED = {b"Content-Type": b"text/xml; charset=utf-8", b"X-Forwarded-For": b"203.0.113.7"}


class Recorder:
    """An agent that records the headers of each request."""

    def __init__(self) -> None:
        self.seen: list[Headers] = []

    def request(self, method: bytes, uri: bytes, headers: Headers, bodyProducer: object) -> "Deferred[Any]":
        self.seen.append(headers)
        return Deferred()


def test_treq_sends_the_same_lines_as_for_headers_that_are_copied_for_each_request() -> None:
    recorder: Any = Recorder()
    cookies: Any = NoCookies()
    client = HTTPClient(recorder, cookiejar=cookies, data_to_body_producer=WholeBody)
    prepared = PreparedHeaders(NAMED)
    for headers in (prepared, prepared, Headers({name: [value] for name, value in NAMED.items()})):
        client.request("POST", "http://localhost/", headers=headers, data=b"x", unbuffered=True, allow_redirects=False)
    first, second, copied = recorder.seen
    assert first is second is prepared
    assert prepared.lines == lines_of(copied) and b"Accept-Encoding: gzip\r\n" in prepared.lines


def test_a_value_with_a_line_break_stays_one_header() -> None:
    lines = PreparedHeaders({b"X-A": b"b\r\nX-C: d"}).lines
    assert lines.count(b"\r\n") == 2 and lines.startswith(b"X-A: b X-C: d\r\n")


def test_another_header_can_not_be_added() -> None:
    with pytest.raises(ValueError, match="Cookie"):
        PreparedHeaders(NAMED).addRawHeader(b"Cookie", b"a=b")
