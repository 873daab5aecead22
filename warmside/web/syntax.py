"""Reject headers that two HTTP implementations may read differently (RFC 9112).

Twisted accepts several of them. A proxy in front of warmside that reads them differently would check one request and
pass on another.
"""

import re

NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HOST = re.compile(rb"[^\s/?#@,]*")
FORBIDDEN = re.compile(rb"[\0\r\n]")
MAX_DIGITS = 18
"""Maximum digits of Content-Length. Python converts no number of more than 4,300 digits."""
SINGLE = {b"host": "Host", b"content-length": "Content-Length", b"transfer-encoding": "Transfer-Encoding"}
"""Headers of which a request has at most one."""


class HeaderSyntax:
    """Checks the lines of one request's header, in order."""

    def __init__(self) -> None:
        self._version: bytes | None = None
        self._found: set[bytes] = set()

    def error(self, line: bytes) -> str | None:
        """Return what is wrong with the next line; ``None`` if nothing is.

        :param line: without its CRLF; empty at the end of the header.
        """
        if FORBIDDEN.search(line):
            return "the header has a NUL, CR or LF inside a line"
        if self._version is None:
            if line:  # an empty line before the request is ignored (RFC 9112, 2.2)
                self._version = line.rpartition(b" ")[2]
            return None
        if not line:
            missing = b"host" not in self._found and self._version != b"HTTP/1.0"
            return "the header has no Host" if missing else None
        if line[:1] in b" \t":
            return "the header has a folded line (obs-fold): write each header on one line"
        return self._field_error(*line.partition(b":"))

    def _field_error(self, name: bytes, colon: bytes, value: bytes) -> str | None:
        if not colon:
            return "the header has a line without a colon"
        if name != name.rstrip():
            return "the header has whitespace before a colon"
        if not NAME.fullmatch(name):
            return "the header has a field name with a forbidden character"
        name, value = name.lower(), value.strip(b" \t")
        if name in SINGLE:
            if name in self._found:
                return f"the header has two {SINGLE[name]} lines"
            self._found.add(name)
            return self._value_error(name, value)
        return None

    def _value_error(self, name: bytes, value: bytes) -> str | None:
        if {b"content-length", b"transfer-encoding"} <= self._found:
            return "the header has Content-Length and Transfer-Encoding"
        if name == b"host" and not HOST.fullmatch(value):
            return "the Host header is not HOST or HOST:PORT"
        if name == b"content-length" and not (value.isdigit() and len(value) <= MAX_DIGITS):
            return f"the Content-Length header is not a number of at most {MAX_DIGITS} digits"
        if name == b"transfer-encoding" and (value.lower() != b"chunked" or self._version == b"HTTP/1.0"):
            return "the Transfer-Encoding header is not chunked, or the request is HTTP/1.0"
        return None
