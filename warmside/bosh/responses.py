"""Responses of one login, in the order of arrival, until its coroutine takes them."""

from collections import deque
from collections.abc import Callable, Container
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from warmside.bosh.body import SLICE, Body, InvalidBody, Parser
from warmside.bosh.session import not_bosh
from warmside.bosh.transport import Response
from warmside.turns import Turns

Result = Response | Failure
"""Response to a request, or the reason why there is none."""


class Responses:
    """Queue of responses with their rids, for one coroutine.

    A Deferred for each response, and each resumption of a coroutine that is nested deep, would cost more than the work
    in between. Therefore `until` calls a function after each response, and resumes the coroutine only if it says so.
    """

    def __init__(self) -> None:
        self._arrived: deque[tuple[int, Result]] = deque()
        self._ready: Callable[[], bool] = self.arrived
        self._waiting: Deferred[None] | None = None

    def arrived(self) -> bool:
        """Return True if there is a response."""
        return bool(self._arrived)

    @property
    def first(self) -> Result:
        """The response that `take` returns next."""
        return self._arrived[0][1]

    def take(self) -> tuple[int, Result]:
        """Return the first response and its rid, and remove it."""
        return self._arrived.popleft()

    def add(self, result: Result, rid: int) -> None:
        """Add a response. Those that arrive while the coroutine's function runs are added, and it is not called."""
        self._arrived.append((rid, result))
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        try:
            ready = self._ready()
        except BaseException:
            waiting.errback(Failure())
            return
        if ready:
            waiting.callback(None)
        else:
            self._waiting = waiting

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until a function returns True. It is called now and after each response, and may raise an exception."""
        if not ready():
            self._ready = ready
            self._waiting = Deferred(self._stop_waiting)
            await self._waiting

    def _stop_waiting(self, _: "Deferred[None]") -> None:
        self._waiting = None


def is_long(result: Result) -> bool:
    """Return True for a response that is parsed in turns."""
    return isinstance(result, Response) and len(result.body) > SLICE and result.status == 200


async def parsed(reactor: Any, result: Result, awaited: Container[str]) -> Body | None:
    """Parse a long response in turns; return ``None`` for any other.

    :param awaited: see `warmside.bosh.body.decode`.
    :raises InvalidResponse: the response is not BOSH.
    """
    if not isinstance(result, Response) or not is_long(result):
        return None
    turns, parser = Turns(reactor), Parser(awaited)
    try:
        for _ in parser.parse(result.body):
            if turns.due:
                await turns.rest()
        return parser.body()
    except InvalidBody as error:
        raise not_bosh(error) from None
