"""The main job: mint a one-time password, log in over BOSH with it, hand the session over, clean up.

A login that fails, times out or is cancelled leaves nothing behind: no session at the connection
manager, no valid password. What is handed over has no request outstanding.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from warmside.bosh.client import Driver, LostCreation, RunWork
from warmside.bosh.errors import PauseTooLong, Refused, TimedOut
from warmside.bosh.login import Login
from warmside.bosh.sasl import Credentials
from warmside.bosh.session import Parameters, Session
from warmside.bosh.stream import Arrival, converse
from warmside.bosh.transport import Manager
from warmside.config import Bosh
from warmside.jids import JID
from warmside.onetime import IStore, Leftover, OneTimePassword, StoreError
from warmside.probe import HostGuard, OneTimeRefused


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller asks for.

    ``password`` is the user's own; ``None`` lets one be minted. ``address`` is the browser's.
    ``available`` sends initial presence and ``roster`` fetches the contacts before the handover;
    ``attach_within`` is how many seconds the session must survive unattended. ``lang``, ``wait``,
    ``hold`` and ``ver`` are the stream's language and what XEP-0124 calls so.
    """

    jid: JID
    password: str | None = field(default=None, repr=False)
    lang: str = "en"
    wait: int = 60
    hold: int = 1
    ver: tuple[int, int] = (1, 6)
    address: str | None = None
    available: bool = False
    roster: bool = False
    attach_within: int | None = None


@dataclass(frozen=True, slots=True)
class WarmSession:
    """A session without an outstanding request, ready to be attached to.

    ``rid`` is the rid of the client's next request; times are in seconds; ``stanzas`` is what
    arrived before the handover and was not the login's own, as XML; ``roster`` is ``None`` unless
    it was asked for.
    """

    jid: str
    sid: str = field(repr=False)
    rid: int = field(repr=False)
    wait: int
    hold: int
    requests: int
    inactivity: int
    attach_within: int
    polling: int | None
    maxpause: int | None
    ver: str
    bosh_url: str | None
    stanzas: tuple[str, ...] = field(default=(), repr=False)
    roster: list[dict[str, Any]] | None = field(default=None, repr=False)


class Warmer:
    """Warms sessions.

    :param store: of one-time passwords.
    :param remember: is told the bare JID of everyone who gets a session.
    :param settings: gives the settings of the connection manager that serves a host.
    :param manager: gives the way to it.
    :param lifetime: seconds that a one-time password lives.
    :param run_work: runs a function off the reactor's thread.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        store: IStore,
        remember: Callable[[str], None],
        settings: Callable[[str], Bosh],
        manager: Callable[[str], Manager],
        lifetime: float,
        run_work: RunWork,
    ) -> None:
        self._reactor = reactor
        self._store = store
        self._remember = remember
        self._settings = settings
        self._manager = manager
        self._lifetime = lifetime
        self._run_work = run_work
        self._jobs: set[_Job] = set()
        self.guard = HostGuard(store, lifetime, self._authenticate)

    def warm(self, wish: Wish) -> "Deferred[WarmSession]":
        """Warm a session.

        Cancelling the result ends the login and cleans up behind the caller's back.

        :raises UnsafeHost: the host's used passwords are accepted again.
        :raises StoreError: the store failed.
        :raises BoshError: the login failed; nothing of it is left when this is raised.
        """
        return self._start(wish.jid.host, lambda job: self._warm(wish, job))

    async def close(self, within: float) -> None:
        """End all logins under way: let them finish for a moment, then cancel and clean up."""
        timer = self._reactor.callLater(within / 2, self._cancel_all)
        await DeferredList([job.finished() for job in self._jobs])
        if timer.active():
            timer.cancel()

    def _cancel_all(self) -> None:
        for job in list(self._jobs):
            job.cancel()

    def _start(self, host: str, run: Callable[["_Job"], Any]) -> "Deferred[Any]":
        job = _Job(self._reactor, self._settings(host).timeout)
        self._jobs.add(job)
        return job.start(run(job), lambda: self._jobs.discard(job))

    async def _warm(self, wish: Wish, job: "_Job") -> WarmSession:
        job.step = "trying out whether the host is safe"
        await self.guard.ensure_safe(wish.jid.host)
        job.step = "waiting for a connection"
        try:
            return await self._attempt(wish, job)
        except (LostCreation, OneTimeRefused) as error:
            # A lost creation may have arrived, and used the password up; and if a password is gone,
            # someone said yes and ejabberd did not hear it: the copy that it asked died. Start anew.
            may_help = not isinstance(error, OneTimeRefused) or error.leftover is Leftover.GONE
            if job.cancelled or not may_help:
                raise
            return await self._attempt(wish, job)

    async def _attempt(self, wish: Wish, job: "_Job") -> WarmSession:
        if wish.password is not None:
            return await self._log_in(wish, Credentials(wish.jid, wish.password, one_time=False), None, job)
        minted = await self._store.mint(wish.jid.userhost(), self._lifetime)
        try:
            return await self._log_in(wish, Credentials(wish.jid, minted.text, one_time=True), minted, job)
        finally:
            await self._revoke(minted)

    async def _revoke(self, minted: OneTimePassword) -> Leftover:
        """Revoke a password; if the store can't, that must not keep the session from being ended or handed over."""
        try:
            return await self._store.revoke(minted)
        except StoreError as error:
            self.log.error("a one-time password could not be revoked, and expires: {reason}", reason=str(error))
            return Leftover.GONE

    async def _log_in(
        self, wish: Wish, credentials: Credentials, minted: OneTimePassword | None, job: "_Job"
    ) -> WarmSession:
        async with self._manager(wish.jid.host).reserve(address=wish.address) as lane:
            parameters = Parameters(wish.jid.host, wish.lang, wish.wait, wish.hold, wish.ver)
            login = Login(Session(parameters), credentials, parallel=lane.width)
            driver = Driver(self._reactor, lane, login, self._run_work, job.time_to_clean_up)
            job.login = login
            try:
                await driver.log_in()
                self._remember(wish.jid.userhost())
                arrival = await self._prepare_handover(wish, driver)
            except BaseException as error:
                await self._clean_up(driver, minted, error)
                raise
        return _handed_over(login, arrival, self._settings(wish.jid.host))

    async def _clean_up(self, driver: Driver, minted: OneTimePassword | None, error: BaseException) -> None:
        """Leave nothing behind. The password goes first: nothing on the network can hold that up.

        :raises OneTimeRefused: what failed was a one-time password.
        """
        leftover = await self._revoke(minted) if minted is not None else Leftover.GONE
        await driver.close()
        if minted is not None and isinstance(error, Refused):
            raise OneTimeRefused(error, leftover) from None

    async def _prepare_handover(self, wish: Wish, driver: Driver) -> Arrival:
        """Do what is to be done over the session before the browser has it."""
        session = driver.session
        limit = max(session.inactivity, session.maxpause or 0) if driver.can_pause else session.inactivity
        if wish.attach_within is not None and wish.attach_within > limit:
            raise PauseTooLong(limit)
        arrival = Arrival()
        if wish.available or wish.roster:
            arrival = await converse(
                self._reactor, session.parameters.host, driver.exchange, roster=wish.roster, available=wish.available
            )
        if wish.attach_within is not None and wish.attach_within > session.inactivity:
            paused, stanzas = await driver.pause(wish.attach_within)
            arrival.stanzas.extend(stanzas)
            return replace(arrival, attach_within=wish.attach_within if paused else session.inactivity)
        return replace(arrival, attach_within=max(session.inactivity, wish.attach_within or 0))

    def _authenticate(self, jid: JID, password: OneTimePassword) -> "Deferred[None]":
        """See `HostGuard`."""
        return self._start(jid.host, lambda job: self._only_authenticate(jid, password, job))

    async def _only_authenticate(self, jid: JID, password: OneTimePassword, job: "_Job") -> None:
        async with self._manager(jid.host).reserve() as lane:
            credentials = Credentials(jid, password.text, one_time=True)
            job.login = Login(Session(Parameters(jid.host)), credentials, parallel=lane.width, bind=False)
            driver = Driver(self._reactor, lane, job.login, self._run_work, job.time_to_clean_up)
            try:
                await driver.log_in()
            except BaseException as error:
                await self._clean_up(driver, password, error)
                raise
            await driver.close()


