"""Replies in each of their forms: XHTML, JSON and plain text."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from warmside.jids import JID
from warmside.otp import OneTimePassword
from warmside.sessions.model import WarmSession
from warmside.turns import Turns
from warmside.web import xhtml
from warmside.web.negotiate import PROBLEM_JSON, Form
from warmside.web.problems import Problem, phrase

PAGE_POLICY = "default-src 'none'; form-action 'self'; frame-ancestors 'none'"
"""Content-Security-Policy of every page."""

NO_CONTENT_STATUS = 204

MANY = 100
"""Number of stanzas or contacts above which a reply is serialized in turns."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that is ready to be sent.

    :ivar undelivered: called if the reply did not reach the client; see `warmside.web.delivery`.
    """

    status: int
    content_type: str
    body: bytes = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict)
    undelivered: Callable[[], object] | None = None

    def all_headers(self, request_id: str) -> dict[str, str]:
        """Return the headers that every reply has, and those of this reply.

        Status 204 has no content, and therefore no length (RFC 9110, 8.6).
        """
        content = {"Content-Type": self.content_type, "Content-Length": str(len(self.body))}
        return {
            **({} if self.status == NO_CONTENT_STATUS else content),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "X-Request-ID": request_id,
            "Server": "warmside",
            **self.headers,
        }


NO_CONTENT = Reply(NO_CONTENT_STATUS, "", b"")
"""Success without a body."""


def warm_session_reply(session: WarmSession, form: Form) -> Reply:
    """Return the reply with a warm session."""
    if form is Form.JSON:
        return json_reply(200, _members(session))
    if form is Form.TEXT:
        return _text_reply(200, f"{session.jid}\n{session.sid}\n{session.rid}\n")
    return page_reply(200, form, xhtml.warm_session_page(session))


async def long_warm_session_reply(reactor: Any, session: WarmSession) -> Reply:
    """Return the JSON reply with a warm session of many stanzas or contacts. They are serialized in turns."""
    turns, members = Turns(reactor), _members(session)
    lists = [(name, members.pop(name)) for name in ("stanzas", "roster") if name in members]
    parts = [json.dumps(members, ensure_ascii=False).encode()[:-1]]
    for name, items in lists:
        parts.append(f', "{name}": ['.encode())
        for number, item in enumerate(items):
            parts.append((", " if number else "").encode() + json.dumps(item, ensure_ascii=False).encode())
            if turns.due:
                await turns.rest()
        parts.append(b"]")
    parts.append(b"}\n")
    return Reply(200, "application/json", b"".join(parts))


def _members(session: WarmSession) -> dict[str, Any]:
    members = {name: getattr(session, name) for name in WarmSession.__dataclass_fields__}
    if session.roster is None:
        del members["roster"]
    return members


def credentials_reply(jid: JID, minted: OneTimePassword, lifetime: float, undelivered: Callable[[], object]) -> Reply:
    """Return the reply with a one-time password.

    :param lifetime: seconds until the password expires.
    :param undelivered: see `Reply`.
    """
    reply = json_reply(200, {"jid": jid.full(), "password": minted.text, "expires_in": lifetime})
    return replace(reply, undelivered=undelivered)


def problem_reply(problem: Problem, form: Form) -> Reply:
    """Return the reply that describes a problem."""
    status, title = problem.status, phrase(problem.status)
    if form is Form.JSON:
        members = {"type": f"urn:warmside:{problem.name}", "title": title, "status": status, "detail": problem.detail}
        reply = json_reply(status, members | problem.extra, PROBLEM_JSON)
    elif form is Form.TEXT:
        reply = _text_reply(status, f"{status} {title}: {problem.detail}\n")
    else:
        reply = page_reply(status, form, xhtml.problem_page(title, problem.detail))
    reply.headers.update(problem.headers)
    return reply


def page_reply(status: int, form: Form, body: bytes) -> Reply:
    """Return a reply with an XHTML page."""
    content_type = "application/xhtml+xml" if form is Form.XHTML else "text/html; charset=utf-8"
    return Reply(status, content_type, body, {"Content-Security-Policy": PAGE_POLICY})


def json_reply(status: int, members: dict[str, Any], content_type: str = "application/json") -> Reply:
    """Return a reply with a JSON object."""
    return Reply(status, content_type, json.dumps(members, ensure_ascii=False).encode() + b"\n")


def _text_reply(status: int, text: str) -> Reply:
    return Reply(status, "text/plain; charset=utf-8", text.encode())
