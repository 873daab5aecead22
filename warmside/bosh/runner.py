"""Carry one login's requests over a lease of connections, and end sessions.

A request whose connection breaks is retried with the same rid (XEP-0124, 14.2). A session creation is never retried,
because that would create a second session.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.words.xish.domish import Element

from warmside.bosh.body import Arrived, Body
from warmside.bosh.errors import BoshError, Terminated, Unreachable
from warmside.bosh.login import Login
from warmside.bosh.responses import Responses, Result, is_long, parsed
from warmside.bosh.session import Recoverable, Request, Session
from warmside.bosh.transport import ConnectionBroken, ConnectionLease, Response

MAX_RETRIES = 3
"""Maximum retried requests of one login."""
MIN_ARRIVAL_TIME = 0.03
"""Seconds after which a request on an open loopback connection has arrived."""
MAX_PAUSE_ATTEMPTS = 10
"""Maximum empty requests that stanzas may answer before a pause is given up."""

Receive = Callable[[int, int, bytes | Body], list[Request] | None]
"""Takes a response (rid, status, body); returns the requests to send next."""

Observe = Callable[[str, float], None]
"""Takes the name of a completed step of a login, and the seconds it took."""

RunWork = Callable[[Callable[[], bytes]], Awaitable[bytes]]
"""Runs a function outside the reactor's thread."""


