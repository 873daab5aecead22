"""What a reply looks like, in each form; and which status each failure gets, in words for a person.

Errors are types with facts in them everywhere else; here they become text.
"""

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from warmside.failures import (
    Banned,
    BoshError,
    Busy,
    Leftover,
    OneTimeRefused,
    PauseTooLong,
    Refused,
    StoreError,
    TimedOut,
    Unreachable,
    UnsafeHost,
)
from warmside.warm import WarmSession
from warmside.web import xhtml
from warmside.web.negotiate import Form

PHRASES = {413: "Content Too Large", 431: "Request Header Fields Too Large"}


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that is ready to be sent."""

    status: int
    content_type: str
    body: bytes = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict)

    def all_headers(self, request_id: str) -> dict[str, str]:
        """The headers that every reply carries, and this one's own."""
        return {
            "Content-Type": self.content_type,
            "Content-Length": str(len(self.body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "X-Request-ID": request_id,
            "Server": "warmside",
            **self.headers,
        }


class Problem(Exception):
    """A reply other than 200.

    :ivar name: the last part of the problem's type, ``urn:warmside:NAME``.
    :ivar extra: further members of the JSON form, such as ``field`` or ``step``.
    """

    def __init__(
        self, status: int, name: str, detail: str, *, headers: dict[str, str] | None = None, **extra: str
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.name = name
        self.detail = detail
        self.headers = headers or {}
        self.extra = extra


def phrase(status: int) -> str:
    """The reason phrase of a status."""
    return PHRASES.get(status) or HTTPStatus(status).phrase


def success(session: WarmSession, form: Form) -> Reply:
    """The reply that hands a session over."""
    if form is Form.JSON:
        members = {name: getattr(session, name) for name in WarmSession.__dataclass_fields__}
        if session.roster is None:
            del members["roster"]
        return _json(200, "application/json", members)
    if form is Form.TEXT:
        return _text(200, f"{session.jid}\n{session.sid}\n{session.rid}\n")
    return page(200, form, xhtml.success(session))


def problem(what: Problem, form: Form) -> Reply:
    """The reply that says what went wrong, in the form that was asked for."""
    title = phrase(what.status)
    if form is Form.JSON:
        members = {"type": f"urn:warmside:{what.name}", "title": title, "status": what.status, "detail": what.detail}
        reply = _json(what.status, "application/problem+json", members | what.extra)
    elif form is Form.TEXT:
        reply = _text(what.status, f"{what.status} {title}: {what.detail}\n")
    else:
        reply = page(what.status, form, xhtml.error(title, [what.detail]))
    reply.headers.update(what.headers)
    return reply


def page(status: int, form: Form, body: bytes) -> Reply:
    """An XHTML page."""
    content_type = "application/xhtml+xml" if form is Form.XHTML else "text/html; charset=utf-8"
    policy = "default-src 'none'; form-action 'self'; frame-ancestors 'none'"
    return Reply(status, content_type, body, {"Content-Security-Policy": policy})


def _json(status: int, content_type: str, members: dict[str, Any]) -> Reply:
    return Reply(status, content_type, json.dumps(members, ensure_ascii=False).encode() + b"\n")


def _text(status: int, text: str) -> Reply:
    return Reply(status, "text/plain; charset=utf-8", text.encode())


NEVER_ASKED = (
    "ejabberd refused a fresh one-time password for this user and never asked warmside about it: the host's "
    "auth_method must contain external, its extauth_program must be warmside, and auth_use_cache must be false"
)
ASKED_IN_VAIN = (
    "ejabberd refused a fresh one-time password: it asked warmside, but too late or for another JID than the "
    "one it was minted for"
)
ASKED_TWICE = (
    "ejabberd refused a fresh one-time password although warmside had said that it is right: another program "
    "or setting refuses this user, or the answer got lost twice"
)
OTHERS = {
    Leftover.UNASKED: ("otp-not-asked", NEVER_ASKED),
    Leftover.ASKED: ("otp-refused", ASKED_IN_VAIN),
    Leftover.GONE: ("otp-refused", ASKED_TWICE),
}


def problem_for(error: Exception) -> Problem | None:
    """The problem that a failure of warming is to the caller; ``None`` if it is no such failure."""
    match error:
        case StoreError():
            return Problem(503, "store", str(error), headers=_retry(5))
        case UnsafeHost():
            detail = (
                f"ejabberd accepts a used password again for {error.host}, because its authentication cache is on: "
                "set auth_use_cache: false for this host. Until then nothing is handed out for it"
            )
            return Problem(503, "unsafe-host", detail, headers=_retry(10))
        case OneTimeRefused():
            name, detail = OTHERS[error.leftover]
            return Problem(502, name, detail, step=error.step)
        case PauseTooLong():
            return Problem(400, "field", f"attach_within: {error.seen}", field="attach_within")
        case BoshError():
            return _bosh_problem(error)
    return None


def _bosh_problem(error: BoshError) -> Problem:
    step, seen = error.step, f"{error.seen} (at the step: {error.step})"
    match error:
        case Refused():
            return Problem(403, "password-refused", "ejabberd refused the user's own password", step=step)
        case Banned():
            detail = (
                f"{seen}: most often mod_fail2ban has banned warmside's address after failed logins; "
                "exempt loopback from it"
            )
            return Problem(503, "banned", detail, headers=_retry(60), step=step)
        case Busy():
            return Problem(503, "busy", seen, headers=_retry(1), step=step)
        case Unreachable():
            return Problem(503, "unreachable", seen, headers=_retry(5), step=step)
        case TimedOut():
            return Problem(504, "timeout", seen, step=step)
    return Problem(502, "login-failed", seen, step=step)


def _retry(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(seconds)}
