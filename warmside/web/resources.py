"""The resources of the HTTP interface."""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from warmside.jids import JID
from warmside.sessions.warmer import Warmer
from warmside.web import openapi, replies, xhtml
from warmside.web.audit import audit
from warmside.web.authenticator import AdminAuthenticator
from warmside.web.endpoint import Call, Endpoint, Handler
from warmside.web.fields import read_jid_alone, read_warm_request
from warmside.web.headers import request_headers
from warmside.web.negotiate import Form, accepts_json
from warmside.web.replies import Problem, Reply

Allows = Callable[[str, str, str], bool]
"""Whether an admin (name) may have a bare JID at a host warmed."""

Tell = Callable[[str, float], None]
"""Is told of the outcome of a call and how many seconds it took."""


class AuditedEndpoint(Endpoint):
    """An endpoint whose POST hands out something for a JID: each leaves a line in the log."""

    def __init__(self, handlers: dict[bytes, Handler], guard: AdminAuthenticator, allows: Allows, tell: Tell) -> None:
        super().__init__(handlers)
        self.guard = guard
        self._allows = allows
        self._tell = tell

    def ended(self, call: Call, outcome: str, status: int | None) -> None:
        """Write the audit line, and count."""
        if call.request.method == b"POST":
            seconds = time.monotonic() - call.started
            audit(self.log, call, self.guard.address(call), outcome, status, seconds)
            self._tell(outcome, seconds)

    def refuse_forbidden(self, call: Call, admin: str, jid: JID) -> None:
        """:raises Problem: the account is not this admin's to warm."""
        call.jid = jid.full()
        if not self._allows(admin, jid.userhost(), jid.host):
            raise Problem("policy", "the policy does not let this account be warmed")


class WarmEndpoint(AuditedEndpoint):
    """``/warm``: the form, and warm sessions."""

    def __init__(self, guard: AdminAuthenticator, allows: Allows, warmer: Warmer, tell: Tell) -> None:
        super().__init__({b"GET": self._get, b"POST": self._post}, guard, allows, tell)
        self._warmer = warmer

    async def _get(self, call: Call) -> Reply:
        await self.guard.admit(call)
        if call.form not in (Form.HTML, Form.XHTML):
            raise Problem("not-acceptable", "the form is there as text/html or application/xhtml+xml only")
        return replies.page(200, call.form, xhtml.form())

    async def _post(self, call: Call) -> Reply:
        admin = await self.guard.admit(call)
        if call.form is None:
            raise Problem(
                "not-acceptable",
                "the reply is there as text/html, application/xhtml+xml, application/json or text/plain",
            )
        warm_request = read_warm_request(call.fields())
        self.refuse_forbidden(call, admin, warm_request.jid)
        if call.form is Form.TEXT and (warm_request.available or warm_request.roster):
            raise Problem("not-acceptable", "text/plain has no room for what presence and fetch bring along")
        session = await self._warmer.warm(warm_request)
        call.jid = session.jid
        return replies.success(session, call.form)


class CredentialsEndpoint(AuditedEndpoint):
    """``/credentials``: one-time passwords for clients that log in themselves."""

    def __init__(self, guard: AdminAuthenticator, allows: Allows, warmer: Warmer, lifetime: float, tell: Tell) -> None:
        super().__init__({b"POST": self._post}, guard, allows, tell)
        self._warmer = warmer
        self._lifetime = lifetime

    async def _post(self, call: Call) -> Reply:
        admin = await self.guard.admit(call)
        if not accepts_json(request_headers(call.request, "Accept")):
            raise Problem("not-acceptable", "the reply is there as application/json only")
        jid = read_jid_alone(call.fields())
        self.refuse_forbidden(call, admin, jid)
        minted = await self._warmer.mint(jid)
        return replies.credentials(jid, minted, self._lifetime, lambda: self._warmer.revoke_later(minted))


class HealthEndpoint(Endpoint):
    """``/health``: 200 while the process serves."""

    def __init__(self) -> None:
        super().__init__({b"GET": self._get})

    async def _get(self, call: Call) -> Reply:
        return replies.json_reply(200, {"status": "ok"})


class ReadyEndpoint(Endpoint):
    """``/ready``: whether all that the service needs is there.

    :param look: gives each part's state; ``ok`` is the good one.
    """

    def __init__(self, look: Callable[[], Awaitable[dict[str, str]]]) -> None:
        super().__init__({b"GET": self._get})
        self._look = look

    async def _get(self, call: Call) -> Reply:
        parts = await self._look()
        ready = all(state == "ok" for state in parts.values())
        return replies.json_reply(200 if ready else 503, {"status": "ready" if ready else "not ready", **parts})


class MetricsEndpoint(Endpoint):
    """``/metrics``, in Prometheus' text format."""

    def __init__(self, text: Callable[[], bytes], content_type: str) -> None:
        super().__init__({b"GET": self._get})
        self._text = text
        self._content_type = content_type

    async def _get(self, call: Call) -> Reply:
        return Reply(200, self._content_type, self._text())


class OpenAPIEndpoint(Endpoint):
    """``/openapi.json``: the description of this interface."""

    def __init__(self) -> None:
        super().__init__({b"GET": self._get})
        self._body: Any = json.dumps(openapi.description(), indent=1).encode() + b"\n"

    async def _get(self, call: Call) -> Reply:
        return Reply(200, "application/json", self._body)
