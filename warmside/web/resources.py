"""The resources of the HTTP interface: ``/warm`` and ``/health``.

A resource here is a table of methods; what surrounds them all (request id, negotiation, headers,
errors, cancelling when the caller hangs up) stands once, in `Endpoint`.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import urlsplit

from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.guard import BasicCredentialFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from warmside.config import Policy
from warmside.warm import Warmer
from warmside.web import replies, xhtml
from warmside.web.admins import Admin, IAdmin, Overloaded
from warmside.web.fields import BodyError, FieldError, TooManyFields, UnsupportedType, read_fields, read_wish
from warmside.web.headers import accepted_form, request_header, request_id
from warmside.web.negotiate import Form
from warmside.web.replies import Problem, Reply

CHALLENGE = 'Basic realm="warmside", charset="UTF-8"'
FORMS_OF_ADDRESS = {"http": 80, "https": 443}

Handler = Callable[["Call"], Awaitable[Reply]]


class Call:
    """One request, as a handler sees it."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.id = request_id(request)
        self.form = accepted_form(request)
        self.started = time.monotonic()

    def header(self, name: str) -> str | None:
        """A header's first value."""
        return request_header(self.request, name)

    def fields(self) -> dict[str, Any]:
        """The fields of the body.

        :raises Problem: it can't be read.
        """
        if b"?" in self.request.uri:
            raise Problem(400, "query", "fields belong into the body, not into a query string")
        assert self.request.content is not None
        return read_fields(self.header("Content-Type"), self.request.content.read())


