"""What a request's headers say, in bytes that anybody may have sent."""

import re
import uuid

from twisted.web.http import Request

from warmside.web.negotiate import Form, choose

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_headers(request: Request, name: str) -> list[str]:
    """A header's values. Bytes beyond ASCII are read as Latin-1, which refuses none (RFC 9110, 5.5)."""
    values = request.requestHeaders.getRawHeaders(name.encode("ascii")) or []
    return [value.decode("latin-1") for value in values]


def request_header(request: Request, name: str) -> str | None:
    """A header's first value."""
    values = request_headers(request, name)
    return values[0] if values else None


def request_id(request: Request) -> str:
    """The request's ``X-Request-ID`` if it is harmless, else a new one."""
    given = request_header(request, "X-Request-ID") or ""
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def accepted_form(request: Request, *, error: bool = False) -> Form | None:
    """The form of reply, or of an error, that the request likes best; ``None`` if it accepts none that there is."""
    return choose(request_headers(request, "Accept"), error=error)
