"""Read the headers of a request, which may contain any bytes."""

import re
import uuid

from twisted.web.http import Request

from warmside.web.negotiate import Form, choose

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Request IDs of clients that are safe to log and to return."""


def request_headers(request: Request, name: str) -> list[str]:
    """Return a header's values. They are decoded as Latin-1, which accepts all bytes (RFC 9110, 5.5)."""
    values = request.requestHeaders.getRawHeaders(name.encode("ascii")) or []
    return [value.decode("latin-1") for value in values]


def request_header(request: Request, name: str) -> str | None:
    """Return a header's first value; ``None`` if the header is absent."""
    values = request_headers(request, name)
    return values[0] if values else None


def request_id(request: Request) -> str:
    """Return the request's ``X-Request-ID`` if it is safe, else a new one."""
    given = request_header(request, "X-Request-ID") or ""
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def accepted_form(request: Request, *, error: bool = False) -> Form | None:
    """Return the form of reply, or of error, that the request prefers; ``None`` if it accepts no form."""
    return choose(request_headers(request, "Accept"), error=error)
