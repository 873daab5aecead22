"""Driving a login over a lane of connections, and ending sessions.

It repeats requests whose connection broke, with the same rid (XEP-0124, 14.2); it never repeats a
session creation, which would make a second session.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from warmside.bosh.errors import BoshError, Unreachable
from warmside.bosh.login import Login
from warmside.bosh.session import Recoverable, Request, Session
from warmside.bosh.transport import ConnectionBroken, Lane, Response

MOST_REPEATS = 3
"""How often one login repeats requests."""
TERMINATE_TIMEOUT = 1.0
"""Seconds to wait for the answer to a termination."""

RunWork = Callable[[Callable[[], bytes]], Awaitable[bytes]]
"""Runs a function off the reactor's thread."""


class LostCreation(Unreachable):
    """The session creation's connection broke: whether it arrived is unknown. Start anew."""


@dataclass(slots=True)
class _Under:
    """A request under way."""

    request: Request
    response: "Deferred[Any]"


class Driver:
    """Carries one login's requests.

    :param reactor: for delays and timeouts.
    :param run_work: runs SCRAM's key derivation.
    """

    def __init__(self, reactor: Any, lane: Lane, login: Login, run_work: RunWork) -> None:
        self._reactor = reactor
        self._lane = lane
        self._login = login
        self._run_work = run_work
        self._under_way: dict[int, _Under] = {}
        self._answers: DeferredQueue[tuple[int, Response | Failure]] = DeferredQueue()
        self._repeats = 0

    @property
    def session(self) -> Session:
        """The session that the login is on."""
        return self._login.session

    async def log_in(self) -> None:
        """Log in; afterwards no request is outstanding.

        :raises BoshError: the login failed; its ``step`` says at what. `close` is to be called then.
        """
        try:
            self._send_all(self._login.start())
            while not self._login.done:
                if self._login.work is not None:
                    self._send_all(self._login.worked(await self._run_work(self._login.work)))
                    continue
                self._send_all(self._take(*(await self._answers.get())))
        except BoshError as error:
            error.step = self._login.step
            raise

    async def close(self) -> None:
        """End whatever the login has begun at the connection manager. Raises nothing, takes a bounded time."""
        if not self.session.created:
            await self._await_creation()
        self._abandon()
        if self.session.created and not self.session.over:
            await terminate(self._reactor, self._lane, self.session)

    def _take(self, rid: int, answer: Response | Failure) -> list[Request]:
        if isinstance(answer, Failure):
            return self._repeat(rid, answer)
        request = self.session.outstanding[rid]
        try:
            return self._login.receive(rid, answer.status, answer.body)
        except Recoverable:
            self._count_repeat()
            return [request]

    def _repeat(self, rid: int, failure: Failure) -> list[Request]:
        request = self.session.outstanding[rid]
        if not failure.check(ConnectionBroken) or (self._repeats >= MOST_REPEATS and not request.creation):
            raise cast(BaseException, failure.value)
        if request.creation:
            raise LostCreation("the connection was lost during the session creation")
        self._count_repeat()
        return [request]

    def _count_repeat(self) -> None:
        self._repeats += 1
        if self._repeats > MOST_REPEATS:
            raise Unreachable("requests had to be repeated too often")

    def _send_all(self, requests: list[Request]) -> None:
        for request in requests:
            posted = self._post(request)
            self._under_way[request.rid] = _Under(request, posted)
            posted.addBoth(self._answered, request.rid)

    def _post(self, request: Request) -> "Deferred[Response]":
        if not request.delay:
            return self._lane.post(request.body)
        waited: Deferred[None] = deferLater(self._reactor, request.delay)
        return waited.addCallback(lambda _: self._lane.post(request.body))

    def _answered(self, result: Response | Failure, rid: int) -> None:
        self._under_way.pop(rid, None)
        self._answers.put((rid, result))

    async def _await_creation(self) -> None:
        """Wait for a session creation under way: what it made has to be ended."""
        if not self._under_way:
            return
        timer = self._reactor.callLater(TERMINATE_TIMEOUT, self._abandon)
        try:
            rid, answer = await self._answers.get()
            if isinstance(answer, Response):
                self.session.receive(rid, answer.status, answer.body)
        except BoshError:
            pass
        finally:
            if timer.active():
                timer.cancel()

    def _abandon(self) -> None:
        for under in list(self._under_way.values()):
            under.response.cancel()


async def terminate(reactor: Any, lane: Lane, session: Session) -> None:
    """End a session at the connection manager (XEP-0124, 13). Raises nothing, takes a bounded time.

    If the manager still waits for a request that never arrived, a request outside its window makes
    it end the session all the same.
    """
    for body in (session.send(terminate=True).body, session.beyond_window()):
        posted = lane.post(body)
        timer = reactor.callLater(TERMINATE_TIMEOUT, posted.cancel)
        try:
            await posted
            return
        except Exception:
            continue
        finally:
            if timer.active():
                timer.cancel()
