"""Driving a login over a lease of connections, and ending sessions.

It repeats requests whose connection broke, with the same rid (XEP-0124, 14.2); it never repeats a
session creation, which would make a second session.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.words.xish.domish import Element

from warmside.bosh.errors import BoshError, Terminated, Unreachable
from warmside.bosh.login import Login
from warmside.bosh.session import Recoverable, Request, Session
from warmside.bosh.transport import ConnectionBroken, ConnectionLease, Response

MAX_REPEATS = 3
"""How often one login repeats requests."""
MIN_ARRIVAL = 0.03
"""Seconds after which a request that was sent on an open connection has arrived, on this machine."""

MAX_ATTEMPTS = 10
"""How often a pause is put off because stanzas arrive."""

Receive = Callable[[int, int, bytes], list[Request] | None]
"""Takes a response (rid, status, body); gives the requests to send next."""

Observe = Callable[[str, float], None]
"""Is told of each step of a login that was done, and how many seconds it took."""

RunWork = Callable[[Callable[[], bytes]], Awaitable[bytes]]
"""Runs a function off the reactor's thread."""


class LostCreation(Unreachable):
    """The session creation came to nothing: its connection broke, or the manager lost the session. Start anew."""

    step = "session creation"


class LoginRunner:
    """Carries one login's requests.

    :param reactor: for delays and timeouts.
    :param run_work: runs SCRAM's key derivation.
    :param time_to_clean_up: seconds that `close` may take.
    """

    def __init__(
        self,
        reactor: Any,
        lease: ConnectionLease,
        login: Login,
        run_work: RunWork,
        time_to_clean_up: float,
        observe: Observe = lambda step, seconds: None,
    ) -> None:
        self._observe = observe
        self._time_to_clean_up = time_to_clean_up
        self._round_trip = 0.0
        self._reactor = reactor
        self._lane = lease
        self._login = login
        self._run_work = run_work
        self._under_way: dict[int, Deferred[Any]] = {}
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
        started = since = self._reactor.seconds()
        step = self._login.step
        try:
            self._send_all(self._login.start())
            while not self._login.done:
                if self._login.work is not None:
                    self._send_all(self._login.worked(await self._run_work(self._login.work)))
                    continue
                rid, answer = await self._answers.get()
                self._round_trip = self._round_trip or self._reactor.seconds() - started
                self._send_all(self._take(rid, answer, self._login.receive))
                if self._login.step != step or self._login.done:
                    now = self._reactor.seconds()
                    self._observe(step, now - since)
                    step, since = self._login.step, now
        except BoshError as error:
            error.step = self._login.step
            if isinstance(error, Terminated) and error.condition == "item-not-found" and not self.session.created:
                # No session can be missing before there is one: it ended while it was being made.
                raise LostCreation(error.seen) from None
            raise

    @property
    def can_pause(self) -> bool:
        """Whether a request can be held while a pause is sent behind it."""
        return self.session.requests > 1 and self._lane.width > 1

    @property
    def _arrival(self) -> float:
        """Seconds after which a request that was sent has certainly arrived."""
        return max(MIN_ARRIVAL, 2 * self._round_trip)

    async def exchange(self, stanzas: Sequence[Element]) -> list[Element]:
        """Send stanzas, or an empty request, and wait for the response; no other request is under way.

        :returns: the elements that arrived with it.
        :raises BoshError: the session is over.
        """
        self._send_all([self.session.send(*stanzas)])
        await self._until_answered()
        return self.session.take()

    async def pause(self, seconds: int) -> tuple[bool, list[Element]]:
        """Have the manager keep the session unattended for some seconds (XEP-0124, 10).

        ejabberd honours a pause but never answers it, and loses what is queued when it arrives. So an
        empty request is held there first: while it is held nothing is queued, and its answer is the
        acknowledgement. The pause itself is neither waited for nor repeated. A session to which
        stanzas come without a break is left as it is, because some of them would be lost.

        :returns: whether the session was paused, and the elements that arrived meanwhile.
        :raises BoshError: the session is over.
        """
        arrived: list[Element] = []
        attempts = 0
        while not await self._hold_empty_request():
            arrived += self.session.take()
            attempts += 1
            if attempts == MAX_ATTEMPTS:
                return False, arrived
        paused = self.session.send(pause=seconds)
        self._send_all([paused])
        await self._until_answered(never_repeat=paused.rid)
        stanzas = self.session.take()
        if stanzas:
            # A stanza, not the pause, was what answered the empty request: the pause may be under way still.
            await deferLater(self._reactor, self._arrival)
        if paused.rid in self._under_way:
            self._under_way[paused.rid].cancel()
        self.session.outstanding.pop(paused.rid, None)
        return True, arrived + stanzas + self.session.take()

    async def _hold_empty_request(self) -> bool:
        """Send an empty request; whether the manager still holds it when it must have arrived."""
        held = self.session.send()
        self._send_all([held])
        await deferLater(self._reactor, self._arrival)
        if held.rid in self._under_way:
            return True
        await self._until_answered()
        return False

    async def _until_answered(self, never_repeat: int | None = None) -> None:
        """Take responses until no request is outstanding, but that with the rid ``never_repeat``."""
        try:
            while self.session.outstanding.keys() - {never_repeat}:
                rid, answer = await self._answers.get()
                if rid == never_repeat and isinstance(answer, Failure):
                    raise cast(BaseException, answer.value)
                self._send_all(self._take(rid, answer, self.session.receive))
        except BoshError as error:
            error.step = self._login.step
            raise

    async def close(self) -> None:
        """End whatever the login has begun at the connection manager. Raises nothing, takes a bounded time."""
        if not self.session.created:
            await self._await_creation()
        self._abandon()
        if self.session.created and not self.session.over:
            await terminate(self._reactor, self._lane, self.session, self._time_to_clean_up / 4)

    def _take(self, rid: int, answer: Response | Failure, receive: Receive) -> list[Request]:
        if isinstance(answer, Failure):
            return self._repeat(rid, answer)
        request = self.session.outstanding[rid]
        try:
            return receive(rid, answer.status, answer.body) or []
        except Recoverable:
            self._count_repeat()
            return [request]

    def _repeat(self, rid: int, failure: Failure) -> list[Request]:
        request = self.session.outstanding[rid]
        if not failure.check(ConnectionBroken) or (self._repeats >= MAX_REPEATS and not request.creation):
            raise cast(BaseException, failure.value)
        if request.creation:
            raise LostCreation(failure.getErrorMessage())
        self._count_repeat()
        return [request]

    def _count_repeat(self) -> None:
        self._repeats += 1
        if self._repeats > MAX_REPEATS:
            raise Unreachable("requests had to be repeated too often")

    def _send_all(self, requests: list[Request]) -> None:
        for request in requests:
            posted = self._post(request)
            self._under_way[request.rid] = posted
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
        timer = self._reactor.callLater(self._time_to_clean_up / 2, self._abandon)
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
        for response in list(self._under_way.values()):
            response.cancel()


async def terminate(reactor: Any, lease: ConnectionLease, session: Session, patience: float) -> None:
    """End a session at the connection manager (XEP-0124, 13). Raises nothing, takes twice ``patience`` seconds at most.

    If the manager still waits for a request that never arrived, a request outside its window makes
    it end the session all the same.
    """
    for body in (session.send(terminate=True).body, session.beyond_window()):
        posted = lease.post(body)
        timer = reactor.callLater(patience, posted.cancel)
        try:
            await posted
            return
        except Exception:
            continue
        finally:
            if timer.active():
                timer.cancel()
