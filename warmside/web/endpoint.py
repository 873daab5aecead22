"""What surrounds every resource: request id, negotiation, headers, errors, hanging up.

A resource is a table of methods and their handlers.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from warmside.web import replies
from warmside.web.client_address import Networks, client_address
from warmside.web.fields import BodyError, FieldError, TooManyFields, UnsupportedType, read_fields
from warmside.web.headers import accepted_form, request_header, request_headers, request_id
from warmside.web.negotiate import Form
from warmside.web.replies import Problem, Reply

Handler = Callable[["Call"], Awaitable[Reply]]

HUNG_UP = "hung-up"
"""The outcome of a call whose caller did not wait for the reply."""


class Call:
    """One request, as a handler sees it.

    :ivar admin: who calls, as far as is known; ``jid``: for whom. Both are there for the audit line.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.id = request_id(request)
        self.form = accepted_form(request)
        self.error_form = accepted_form(request, error=True) or Form.TEXT
        self.started = time.monotonic()
        self.admin: str | None = None
        self.jid: str | None = None

    def header(self, name: str) -> str | None:
        """A header's first value."""
        return request_header(self.request, name)

    def address(self, trusted: Networks) -> str:
        """The address that the call counts for; see `client_address`."""
        peer: Any = self.request.getClientAddress()
        return client_address(getattr(peer, "host", None), request_headers(self.request, "X-Forwarded-For"), trusted)

    def fields(self) -> dict[str, Any]:
        """The fields of the body.

        :raises Problem: it can't be read.
        """
        if b"?" in self.request.uri:
            raise Problem("query", "fields belong into the body, not into a query string")
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

    def ended(self, call: Call, outcome: str, status: int | None) -> None:
        """A call has come to its end.

        :param outcome: ``success``, the name of a problem, or ``hung-up``, which has no status.
        """

    async def _answer(self, call: Call) -> Reply:
        try:
            if getattr(call.request, "postpath", None):
                raise not_found()
            handler = self._handlers.get(call.request.method)
            if handler is None:
                allowed = ", ".join(sorted(method.decode() for method in self._handlers))
                raise Problem("method-not-allowed", f"this address knows only {allowed}", headers={"Allow": allowed})
            reply = await handler(call)
        except CancelledError:
            self.ended(call, HUNG_UP, None)
            raise
        except Exception as error:
            problem = self._problem(error, call)
            self.ended(call, problem.name, problem.status)
            return replies.problem(problem, call.error_form)
        self.ended(call, "success", reply.status)
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
                return Problem("unsupported-type", str(error))
            case TooManyFields():
                return Problem("too-many-fields", str(error))
        known = replies.problem_for(error)
        if known is not None:
            return known
        self.log.failure("request {id} failed", Failure(error), id=call.id)
        return Problem("internal", "something went wrong that is warmside's fault; the log has it")

    def _send(self, call: Call, reply: Reply) -> None:
        request = call.request
        request.setResponseCode(reply.status, replies.phrase(reply.status).encode())
        for name, value in reply.all_headers(call.id).items():
            request.setHeader(name, value)
        channel: Any = request.channel
        if reply.undelivered is not None and hasattr(channel, "if_reset"):
            channel.if_reset(reply.undelivered)
        if request.method != b"HEAD":
            request.write(reply.body)
        request.finish()

    def _unsent(self, failure: Failure) -> None:
        """The caller hung up before the reply: what was begun has been cancelled."""
        if not failure.check(CancelledError):
            self.log.failure("a reply could not be sent", failure)


class NotFound(Endpoint):
    """Every other address."""

    def __init__(self) -> None:
        super().__init__({})

    async def _answer(self, call: Call) -> Reply:
        return replies.problem(not_found(), call.error_form)


def not_found() -> Problem:
    """What every address but the known ones gets."""
    return Problem("not-found", "there is nothing at this address")


class Root(Resource):
    """The root of the site."""

    def __init__(self, children: dict[bytes, Resource]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        for path, child in children.items():
            self.putChild(path, child)

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Whatever is no child is not there."""
        return NotFound()
