"""The resources of the HTTP interface, and their paths.

To add a resource: a class, its path in `resource_tree`, and its description in `warmside.web.openapi`.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace

from warmside.sessions.ending import SessionEnder
from warmside.sessions.warmer import Warmer
from warmside.web import metrics, openapi, xhtml
from warmside.web.audited import Access, AuditedEndpoint, Observe
from warmside.web.endpoint import Call, Endpoint, Root
from warmside.web.fields import read_jid, read_warm_request
from warmside.web.headers import request_headers
from warmside.web.negotiate import Form, accepts_json
from warmside.web.problems import DEFAULT_RETRY_AFTER, Problem
from warmside.web.replies import (
    MANY,
    Reply,
    credentials_reply,
    json_reply,
    long_warm_session_reply,
    page_reply,
    warm_session_reply,
)

CheckParts = Callable[[], Awaitable[dict[str, str]]]
"""Returns the state of each part of the service: ``ok``, or a word for the fault."""


def resource_tree(
    access: Access,
    warmer: Warmer,
    ender: SessionEnder,
    lifetime: float,
    counters: metrics.Metrics,
    check_parts: CheckParts,
) -> Root:
    """Return all resources of the interface.

    :param lifetime: seconds until a one-time password expires.
    """
    return Root(
        {
            b"warm": WarmEndpoint(access, warmer, counters.warmed),
            b"credentials": CredentialsEndpoint(access, warmer, lifetime, counters.handed_out),
            b"end": EndEndpoint(access, ender, counters.ended),
            b"health": HealthEndpoint(),
            b"ready": ReadyEndpoint(check_parts),
            b"metrics": MetricsEndpoint(counters.text),
            b"openapi.json": OpenAPIEndpoint(),
        }
    )


class WarmEndpoint(AuditedEndpoint):
    """``/warm``: the form, and warm sessions."""

    def __init__(self, access: Access, warmer: Warmer, observe: Observe) -> None:
        super().__init__({b"GET": self._get, b"POST": self._post}, access, observe)
        self._warmer = warmer

    async def _get(self, call: Call) -> Reply:
        await self.admit(call)
        if call.form not in (Form.HTML, Form.XHTML):
            raise Problem("not-acceptable", "Accept must include text/html or application/xhtml+xml")
        return page_reply(200, call.form, xhtml.form_page())

    async def _post(self, call: Call) -> Reply:
        admin = await self.admit(call)
        if call.form is None:
            raise Problem("not-acceptable", f"Accept must include one of: {', '.join(form.value for form in Form)}")
        request = read_warm_request(call.fields())
        self.check_policy(call, admin, request.jid)
        if call.form is Form.TEXT and (request.available or request.roster):
            raise Problem("not-acceptable", "a reply to presence or fetch is not available as text/plain: accept JSON")
        session = await self._warmer.warm(replace(request, began=call.started))
        call.jid = session.jid
        if call.form is Form.JSON and len(session.stanzas) + len(session.roster or ()) > MANY:
            reply = await long_warm_session_reply(self._warmer.reactor, session)
        else:
            reply = warm_session_reply(session, call.form)
        return replace(reply, undelivered=lambda: self._warmer.end_later(session))


class CredentialsEndpoint(AuditedEndpoint):
    """``/credentials``: one-time passwords for clients that log in themselves.

    :param lifetime: seconds until a one-time password expires.
    """

    def __init__(self, access: Access, warmer: Warmer, lifetime: float, observe: Observe) -> None:
        super().__init__({b"POST": self._post}, access, observe)
        self._warmer = warmer
        self._lifetime = lifetime

    async def _post(self, call: Call) -> Reply:
        admin = await self.admit(call)
        require_json(call)
        jid = read_jid(call.fields())
        self.check_policy(call, admin, jid)
        minted = await self._warmer.mint(jid, call.started)
        return credentials_reply(
            self._warmer.served(jid), minted, self._lifetime, lambda: self._warmer.revoke_later(minted)
        )


class EndEndpoint(AuditedEndpoint):
    """``/end``: ends one session, or all sessions of a user."""

    def __init__(self, access: Access, ender: SessionEnder, observe: Observe) -> None:
        super().__init__({b"POST": self._post}, access, observe)
        self._ender = ender

    async def _post(self, call: Call) -> Reply:
        admin = await self.admit(call)
        require_json(call)
        jid = read_jid(call.fields())
        self.check_policy(call, admin, jid)
        return json_reply(200, {"ended": await self._ender.end(jid)})


def require_json(call: Call) -> None:
    """Reject a call that does not accept a JSON reply.

    :raises Problem: 406.
    """
    if not accepts_json(request_headers(call.request, "Accept")):
        raise Problem("not-acceptable", "Accept must include application/json")


class HealthEndpoint(Endpoint):
    """``/health``: 200 while the process serves."""

    def __init__(self) -> None:
        super().__init__({b"GET": self._get})

    async def _get(self, call: Call) -> Reply:
        return json_reply(200, {"status": "ok"})


class ReadyEndpoint(Endpoint):
    """``/ready``: 200 if all parts of the service are ``ok``, else 503."""

    def __init__(self, check_parts: CheckParts) -> None:
        super().__init__({b"GET": self._get})
        self._check_parts = check_parts

    async def _get(self, call: Call) -> Reply:
        parts = await self._check_parts()
        ready = all(state == "ok" for state in parts.values())
        status, text = (200, "ready") if ready else (503, "not ready")
        reply = json_reply(status, {"status": text, **parts})
        if not ready:
            reply.headers["Retry-After"] = str(DEFAULT_RETRY_AFTER)
        return reply


class MetricsEndpoint(Endpoint):
    """``/metrics``: all metrics of this machine's processes.

    :param text: returns them in Prometheus' text format.
    """

    def __init__(self, text: Callable[[], bytes]) -> None:
        super().__init__({b"GET": self._get})
        self._text = text

    async def _get(self, call: Call) -> Reply:
        return Reply(200, metrics.CONTENT_TYPE, self._text())


class OpenAPIEndpoint(Endpoint):
    """``/openapi.json``: the description of this interface."""

    def __init__(self) -> None:
        super().__init__({b"GET": self._get})
        self._body = json.dumps(openapi.description(), indent=1).encode() + b"\n"

    async def _get(self, call: Call) -> Reply:
        return Reply(200, "application/json", self._body)
