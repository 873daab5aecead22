"""The main task: mint a one-time password, log in over BOSH with it, hand the session over, clean up.

A login that fails, times out or is cancelled leaves nothing behind: no session at the connection
manager, no valid password. What is handed over has no request outstanding.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.logger import Logger

from warmside.bosh.client import LoginRunner, LostCreation, Observe, RunWork
from warmside.bosh.errors import Busy, PauseTooLong, Refused
from warmside.bosh.login import Login
from warmside.bosh.sasl import Credentials
from warmside.bosh.session import Parameters, Session
from warmside.bosh.stream import HandoverData, converse
from warmside.bosh.transport import ConnectionManager
from warmside.config.settings import Bosh
from warmside.jids import JID
from warmside.otp import OneTimePassword
from warmside.sessions.deadline import LoginTask
from warmside.sessions.model import WarmRequest, WarmSession
from warmside.sessions.replayprobe import OneTimeRefused, ReplayProbe
from warmside.store.interface import PasswordStore, RevocationStatus, StoreError
from warmside.throttle.accounts import AccountThrottle


class Warmer:
    """Warms sessions.

    :param store: of one-time passwords.
    :param remember: is told the bare JID of everyone who gets a session.
    :param settings: gives the settings of the connection manager that serves a host.
    :param manager: gives the way to it.
    :param lifetime: seconds that a one-time password lives.
    :param run_work: runs a function off the reactor's thread.
    :param gate: what passwords have to pass that somebody sent.
    :param observe: is told of the steps of a login.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        store: PasswordStore,
        remember: Callable[[str], None],
        settings: Callable[[str], Bosh],
        manager: Callable[[str], ConnectionManager],
        lifetime: float,
        run_work: RunWork,
        gate: AccountThrottle,
        observe: Observe = lambda step, seconds: None,
    ) -> None:
        self._gate = gate
        self._observe = observe
        self._reactor = reactor
        self._store = store
        self._remember = remember
        self._settings = settings
        self._manager = manager
        self._lifetime = lifetime
        self._run_work = run_work
        self._jobs: set[LoginTask] = set()
        self._closing = False
        self.guard = ReplayProbe(store, lifetime, self._authenticate)

    def warm(self, request: WarmRequest) -> "Deferred[WarmSession]":
        """Warm a session.

        Cancelling the result ends the login and cleans up behind the caller's back.

        :raises UnsafeHost: the host's used passwords are accepted again.
        :raises StoreError: the store failed.
        :raises TooManyFailures: too many wrong passwords were tried.
        :raises BoshError: the login failed; nothing of it is left when this is raised.
        """
        return self._start(request.jid.host, lambda task: self._warm(request, task))

    def mint(self, jid: JID) -> "Deferred[OneTimePassword]":
        """A one-time password for a client that logs in itself; it lives until it is used or expires.

        :raises UnsafeHost: the host's used passwords are accepted again.
        :raises StoreError: the store failed.
        :raises BoshError: it can't be found out whether the host is safe.
        """
        return self._start(jid.host, lambda task: self._mint(jid, task))

    def check_password(self, jid: JID, password: str) -> "Deferred[bool]":
        """Whether ejabberd accepts this password; the session is ended at once.

        :raises TooManyFailures: too many wrong passwords were tried.
        :raises StoreError: the store failed.
        :raises BoshError: ejabberd can't be asked.
        """
        return self._start(jid.host, lambda task: self._check_password(jid, password, task))

    def revoke_later(self, minted: OneTimePassword) -> None:
        """Revoke a password that nobody got."""
        self.log.warn("a one-time password could not be delivered, and is revoked")
        Deferred.fromCoroutine(self.revoke(minted))

    async def revoke(self, minted: OneTimePassword) -> RevocationStatus:
        """Revoke a password. A store that can't must not keep a session from being ended or handed over."""
        try:
            return await self._store.revoke(minted)
        except StoreError as error:
            self.log.error("a one-time password could not be revoked, and expires: {reason}", reason=str(error))
            return RevocationStatus.GONE

    async def close(self, within: float) -> None:
        """Begin nothing any more, and end what is under way; see `finish`."""
        self._closing = True
        await self.finish(within)

    async def finish(self, within: float) -> None:
        """Let the logins under way come to their end for a moment, then cancel them and clean up."""
        timer = self._reactor.callLater(within / 2, self._cancel_all)
        await DeferredList([task.finished() for task in self._jobs])
        if timer.active():
            timer.cancel()

    def _cancel_all(self) -> None:
        for task in list(self._jobs):
            task.cancel()

    def _start(self, host: str, run: Callable[[LoginTask], Any]) -> "Deferred[Any]":
        if self._closing:
            return fail(Busy("warmside is stopping"))
        task = LoginTask(self._reactor, self._settings(host).timeout)
        self._jobs.add(task)
        return task.start(run(task), lambda: self._jobs.discard(task))

    async def _warm(self, request: WarmRequest, task: LoginTask) -> WarmSession:
        await self._ensure_safe(request.jid, task)
        try:
            return await self._attempt(request, task)
        except (LostCreation, OneTimeRefused) as error:
            # A lost creation may have arrived, and used the password up; and if a password is gone,
            # someone said yes and ejabberd did not hear it: the copy that it asked died. Start anew.
            may_help = not isinstance(error, OneTimeRefused) or error.leftover is RevocationStatus.GONE
            if task.cancelled or not may_help:
                raise
            return await self._attempt(request, task)

    async def _attempt(self, request: WarmRequest, task: LoginTask) -> WarmSession:
        if request.password is not None:
            return await self._log_in(request, Credentials(request.jid, request.password, one_time=False), None, task)
        minted = await self._store.mint(request.jid.userhost(), self._lifetime)
        try:
            return await self._log_in(request, Credentials(request.jid, minted.text, one_time=True), minted, task)
        finally:
            await self.revoke(minted)

    async def _log_in(
        self, request: WarmRequest, credentials: Credentials, minted: OneTimePassword | None, task: LoginTask
    ) -> WarmSession:
        parameters = Parameters(request.jid.host, request.lang, request.wait, request.hold, request.ver)
        async with self._logged_in(credentials, minted, parameters, request.address, task) as (login, driver):
            self._remember(request.jid.userhost())
            since = self._reactor.seconds()
            arrival = await self._prepare_handover(request, driver)
            self._observe("handover preparation", self._reactor.seconds() - since)
        return _handed_over(login, arrival, self._settings(request.jid.host))

    @asynccontextmanager
    async def _logged_in(
        self,
        credentials: Credentials,
        minted: OneTimePassword | None,
        parameters: Parameters,
        address: str | None,
        task: LoginTask,
        *,
        bind: bool = True,
    ) -> AsyncIterator[tuple[Login, LoginRunner]]:
        """A login that was driven to its end. What goes wrong in it, or behind it, leaves nothing behind."""
        login: Login | None = None
        told = False
        if minted is None:
            await self._gate.enter(credentials.jid.userhost(), credentials.password, address)
        try:
            since = self._reactor.seconds()
            async with self._manager(parameters.host).reserve(address=address) as lease:
                self._observe("waiting for a connection", self._reactor.seconds() - since)
                login = task.login = Login(
                    Session(parameters), credentials, parallel=lease.width, bind=bind, within=task.timeout
                )
                driver = LoginRunner(self._reactor, lease, login, self._run_work, task.time_to_clean_up, self._observe)
                try:
                    await driver.log_in()
                    told = True
                    await self._tell_gate(login, credentials, address)
                    yield login, driver
                except BaseException as error:
                    await self._clean_up(driver, minted, error)
                    raise
        finally:
            if not told:
                await self._tell_gate(login, credentials, address)

    async def _tell_gate(self, login: Login | None, credentials: Credentials, address: str | None) -> None:
        bare, password = credentials.jid.userhost(), None if credentials.one_time else credentials.password
        try:
            if login is not None and login.authenticated:
                await self._gate.accepted(bare, password, address)
            elif login is not None and login.refused:
                await self._gate.refused(bare, password, address)
            elif password is not None and (login is None or not login.session.created):
                await self._gate.never_asked(bare, address)
        except StoreError as error:
            self.log.error("a login could not be counted: {reason}", reason=str(error))

    async def _clean_up(self, driver: LoginRunner, minted: OneTimePassword | None, error: BaseException) -> None:
        """Leave nothing behind. The password goes first: nothing on the network can hold that up.

        :raises OneTimeRefused: what failed was a one-time password.
        """
        leftover = await self.revoke(minted) if minted is not None else RevocationStatus.GONE
        await driver.close()
        if minted is not None and isinstance(error, Refused):
            raise OneTimeRefused(error, leftover) from None

    async def _prepare_handover(self, request: WarmRequest, driver: LoginRunner) -> HandoverData:
        """Do what is to be done over the session before the browser has it."""
        session = driver.session
        limit = max(session.inactivity, session.maxpause or 0) if driver.can_pause else session.inactivity
        if request.attach_within is not None and request.attach_within > limit:
            raise PauseTooLong(limit)
        arrival = HandoverData()
        if request.available or request.roster:
            arrival = await converse(
                self._reactor,
                session.parameters.host,
                driver.exchange,
                roster=request.roster,
                available=request.available,
            )
        if request.attach_within is not None and request.attach_within > session.inactivity:
            paused, stanzas = await driver.pause(request.attach_within)
            arrival.stanzas.extend(stanzas)
            return replace(arrival, attach_within=request.attach_within if paused else session.inactivity)
        return replace(arrival, attach_within=max(session.inactivity, request.attach_within or 0))

    async def _ensure_safe(self, jid: JID, task: LoginTask) -> None:
        task.step = "trying out whether the host is safe"
        since = self._reactor.seconds()
        await self.guard.ensure_safe(jid.host)
        self._observe(task.step, self._reactor.seconds() - since)
        task.step = "waiting for a connection"

    async def _mint(self, jid: JID, task: LoginTask) -> OneTimePassword:
        await self._ensure_safe(jid, task)
        self._remember(jid.userhost())
        return await self._store.mint(jid.userhost(), self._lifetime)

    async def _check_password(self, jid: JID, password: str, task: LoginTask) -> bool:
        try:
            await self._only_authenticate(Credentials(jid, password, one_time=False), None, task)
        except Refused:
            return False
        return True

    def _authenticate(self, jid: JID, minted: OneTimePassword) -> "Deferred[None]":
        """See `ReplayProbe`."""
        credentials = Credentials(jid, minted.text, one_time=True)
        return self._start(jid.host, lambda task: self._only_authenticate(credentials, minted, task))

    async def _only_authenticate(
        self, credentials: Credentials, minted: OneTimePassword | None, task: LoginTask
    ) -> None:
        parameters = Parameters(credentials.jid.host)
        async with self._logged_in(credentials, minted, parameters, None, task, bind=False) as (_, driver):
            await driver.close()


def _handed_over(login: Login, arrival: HandoverData, settings: Bosh) -> WarmSession:
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
