"""Base class of all resources: request ID, content negotiation, headers, errors and disconnected clients."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from warmside.web.body import BodyError, FieldError, TooManyFields, UnsupportedType, read_fields
from warmside.web.client_address import Networks, client_address
from warmside.web.headers import accepted_form, request_header, request_headers, request_id
from warmside.web.negotiate import Form, accepts_json
from warmside.web.problems import Problem, phrase, problem_for
from warmside.web.replies import Reply, problem_reply

Handler = Callable[["Call"], Awaitable[Reply]]
"""Returns the reply to a request, or raises `Problem` or an error that `problem_for` knows."""

DISCONNECTED = "hung-up"
"""Outcome of a call whose client disconnected before the reply."""

UNDELIVERED = "undelivered"
"""Second outcome of a call whose reply did not reach the client."""


class Call:
    """One request, as a handler sees it.

    :ivar id: the request ID.
    :ivar form: the form of reply that the request prefers; ``None`` if it accepts no form.
    :ivar error_form: the form of an error.
    :ivar started: when the request was received, in seconds of the monotonic clock.
    :ivar admin: name of the admin, ``None`` if not known; for the audit line.
    :ivar jid: JID that the request is for, ``None`` if not known; for the audit line.
    :ivar jids: number of JIDs that the request is for, ``None`` if it is for one; for the audit line.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.id = request_id(request)
        self.form = accepted_form(request)
        self.error_form = accepted_form(request, error=True) or Form.TEXT
        self.started = time.monotonic()
        self.admin: str | None = None
        self.jid: str | None = None
        self.jids: int | None = None

    def header(self, name: str) -> str | None:
        """Return a header's first value; ``None`` if the header is absent."""
        return request_header(self.request, name)

    def address(self, trusted: Networks) -> str:
        """Return the address that failures of this call are counted for; see `client_address`."""
        peer: Any = self.request.getClientAddress()
        return client_address(getattr(peer, "host", None), request_headers(self.request, "X-Forwarded-For"), trusted)

    def fields(self) -> dict[str, Any]:
        """Return the fields of the body.

        :raises Problem: there is a query string.
        :raises ValueError: the body is not valid; see `read_fields`.
        """
        if b"?" in self.request.uri:
            raise Problem("query", "the address has a query string: send the fields in the body")
        assert self.request.content is not None
        body = self.request.content.read()
        return read_fields(self.header("Content-Type"), body, self.header("Content-Encoding"))


class Endpoint(Resource):
    """A resource with a handler for each of its methods.

    :param handlers: by method; ``HEAD`` is added to ``GET``.
    """

    isLeaf = True
    below_any_path = False
    """True if the handlers read the rest of the path. Otherwise the status is 404 with a rest."""
    log = Logger()

    def __init__(self, handlers: dict[bytes, Handler]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._handlers = handlers
        if b"GET" in handlers:
            handlers[b"HEAD"] = handlers[b"GET"]

    def render(self, request: Request) -> int:
        """Reply to a request; see `Resource.render`. A disconnected client cancels the handler."""
        call = Call(request)
        running = Deferred.fromCoroutine(self._reply(call))
        finished = request.notifyFinish()
        finished.addErrback(lambda _: running.cancel())
        running.addCallback(lambda reply: self._send(call, reply))
        running.addErrback(self._log_unsent)
        return NOT_DONE_YET

    def observe(self, call: Call, outcome: str, status: int | None) -> None:
        """Take the outcome of a call. This one does nothing.

        :param outcome: ``success``, the name of a problem, or ``hung-up`` if the client disconnected. A call with
            ``success`` has the outcome ``undelivered``, too, if its reply did not reach the client.
        :param status: ``None`` if the client disconnected.
        """

    async def _reply(self, call: Call) -> Reply:
        try:
            if getattr(call.request, "postpath", None) and not self.below_any_path:
                raise not_found()
            handler = self._handlers.get(call.request.method)
            if handler is None:
                allowed = ", ".join(sorted(method.decode() for method in self._handlers))
                raise Problem("method-not-allowed", f"the method must be one of: {allowed}", headers={"Allow": allowed})
            reply = await handler(call)
        except CancelledError:
            self.observe(call, DISCONNECTED, None)
            raise
        except Exception as error:
            problem = self._problem(error, call)
            self.observe(call, problem.name, problem.status)
            return problem_reply(problem, call.error_form)
        self.observe(call, "success", reply.status)
        return reply

    def _problem(self, error: Exception, call: Call) -> Problem:
        match error:
            case Problem():
                return error
            case FieldError():
                return Problem("field", str(error), field=error.field)
            case BodyError():
                return Problem("body", str(error))
            case UnsupportedType():
                return Problem("unsupported-type", str(error), headers={"Accept-Encoding": "identity"})
            case TooManyFields():
                return Problem("too-many-fields", str(error))
        problem = problem_for(error)
        if problem is not None:
            return problem
        self.log.failure("request {id} failed", Failure(error), id=call.id)
        return Problem("internal", f"internal error: see warmside's log for request {call.id}")

    def _send(self, call: Call, reply: Reply) -> None:
        request = call.request
        request.setResponseCode(reply.status, phrase(reply.status).encode())
        for name, value in reply.all_headers(call.id).items():
            request.setHeader(name, value)
        channel: Any = request.channel
        if reply.undelivered is not None and hasattr(channel, "watch_delivery"):
            channel.watch_delivery(lambda: self._take_undelivered(call, reply))
        if request.method != b"HEAD":
            request.write(reply.body)
        request.finish()

    def _take_undelivered(self, call: Call, reply: Reply) -> None:
        self.observe(call, UNDELIVERED, reply.status)
        assert reply.undelivered is not None
        reply.undelivered()

    def _log_unsent(self, failure: Failure) -> None:
        """Log why a reply was not sent. A cancelled handler has no reply."""
        if not failure.check(CancelledError):
            self.log.failure("the reply could not be sent", failure)


class NotFound(Endpoint):
    """Every unknown path."""

    def __init__(self) -> None:
        super().__init__({})

    async def _reply(self, call: Call) -> Reply:
        return problem_reply(not_found(), call.error_form)


def require_json(call: Call) -> None:
    """Reject a call that does not accept a JSON reply.

    :raises Problem: 406.
    """
    if not accepts_json(request_headers(call.request, "Accept")):
        raise Problem("not-acceptable", "Accept must include application/json")


def not_found() -> Problem:
    """Return the problem of an unknown path."""
    return Problem("not-found", "unknown path: /openapi.json lists the known ones")


class Root(Resource):
    """The root of the site.

    :param children: resources by path, without the slash.
    """

    def __init__(self, children: dict[bytes, Resource]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        for path, child in children.items():
            self.putChild(path, child)

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Return 404 for an unknown path."""
        return NotFound()
