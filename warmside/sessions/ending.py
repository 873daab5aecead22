"""End sessions of a user: log in as the user, list the sessions, and take each one over.

A login that binds a connected resource ends the session that has it, with ``<conflict/>`` (RFC 6120, 7.7.2.2), and is
then terminated itself. That alone proves nothing: in a cluster, within the second in which the old session began, it
may live on. Only a second look that finds none of the sessions is a success.
"""

import secrets
from typing import Any
from weakref import WeakValueDictionary

from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredSemaphore
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.task import deferLater
from twisted.logger import Logger

from warmside.bosh.disco import connected_resources
from warmside.bosh.errors import BoshError, Busy, NotBound, ResourceConflict, StreamFailed, Terminated, TimedOut
from warmside.bosh.login import Login
from warmside.bosh.runner import LoginRunner
from warmside.bosh.session import Parameters
from warmside.jids import JID, InvalidJID, PreparedJID, prepare
from warmside.sessions.deadline import LoginTask
from warmside.sessions.ended import SessionsLeft
from warmside.sessions.logins import LoginSpec
from warmside.sessions.passwords import Stores
from warmside.sessions.verdicts import OneTimeRefused
from warmside.sessions.warmer import Warmer, may_succeed_next_time
from warmside.throttle.limits import Kind

MAX_ENDED = 100
"""Maximum sessions that one call ends."""
MAX_AT_ONCE = 8
"""Maximum sessions of a host that are taken over at once, for all calls: other logins need connections, too."""
RETRY_INTERVAL = 1.0
"""Seconds before a session that is still listed is taken over again: in a cluster an earlier attempt may fail."""
SETTLE_INTERVALS = (0.01, 0.05, 0.2)
"""Seconds before further looks: a session that has just ended may be listed for a moment."""
LEASE_INTERVAL = 0.05
"""Seconds between attempts to begin while another call ends the sessions of the user."""


class SessionEnder:
    """Ends sessions. It has the rights of the user only, and makes no user known.

    :param warmer: its logins, tasks and verdicts on hosts are used.
    :param stores: one-time passwords, ended users and sessions.
    """

    log = Logger()

    def __init__(self, warmer: Warmer, stores: Stores) -> None:
        self.warmer = warmer
        self.stores = stores
        self._slots: WeakValueDictionary[str, DeferredSemaphore] = WeakValueDictionary()

    def slots(self, host: str) -> DeferredSemaphore:
        """Return the semaphore of the logins that take over sessions of a host."""
        return self._slots.setdefault(host, DeferredSemaphore(MAX_AT_ONCE))

    async def end(self, jid: JID) -> list[str]:
        """End the session with a full JID, or all sessions of a bare JID.

        For a bare JID the unused one-time passwords of the user are revoked first. A login by `Warmer` that began
        before fails with `EndedMeanwhile`. Cancelling it leaves no session and no password of its own.

        :param jid: prepared.
        :returns: full JIDs of the sessions that were ended, with the host as the server spells it.
        :raises SessionsLeft: some of the sessions are left; the call may be repeated.
        :raises ResourceConflict: the server's settings forbid to take a session over.
        :raises NoSessionList: the server does not list the sessions.
        :raises UnsafeHost: the host accepts passwords that it has to reject.
        :raises StoreError: the store failed.
        :raises BoshError: no login succeeded.
        """
        call = _Call(self, jid)
        try:
            ended: list[str] = await self.warmer.tasks.start(jid.host, call.run)
        except TimedOut:
            if call.waiting:
                raise Busy("another call is ending the user's sessions") from None
            if call.left:
                raise SessionsLeft(call.ended, len(call.left)) from None
            raise
        return ended