class Endpoint(Resource):
    """A resource whose methods are handlers."""

    isLeaf = True
    log = Logger()

    def __init__(self, handlers: dict[bytes, Handler]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._handlers = handlers
        if b"GET" in handlers:
            handlers[b"HEAD"] = handlers[b"GET"]

    def render(self, request: Request) -> int:
        """Answer a request; see `Resource.render`."""
        call = Call(request)
        running = Deferred.fromCoroutine(self._answer(call))
        gone = request.notifyFinish()
        gone.addErrback(lambda _: running.cancel())
        running.addCallback(lambda reply: self._send(call, reply))
        running.addErrback(self._unsent)
        return NOT_DONE_YET

    async def _answer(self, call: Call) -> Reply:
        try:
            if getattr(call.request, "postpath", None):
                raise not_found()
            handler = self._handlers.get(call.request.method)
            if handler is None:
                allowed = ", ".join(sorted(method.decode() for method in self._handlers))
                raise Problem(
                    405, "method-not-allowed", f"this address knows only {allowed}", headers={"Allow": allowed}
                )
            return await handler(call)
        except CancelledError:
            raise
        except Exception as error:
            return replies.problem(self._problem(error, call), call.form or Form.TEXT)

    def _problem(self, error: Exception, call: Call) -> Problem:
        match error:
            case Problem():
                return error
            case FieldError():
                return Problem(400, "field", str(error), field=error.field)
            case BodyError():
                return Problem(400, "body", str(error))
            case UnsupportedType():
                return Problem(415, "unsupported-type", str(error))
            case TooManyFields():
                return Problem(413, "too-many-fields", str(error))
        known = replies.problem_for(error)
        if known is not None:
            return known
        self.log.failure("request {id} failed", Failure(error), id=call.id)
        return Problem(500, "internal", "something went wrong that is warmside's fault; the log has it")

    def _send(self, call: Call, reply: Reply) -> None:
        request = call.request
        request.setResponseCode(reply.status, replies.phrase(reply.status).encode())
        for name, value in reply.all_headers(call.id).items():
            request.setHeader(name, value)
        if request.method != b"HEAD":
            request.write(reply.body)
        request.finish()

    def _unsent(self, failure: Failure) -> None:
        """The caller hung up before the reply: what was begun has been cancelled."""
        if not failure.check(CancelledError):
            self.log.failure("a reply could not be sent", failure)


class Guard:
    """Lets only admins pass, and nobody's foreign page."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._basic = BasicCredentialFactory(b"warmside")

    async def admit(self, call: Call) -> str:
        """The name of the admin who calls.

        :raises Problem: 403 for a foreign origin, 401 for wrong credentials.
        """
        refuse_foreign(call.request)
        scheme, _, encoded = (call.header("Authorization") or "").partition(" ")
        try:
            if scheme.lower() != "basic":
                raise LoginFailed
            credentials = self._basic.decode(encoded.strip().encode("latin-1"), call.request)
            _, admin, _ = await self._portal.login(credentials, None, IAdmin)
        except (UnauthorizedLogin, LoginFailed):
            raise Problem(
                401,
                "unauthorized",
                "name or password of an admin is missing or wrong",
                headers={"WWW-Authenticate": CHALLENGE},
            ) from None
        except Overloaded:
            raise Problem(503, "busy", "too many passwords wait to be checked", headers={"Retry-After": "2"}) from None
        return cast(Admin, admin).name


def refuse_foreign(request: Request) -> None:
    """:raises Problem: 403 if a page of another site sent the request."""
    if request_header(request, "Sec-Fetch-Site") == "cross-site" or _is_foreign(request):
        raise Problem(403, "foreign-origin", "a page of another site may not send requests here")


def _is_foreign(request: Request) -> bool:
    origin = request_header(request, "Origin")
    if origin is None:
        return False
    try:
        parts = urlsplit(origin)
        default = FORMS_OF_ADDRESS.get(parts.scheme)
        host = urlsplit("//" + (request_header(request, "Host") or ""))
        return default is None or (parts.hostname, parts.port or default) != (host.hostname, host.port or default)
    except ValueError:
        return True


class WarmEndpoint(Endpoint):
    """``/warm``: the form, and warm sessions."""

    def __init__(self, guard: Guard, policy: Policy, warmer: Warmer) -> None:
        super().__init__({b"GET": self._get, b"POST": self._post})
        self._guard = guard
        self._policy = policy
        self._warmer = warmer

    async def _get(self, call: Call) -> Reply:
        await self._guard.admit(call)
        if call.form not in (Form.HTML, Form.XHTML):
            raise Problem(406, "not-acceptable", "the form is there as text/html or application/xhtml+xml only")
        return replies.page(200, call.form, xhtml.form())

    async def _post(self, call: Call) -> Reply:
        admin = await self._guard.admit(call)
        if call.form is None:
            raise Problem(
                406,
                "not-acceptable",
                "the reply is there as text/html, application/xhtml+xml, application/json or text/plain",
            )
        wish = read_wish(call.fields())
        if call.form is Form.TEXT and (wish.available or wish.roster):
            raise Problem(406, "not-acceptable", "text/plain has no room for what presence and fetch bring along")
        if not self._policy.allows(wish.jid.userhost(), wish.jid.host):
            raise Problem(403, "policy", "the policy does not let this account be warmed")
        session = await self._warmer.warm(wish)
        self.log.info(
            "warmed {jid} for admin {admin!r} in {milliseconds} ms, request {id}",
            jid=session.jid,
            admin=admin,
            milliseconds=round((time.monotonic() - call.started) * 1000, 1),
            id=call.id,
        )
        return replies.success(session, call.form)


class HealthEndpoint(Endpoint):
    """``/health``: 200 while the process serves."""

    def __init__(self) -> None:
        super().__init__({b"GET": self._get})

    async def _get(self, call: Call) -> Reply:
        return Reply(200, "application/json", b'{"status": "ok"}\n')


class NotFound(Endpoint):
    """Every other address."""

    def __init__(self) -> None:
        super().__init__({})

    async def _answer(self, call: Call) -> Reply:
        return replies.problem(not_found(), call.form or Form.TEXT)


def not_found() -> Problem:
    """What every address but the known ones gets."""
    return Problem(404, "not-found", "there is nothing at this address")


class Root(Resource):
    """The root of the site."""

    def __init__(self, children: dict[bytes, Resource]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        for path, child in children.items():
            self.putChild(path, child)

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Whatever is no child is not there."""
        return NotFound()
