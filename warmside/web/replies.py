"""What a reply looks like, in each form; and which status each failure gets, in words for a person.

Errors are types with facts in them everywhere else; here they become text.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from warmside.jids import JID
from warmside.otp import OneTimePassword
from warmside.sessions.errors import (
    Banned,
    BoshError,
    Busy,
    OneTimeRefused,
    PauseTooLong,
    Refused,
    RevocationStatus,
    StoreError,
    TimedOut,
    TooManyFailures,
    Unreachable,
    UnsafeHost,
)
from warmside.sessions.model import WarmSession
from warmside.web import xhtml
from warmside.web.negotiate import Form

PROBLEMS = {
    "malformed": 400,
    "query": 400,
    "body": 400,
    "field": 400,
    "unauthorized": 401,
    "foreign-origin": 403,
    "policy": 403,
    "password-refused": 403,
    "not-found": 404,
    "method-not-allowed": 405,
    "not-acceptable": 406,
    "too-slow": 408,
    "too-large": 413,
    "too-many-fields": 413,
    "unsupported-type": 415,
    "too-many-failures": 429,
    "header-too-large": 431,
    "internal": 500,
    "login-failed": 502,
    "otp-not-asked": 502,
    "otp-refused": 502,
    "banned": 503,
    "busy": 503,
    "store": 503,
    "unreachable": 503,
    "unsafe-host": 503,
    "timeout": 504,
}
"""Every kind of problem, by the last part of its type ``urn:warmside:NAME``, and its status."""

PHRASES = {413: "Content Too Large", 431: "Request Header Fields Too Large"}


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that is ready to be sent.

    ``undelivered`` is called when the connection is reset before the caller can have read it.
    """

    status: int
    content_type: str
    body: bytes = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict)
    undelivered: Callable[[], object] | None = None

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

    :ivar name: the last part of the problem's type, ``urn:warmside:NAME``; one of `PROBLEMS`.
    :ivar extra: further members of the JSON form, such as ``field`` or ``step``.
    """

    def __init__(self, name: str, detail: str, *, headers: dict[str, str] | None = None, **extra: str) -> None:
        super().__init__(detail)
        self.status = PROBLEMS[name]
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
        return json_reply(200, members)
    if form is Form.TEXT:
        return _text(200, f"{session.jid}\n{session.sid}\n{session.rid}\n")
    return page(200, form, xhtml.success(session))


def credentials(jid: JID, minted: OneTimePassword, lifetime: float, undelivered: Callable[[], object]) -> Reply:
    """The reply that hands a one-time password out."""
    reply = json_reply(200, {"jid": jid.full(), "password": minted.text, "expires_in": lifetime})
    return replace(reply, undelivered=undelivered)


def problem(what: Problem, form: Form) -> Reply:
    """The reply that says what went wrong, in the form that was asked for."""
    title = phrase(what.status)
    if form is Form.JSON:
        members = {"type": f"urn:warmside:{what.name}", "title": title, "status": what.status, "detail": what.detail}
        reply = json_reply(what.status, members | what.extra, "application/problem+json")
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


def json_reply(status: int, members: dict[str, Any], content_type: str = "application/json") -> Reply:
    """A reply with a JSON object."""
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
    RevocationStatus.UNASKED: ("otp-not-asked", NEVER_ASKED),
    RevocationStatus.ASKED: ("otp-refused", ASKED_IN_VAIN),
    RevocationStatus.GONE: ("otp-refused", ASKED_TWICE),
}


def problem_for(error: Exception) -> Problem | None:
    """The problem that a failure of warming is to the caller; ``None`` if it is no such failure."""
    match error:
        case TooManyFailures():
            return Problem("too-many-failures", str(error), headers=_retry(error.retry_after))
        case StoreError():
            return Problem("store", str(error), headers=_retry(5))
        case UnsafeHost():
            detail = (
                f"ejabberd accepts a used password again for {error.host}, because its authentication cache is on: "
                "set auth_use_cache: false for this host. Until then nothing is handed out for it"
            )
            return Problem("unsafe-host", detail, headers=_retry(10))
        case OneTimeRefused():
            name, detail = OTHERS[error.revocation]
            return Problem(name, detail, step=error.step)
        case PauseTooLong():
            return Problem("field", f"attach_within: {error.seen}", field="attach_within")
        case BoshError():
            return _bosh_problem(error)
    return None


def _bosh_problem(error: BoshError) -> Problem:
    step, seen = error.step, f"{error.seen} (at the step: {error.step})"
    match error:
        case Refused():
            return Problem("password-refused", "ejabberd refused the user's own password", step=step)
        case Banned():
            detail = (
                f"{seen}: most often mod_fail2ban has banned warmside's address after failed logins; "
                "exempt loopback from it"
            )
            return Problem("banned", detail, headers=_retry(60), step=step)
        case Busy():
            return Problem("busy", seen, headers=_retry(1), step=step)
        case Unreachable():
            return Problem("unreachable", seen, headers=_retry(5), step=step)
        case TimedOut():
            return Problem("timeout", seen, step=step)
    return Problem("login-failed", seen, step=step)


def _retry(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(seconds)}