class _Call:
    """One call of `SessionEnder.end`.

    :ivar waiting: True while another call ends the sessions of the same user.
    :ivar left: resources that the last look found; ``None`` before the first look.
    :ivar taken: resources that were taken over, in order.
    """

    def __init__(self, ender: SessionEnder, jid: JID) -> None:
        self.waiting = False
        self.left: list[str] | None = None
        self.taken: dict[str, None] = {}
        self._jid = jid
        self._bare: JID = prepare(jid.userhost())
        self._warmer = ender.warmer
        self._reactor = ender.warmer.reactor
        self._passwords = ender.stores.passwords
        self._credentials = ender.stores.credentials
        self._ends = ender.stores.ends
        self._slots = ender.slots(jid.host)
        self._looking: Login | None = None

    @property
    def ended(self) -> int:
        """Number of sessions that were taken over and are not listed any more."""
        return len(self.taken.keys() - (self.left or ()))

    async def run(self, task: LoginTask) -> list[str]:
        """See `SessionEnder.end`."""
        bare, lease = self._bare.full(), secrets.token_hex(8)
        self.waiting = True
        while not await self._ends.begin(bare, lease, task.timeout):
            await deferLater(self._reactor, LEASE_INTERVAL)
        self.waiting = False
        try:
            await self._ends.mark(self._jid.full())
            if self._jid.resource is None:
                await self._credentials.store.revoke_all(bare)
            await self._warmer.ensure_safe(self._bare, task)
            await self._end_all(task)
        finally:
            try:
                await self._stop_looking(task)
            except CancelledError:  # a task is cancelled once
                await self._stop_looking(task)
                raise
            finally:
                await self._ends.release(bare, lease)
        served: str = self._warmer.served(self._bare).full()
        return [f"{served}/{resource}" for resource in self.taken]

    async def _end_all(self, task: LoginTask) -> None:
        listed = await self._look(task)
        while listed:
            again = [resource for resource in listed if resource in self.taken]
            new = [resource for resource in listed if resource not in self.taken][: MAX_ENDED - len(self.taken)]
            if not (again or new):
                raise SessionsLeft(self.ended, len(listed))
            if again:
                await deferLater(self._reactor, RETRY_INTERVAL)
            # The logins of all listed sessions have begun by now. One that is not handed out yet fails as ended.
            await self._ends.mark(self._jid.full())
            self.taken.update(dict.fromkeys(new))
            await self._take_over_all(again + new)
            listed = await self._look(task)
            for interval in SETTLE_INTERVALS:
                if not any(resource in self.taken for resource in listed):
                    break
                await deferLater(self._reactor, interval)
                listed = await self._look(task)

    async def _look(self, task: LoginTask) -> list[str]:
        """Return the resources that are to be ended. Once there are none, the session that looks is terminated.

        A login that began before the mark is either listed or finds the mark.
        """
        await self._ends.mark(self._jid.full())
        listed = await self._look_again(task)
        if listed is None:
            try:
                listed = await self._look_first(task)
            except BoshError as error:
                if task.cancelled or not may_succeed_next_time(error):
                    raise
                listed = await self._look_first(task)
        self.left = listed
        return listed

    async def _look_again(self, task: LoginTask) -> list[str] | None:
        """Look with the session that looked before. Return ``None`` without one, or if it is over."""
        login = self._looking
        if login is None:
            return None
        try:
            async with self._warmer.logins.resumed(self._bare.host, login, task) as runner:
                self._looking = None
                return await self._list(login, runner)
        except (Terminated, StreamFailed):
            return None

    async def _look_first(self, task: LoginTask) -> list[str]:
        minted = await self._passwords.mint(self._bare.full())
        try:
            spec = LoginSpec(self._bare, minted, Kind.ONE_TIME, Parameters(self._bare.host))
            async with self._warmer.logins.logged_in(spec, task) as (login, runner):
                return await self._list(login, runner)
        except OneTimeRefused as error:
            if error.revocation.not_asked:
                self._warmer.probe.drop(self._bare.host)
            raise
        finally:
            await self._passwords.revoke(minted)

    async def _list(self, login: Login, runner: LoginRunner) -> list[str]:
        assert login.jid is not None
        own = login.jid.resource
        resources = await connected_resources(self._reactor, login.jid, runner.exchange)
        wanted = self._jid.resource
        listed = [each for each in resources if each != own and (wanted is None or _same(each, wanted))]
        if listed:
            self._looking = login
        else:
            await runner.close()
        return listed

    async def _take_over_all(self, resources: list[str]) -> None:
        """Take resources over. Errors that a further attempt may cure are not raised: the next look shows the rest."""
        running = [self._slots.run(self._start_to_take_over, resource) for resource in resources]
        results: list[tuple[bool, Any]] = await DeferredList(running, consumeErrors=True)
        for succeeded, result in results:
            if not succeeded and (not result.check(BoshError) or result.check(ResourceConflict)):
                result.raiseException()

    def _start_to_take_over(self, resource: str) -> "Deferred[None]":
        return self._warmer.tasks.start(self._bare.host, lambda task: self._take_over(resource, task))

    async def _take_over(self, resource: str, task: LoginTask) -> None:
        """Log in with a resource, which ends the session that has it; then terminate the own session."""
        minted = await self._passwords.mint(self._bare.full())
        try:
            jid = PreparedJID(self._bare.user, self._bare.host, resource)
            spec = LoginSpec(jid, minted, Kind.ONE_TIME, Parameters(jid.host))
            async with self._warmer.logins.logged_in(spec, task) as (login, runner):
                await runner.close()
        except NotBound as error:
            raise ResourceConflict("closenew") if error.condition == "conflict" else error from None
        finally:
            await self._passwords.revoke(minted)
        if login.jid is None or not _same(login.jid.resource or "", resource):
            raise ResourceConflict("setresource")

    async def _stop_looking(self, task: LoginTask) -> None:
        """Terminate the session that looks, if it is left."""
        login = self._looking
        if login is None:
            return
        ending = Deferred.fromCoroutine(self._warmer.logins.terminate(self._bare.host, login.session, task))
        ending.addTimeout(task.cleanup_time, self._reactor)
        try:
            await ending
        except (BoshError, DeferredTimeout) as error:
            SessionEnder.log.warn(
                "a session of {jid} that ended others could not be terminated and goes after its inactivity: {reason}",
                jid=self._bare.full(),
                reason=str(error) or "the connection manager did not respond in time",
            )


def _same(one: str, other: str) -> bool:
    """Return True if two resources are equal once they are prepared."""
    if one == other:
        return True
    try:
        return prepare(f"a@b/{one}").resource == prepare(f"a@b/{other}").resource
    except InvalidJID:
        return False