class _Job:
    """One login with a time limit, in which there is room to clean up.

    It is cancelled at most once, so that cleaning up is never cut short; ``cancelled`` says that it
    must not begin anything any more.
    """

    def __init__(self, reactor: Any, timeout: float) -> None:
        self.login: Login | None = None
        self.step = "waiting for a connection"
        self.time_to_clean_up = min(1.0, timeout / 5)
        self.cancelled = False
        self._reactor = reactor
        self._timeout = timeout
        self._timed_out = False
        self._waiters: list[Deferred[None]] = []

    def start(self, coroutine: Any, finished: Callable[[], None]) -> "Deferred[Any]":
        result: Deferred[Any] = Deferred(lambda _: self.cancel())
        timer = self._reactor.callLater(self._timeout - self.time_to_clean_up, self._time_out)
        self._running: Deferred[Any] = Deferred.fromCoroutine(coroutine)

        def done(outcome: Any) -> None:
            if timer.active():
                timer.cancel()
            finished()
            for waiter in self._waiters:
                waiter.callback(None)
            if self._timed_out and isinstance(outcome, Failure):
                outcome = Failure(self._too_late())
            if not result.called:
                result.callback(outcome)

        self._running.addBoth(done)
        return result

    def cancel(self) -> None:
        if not self.cancelled:
            self.cancelled = True
            self._running.cancel()

    def finished(self) -> "Deferred[None]":
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        return waiter

    def _time_out(self) -> None:
        self._timed_out = True
        self.cancel()

    def _too_late(self) -> TimedOut:
        error = TimedOut(f"the login did not come to its end within {self._timeout:g} seconds")
        error.step = self.login.step if self.login else self.step
        return error


def _handed_over(login: Login, arrival: Arrival, settings: Bosh) -> WarmSession:
    session = login.session
    assert session.sid is not None and login.jid is not None and not session.outstanding
    return WarmSession(
        jid=login.jid.full(),
        sid=session.sid,
        rid=session.next_rid,
        wait=session.wait,
        hold=session.hold,
        requests=session.requests,
        inactivity=session.inactivity,
        attach_within=arrival.attach_within,
        polling=session.polling,
        maxpause=session.maxpause,
        ver="{}.{}".format(*session.ver),
        bosh_url=settings.public_url,
        stanzas=tuple(element.toXml() for element in login.others + arrival.stanzas),
        roster=arrival.roster,
    )