class LostCreation(Unreachable):
    """The session creation failed: its connection broke, or the manager lost the session. A new login may succeed."""

    step = "session creation"


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything that a login needs of the process.

    :ivar reactor: provides delays and timeouts.
    :ivar run_work: runs SCRAM's key derivation.
    :ivar observe: is called after each step of a login.
    """

    reactor: Any
    run_work: RunWork
    observe: Observe = lambda step, seconds: None


class LoginRunner:
    """Carries one login's requests.

    A login takes its short responses as they arrive: only a long one, slow work and the end resume its coroutine.

    :param cleanup_timeout: maximum seconds that `close` takes.
    """

    def __init__(self, runtime: Runtime, lease: ConnectionLease, login: Login, cleanup_timeout: float) -> None:
        self._reactor = runtime.reactor
        self._run_work = runtime.run_work
        self._observe = runtime.observe
        self._lease = lease
        self._login = login
        self._cleanup_timeout = cleanup_timeout
        self._round_trip = 0.0
        self._posted: dict[int, Deferred[Response]] = {}
        self._responses = Responses()
        self._retries = 0

    @property
    def session(self) -> Session:
        """Session of the login."""
        return self._login.session

    async def log_in(self) -> None:
        """Log in. Afterwards no request is outstanding.

        :raises BoshError: the login failed at its ``step``. The caller must call `close` then.
        """
        login = self._login
        self._started = self._since = self._reactor.seconds()
        self._step = login.step
        try:
            self._send_all(login.start())
            while not login.done:
                await self._responses.until(self._advance)
                if login.work is not None:
                    self._send_all(login.worked(await self._run_work(login.work)))
                elif not login.done:
                    rid, response = self._responses.take()
                    self._take_for_login(rid, response, await parsed(self._reactor, response, self.session.awaited))
        except BoshError as error:
            error.step = login.step
            if isinstance(error, Terminated) and error.condition == "item-not-found" and not self.session.created:
                # The manager can't miss a session that it never had: it lost the one that it was creating.
                raise LostCreation(error.seen) from None
            raise

    def _advance(self) -> bool:
        """Take short responses, and send the next requests. Return True if the login's coroutine has to go on."""
        while self._login.work is None and not self._login.done:
            if not self._responses.arrived():
                return False
            if is_long(self._responses.first):
                break
            self._take_for_login(*self._responses.take(), None)
        return True

    def _take_for_login(self, rid: int, response: Result, body: Body | None) -> None:
        now = self._reactor.seconds()
        self._round_trip = self._round_trip or now - self._started
        self._send_all(self._take(rid, response, body, self._login.receive))
        if self._login.step != self._step or self._login.done:
            self._observe(self._step, now - self._since)
            self._step, self._since = self._login.step, now

    @property
    def can_pause(self) -> bool:
        """True if a pause can be sent while the manager holds another request."""
        return self.session.requests > 1 and self._lease.width > 1

    @property
    def _arrival_time(self) -> float:
        """Seconds after which a request has arrived at the manager."""
        return max(MIN_ARRIVAL_TIME, 2 * self._round_trip)

    async def exchange(self, stanzas: Sequence[Element]) -> list[Arrived]:
        """Send stanzas, or an empty request, and wait for the response. No other request may be outstanding.

        :returns: the elements that arrived with the response.
        :raises BoshError: the session has ended.
        """
        self._send_all([self.session.send(*stanzas)])
        await self._until_answered()
        return self.session.take()

    async def pause(self, seconds: int) -> tuple[bool, list[Arrived]]:
        """Let the manager keep the session unattended for some seconds (XEP-0124, 10).

        ejabberd honours a pause without a response to it, and loses the stanzas that are queued when it arrives.
        Therefore an empty request is held first: nothing is queued meanwhile, and its response acknowledges the pause.
        The pause is neither awaited nor retried. If stanzas keep arriving, the session is not paused, because some of
        them would be lost.

        :returns: True if the session was paused, and the elements that arrived meanwhile.
        :raises BoshError: the session has ended.
        """
        arrived: list[Arrived] = []
        attempts = 0
        while not await self._hold_empty_request():
            arrived += self.session.take()
            attempts += 1
            if attempts == MAX_PAUSE_ATTEMPTS:
                return False, arrived
        paused = self.session.send(pause=seconds)
        self._send_all([paused])
        await self._until_answered(never_retry=paused.rid)
        stanzas = self.session.take()
        if stanzas:
            # A stanza answered the empty request, so the pause may not have arrived yet.
            await deferLater(self._reactor, self._arrival_time)
        if paused.rid in self._posted:
            self._posted[paused.rid].cancel()
        self.session.outstanding.pop(paused.rid, None)
        return True, arrived + stanzas + self.session.take()

    async def _hold_empty_request(self) -> bool:
        """Send an empty request; return True if the manager holds it once it must have arrived."""
        held = self.session.send()
        self._send_all([held])
        await deferLater(self._reactor, self._arrival_time)
        if held.rid in self._posted:
            return True
        await self._until_answered()
        return False

    async def _until_answered(self, never_retry: int | None = None) -> None:
        """Take responses until no request is outstanding except the one with the rid ``never_retry``."""
        try:
            while self.session.outstanding.keys() - {never_retry}:
                await self._responses.until(self._responses.arrived)
                rid, response = self._responses.take()
                if rid == never_retry and isinstance(response, Failure):
                    raise cast(BaseException, response.value)
                body = await parsed(self._reactor, response, self.session.awaited)
                self._send_all(self._take(rid, response, body, self.session.receive))
        except BoshError as error:
            error.step = self._login.step
            raise

    async def close(self) -> None:
        """End everything that the login has begun at the connection manager. Raises nothing."""
        if not self.session.created:
            await self._await_creation()
        self._cancel_posted()
        if self.session.created and not self.session.over:
            await terminate(self._reactor, self._lease, self.session, self._cleanup_timeout / 4)

    def _take(self, rid: int, response: Result, body: Body | None, receive: Receive) -> list[Request]:
        """Take a response; return the requests to send next.

        :param body: the parsed body of a long response.
        """
        if isinstance(response, Failure):
            return self._retry(rid, response)
        request = self.session.outstanding[rid]
        try:
            return receive(rid, response.status, response.body if body is None else body) or []
        except Recoverable:
            self._count_retry()
            return [request]

    def _retry(self, rid: int, failure: Failure) -> list[Request]:
        request = self.session.outstanding[rid]
        if not failure.check(ConnectionBroken) or (self._retries >= MAX_RETRIES and not request.creation):
            raise cast(BaseException, failure.value)
        if request.creation:
            raise LostCreation(failure.getErrorMessage())
        self._count_retry()
        return [request]

    def _count_retry(self) -> None:
        self._retries += 1
        if self._retries > MAX_RETRIES:
            raise Unreachable(f"the connection manager asked for more than {MAX_RETRIES} retries in one login")

    def _send_all(self, requests: list[Request]) -> None:
        for request in requests:
            posted = self._post(request)
            self._posted[request.rid] = posted
            posted.addBoth(self._answered, request.rid)

    def _post(self, request: Request) -> "Deferred[Response]":
        if not request.delay:
            return self._lease.post(request.body)
        waited: Deferred[None] = deferLater(self._reactor, request.delay)
        return waited.addCallback(lambda _: self._lease.post(request.body))

    def _answered(self, result: Result, rid: int) -> None:
        self._posted.pop(rid, None)
        self._responses.add(result, rid)

    async def _await_creation(self) -> None:
        """Wait for the response to an outstanding session creation: the session must be terminated."""
        if not self._posted:
            return
        timer = self._reactor.callLater(self._cleanup_timeout / 2, self._cancel_posted)
        try:
            await self._responses.until(self._responses.arrived)
            rid, response = self._responses.take()
            if isinstance(response, Response):
                self.session.receive(rid, response.status, response.body)
        except BoshError:
            pass
        finally:
            if timer.active():
                timer.cancel()

    def _cancel_posted(self) -> None:
        for posted in list(self._posted.values()):
            posted.cancel()


async def terminate(reactor: Any, lease: ConnectionLease, session: Session, seconds: float) -> bool:
    """End a session at the connection manager (XEP-0124, 13). Raises nothing.

    A manager that still waits for a request that never arrived does not read the termination. A second request, with
    a rid outside the window, makes it end the session.

    :param seconds: timeout for each of the two requests.
    :returns: True if the manager has responded.
    """
    for body in (session.send(terminate=True).body, session.beyond_window()):
        posted = lease.post(body)
        timer = reactor.callLater(seconds, posted.cancel)
        try:
            await posted
            return True
        except Exception:
            continue
        finally:
            if timer.active():
                timer.cancel()
    return False
