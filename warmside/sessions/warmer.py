"""Warm sessions: mint a one-time password, log in with it over BOSH, hand the session over, clean up.

A login that fails, times out or is cancelled leaves nothing behind: no session at the connection
manager, no valid password. A session that is handed over has no request outstanding.
"""

from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from cachetools import TTLCache
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from warmside.bosh.errors import BoshError, Refused
from warmside.bosh.runner import LostCreation, Runtime
from warmside.bosh.session import Parameters, Session
from warmside.jids import JID, prepare
from warmside.otp import OneTimePassword
from warmside.sessions import handover
from warmside.sessions.deadline import LoginTask, LoginTasks
from warmside.sessions.ended import EndedMeanwhile
from warmside.sessions.hosts import BoshHost
from warmside.sessions.logins import Logins, LoginSpec
from warmside.sessions.model import WarmRequest, WarmSession
from warmside.sessions.passwords import Stores
from warmside.sessions.replayprobe import ReplayProbe, unknown_user
from warmside.sessions.verdicts import OneTimeRefused
from warmside.store.interface import RevocationStatus
from warmside.throttle.limits import Kind
from warmside.throttle.throttle import Throttle

ACCOUNT_DISABLED = "account-disabled"
"""SASL condition of an account that an administrator of ejabberd has disabled."""
DISABLED_LIFETIME = 60.0
"""Seconds for which ``POST /credentials`` rejects an account that a login found disabled."""
MAX_DISABLED = 1000
"""Disabled accounts that are remembered; the least recently used one is dropped."""


class Warmer:
    """Warms sessions.

    :param runtime: reactor, slow work, observer.
    :param hosts: returns settings and connections for a prepared host.
    :param stores: one-time passwords, verdicts on hosts, ended users and sessions.
    :param throttle: limits failed logins.
    :param remember: called with the bare JID of each user for whom something is handed out.
    """

    log = Logger()

    def __init__(
        self,
        runtime: Runtime,
        hosts: Callable[[str], BoshHost],
        stores: Stores,
        throttle: Throttle,
        remember: Callable[[str], object],
    ) -> None:
        self._runtime = runtime
        self._hosts = hosts
        self._passwords = stores.passwords
        self._credentials = stores.credentials
        self._ends = stores.ends
        self._remember = remember
        self._probing: WeakValueDictionary[str, LoginTask] = WeakValueDictionary()
        self._restoring = False
        self._disabled: TTLCache[str, bool] = TTLCache(MAX_DISABLED, DISABLED_LIFETIME, runtime.reactor.seconds)
        self.logins = Logins(runtime, hosts, stores.passwords, throttle)
        self.tasks = LoginTasks(runtime.reactor, lambda host: hosts(host).settings.timeout)
        self.probe = ReplayProbe(runtime.reactor, stores.verdicts, stores.passwords, self._authenticate)

    @property
    def reactor(self) -> Any:
        """The reactor of all logins."""
        return self._runtime.reactor

    def warm(self, request: WarmRequest) -> "Deferred[WarmSession]":
        """Warm a session.

        Cancelling the result fires it at once; the login then ends and cleans up in the background.

        :raises UnsafeHost: the host accepts passwords that it has to reject.
        :raises StoreError: the store failed.
        :raises TooManyFailures: too many wrong passwords were tried.
        :raises EndedMeanwhile: the user's sessions were ended after the call began.
        :raises BoshError: the login failed; nothing of it is left.
        """
        return self.tasks.start(request.jid.host, lambda task: self._warm(request, task))

    def mint(self, jid: JID, began: float | None = None) -> "Deferred[OneTimePassword]":
        """Mint a one-time password for a client that logs in itself.

        :param began: start of the call, in seconds of the system's monotonic clock; ``None`` for now.
        :raises UnsafeHost: the host accepts passwords that it has to reject.
        :raises StoreError: the store failed.
        :raises Refused: a login has found the account disabled within `DISABLED_LIFETIME`.
        :raises EndedMeanwhile: the user's sessions were ended after the call began.
        :raises BoshError: the host could not be probed.
        """
        began = self._ends.now() if began is None else began
        return self.tasks.start(jid.host, lambda task: self._mint(jid, began, task))

    def check_password(self, jid: JID, password: str) -> "Deferred[bool]":
        """Return True if ejabberd accepts the password of an account admin. The session is ended at once.

        :raises TooManyFailures: too many wrong passwords were tried.
        :raises StoreError: the store failed.
        :raises BoshError: the login failed for another reason than the password.
        """
        return self.tasks.start(jid.host, lambda task: self._check_password(jid, password, task))

    def restore_budget(self, host: str) -> None:
        """Log in once with a one-time password, in the background: a success resets all counts of failures in a row.

        The limit `RESTORING_LIMIT` bounds rejections by a host that does not ask warmside.
        """
        if not self._restoring:
            self._restoring = True
            Deferred.fromCoroutine(self._restore_budget(host)).addErrback(self._not_restored)

    def served(self, jid: JID) -> JID:
        """Return a prepared JID with its host as the server spells it, as far as a login has found out."""
        return self.logins.spellings.served(jid)

    def revoke_later(self, minted: OneTimePassword) -> None:
        """Revoke a password of `mint` that was not delivered."""
        self._credentials.revoke_later(minted)

    def end_later(self, session: WarmSession) -> None:
        """End a session whose reply was not delivered. This goes on while warmside is stopping."""
        self.log.warn("the session of {jid} could not be delivered and is ended", jid=session.jid)
        host = prepare(session.jid).host
        over = Session.handed_over(host, session.sid, session.rid)
        ended = self.tasks.start(host, lambda task: self.logins.terminate(host, over, task), while_closing=True)
        ended.addErrback(
            lambda failure: self.log.error(
                "the session of {jid} could not be ended and goes after its inactivity: {reason}",
                jid=session.jid,
                reason=failure.getErrorMessage(),
            )
        )

    async def _warm(self, request: WarmRequest, task: LoginTask) -> WarmSession:
        began = self._ends.now() if request.began is None else request.began
        if request.password is None:
            await self.ensure_safe(request.jid, task)
        try:
            return await self._warm_once(request, began, task)
        except BoshError as error:
            # The end of the user's sessions has revoked the password or ended the session.
            await self._require_not_ended(began, request.jid)
            if task.cancelled or not may_succeed_next_time(error):
                raise
            return await self._warm_once(request, began, task)

    async def _warm_once(self, request: WarmRequest, began: float, task: LoginTask) -> WarmSession:
        if request.password is not None:
            return await self._log_in(request, request.password, began, task)
        minted = await self._passwords.mint(request.jid.userhost())
        try:
            return await self._log_in(request, minted, began, task)
        except BaseException as error:
            if isinstance(error, OneTimeRefused) and error.revocation.not_asked:
                self.probe.drop(request.jid.host)
            await self._passwords.revoke(minted)
            raise

    async def _log_in(
        self, request: WarmRequest, password: str | OneTimePassword, began: float, task: LoginTask
    ) -> WarmSession:
        bare = request.jid.userhost()
        try:
            session = await self._log_in_once(request, password, began, task)
        except Refused as error:
            if error.condition == ACCOUNT_DISABLED:
                self._disabled[bare] = True
            raise
        self._disabled.pop(bare, None)
        return session

    async def _log_in_once(
        self, request: WarmRequest, password: str | OneTimePassword, began: float, task: LoginTask
    ) -> WarmSession:
        host = request.jid.host
        parameters = Parameters(host, request.lang, request.wait, request.hold, request.ver)
        kind = Kind.ONE_TIME if isinstance(password, OneTimePassword) else Kind.USER
        spec = LoginSpec(request.jid, password, kind, parameters, request.address)
        async with self.logins.logged_in(spec, task) as (login, runner):
            # Checked before a removed user would become known again, and once more after the preparation.
            await self._require_not_ended(began, request.jid)
            self._remember(request.jid.userhost())
            since = self._runtime.reactor.seconds()
            data = await handover.prepare(self._runtime.reactor, request, runner)
            public_url = self._hosts(host).settings.public_url
            session = await handover.warm_session(self._runtime.reactor, login, data, public_url)
            self._runtime.observe("handover preparation", self._runtime.reactor.seconds() - since)
            if isinstance(password, OneTimePassword):
                await self._passwords.revoke(password)
            await self._require_not_ended(began, prepare(session.jid))
            if task.cancelled:
                raise CancelledError
        return session

    async def _require_not_ended(self, began: float, jid: JID) -> None:
        """Raise `EndedMeanwhile` if the sessions of the user, or the session with this JID, were ended since then."""
        if await self._ends.ended_since(began, jid.userhost(), jid.full()):
            raise EndedMeanwhile

    async def ensure_safe(self, jid: JID, task: LoginTask) -> None:
        """Wait until the host of a JID is known to be safe; see `ReplayProbe.ensure_safe`."""
        waiting, task.step = task.step, "replay probe"
        since = self._runtime.reactor.seconds()
        task.probing = lambda: self._probing.get(jid.host)
        await self.probe.ensure_safe(jid.host)
        self._runtime.observe(task.step, self._runtime.reactor.seconds() - since)
        task.step, task.probing = waiting, lambda: None

    async def _mint(self, jid: JID, began: float, task: LoginTask) -> OneTimePassword:
        if jid.userhost() in self._disabled:
            error = Refused("the server rejected an earlier login", ACCOUNT_DISABLED)
            error.step = "authentication"
            raise error
        await self.ensure_safe(jid, task)
        if not (jid.host.isascii() or self.logins.spellings.is_served(jid.host)):
            # Another process may have probed the host: only a login shows this one how the server spells it.
            await self._authenticate_unknown_user(jid.host, Kind.ONE_TIME)
        minted = await self._credentials.mint(jid.userhost())
        try:
            # Checked before a removed user would become known again.
            await self._require_not_ended(began, jid)
            self._remember(jid.userhost())
        except BaseException:
            await self._credentials.revoke(minted)
            raise
        return minted

    async def _check_password(self, jid: JID, password: str, task: LoginTask) -> bool:
        try:
            await self._only_authenticate(jid, password, Kind.ACCOUNT_ADMIN, task)
        except Refused:
            return False
        return True

    async def _restore_budget(self, host: str) -> None:
        try:
            await self._authenticate_unknown_user(host, Kind.RESTORING)
        finally:
            self._restoring = False

    async def _authenticate_unknown_user(self, host: str, kind: Kind) -> None:
        """Log in once with a one-time password of a user that does not exist."""
        jid = unknown_user(host)
        minted = await self._passwords.mint(jid.userhost())
        try:
            await self._authenticate(jid, minted, kind)
        finally:
            await self._passwords.revoke(minted)

    def _not_restored(self, failure: Failure) -> None:
        self.log.warn(
            "account admins whose password was not accepted before have to wait until a login succeeds: {reason}",
            reason=failure.getErrorMessage(),
        )

    def _authenticate(self, jid: JID, minted: OneTimePassword, kind: Kind) -> "Deferred[None]":
        """Authenticate with a one-time password; see `Authenticate`."""

        def run(task: LoginTask) -> Any:
            self._probing[jid.host] = task
            return self._only_authenticate(jid, minted, kind, task)

        return self.tasks.start(jid.host, run)

    async def _only_authenticate(self, jid: JID, password: str | OneTimePassword, kind: Kind, task: LoginTask) -> None:
        spec = LoginSpec(jid, password, kind, Parameters(jid.host), bind=False)
        async with self.logins.logged_in(spec, task) as (_, runner):
            await runner.close()


def may_succeed_next_time(error: BoshError) -> bool:
    """Return True if a second login with a new one-time password may succeed.

    The lost creation may have redeemed the password. A password that is gone was accepted, but the answer did not reach
    ejabberd: its extauth process ended. After early requests that the manager does not process the second login sends
    one request after the other.
    """
    redeemed = isinstance(error, OneTimeRefused) and error.revocation is RevocationStatus.GONE
    return redeemed or error.early or isinstance(error, LostCreation)
