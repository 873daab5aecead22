"""Log in over BOSH, within the limits on failed logins, and clean up after a failure."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from twisted.logger import Logger

from warmside.bosh.bans import is_banned
from warmside.bosh.errors import Banned, BoshError, InvalidResponse, Refused, StreamFailed, Terminated, Unreachable
from warmside.bosh.login import Login
from warmside.bosh.runner import LoginRunner, Runtime, terminate
from warmside.bosh.sasl import Credentials
from warmside.bosh.session import Parameters, Session
from warmside.bosh.transport import ConnectionLease
from warmside.jids import JID
from warmside.otp import OneTimePassword
from warmside.sessions.deadline import LoginTask
from warmside.sessions.hosts import BoshHost
from warmside.sessions.passwords import OneTimePasswords
from warmside.sessions.spellings import UNKNOWN_HOST, HostSpellings
from warmside.sessions.verdicts import OneTimeRefused
from warmside.store.interface import RevocationStatus, StoreError
from warmside.throttle.limits import Kind
from warmside.throttle.throttle import Attempt, Throttle, Verdict


@dataclass(frozen=True, slots=True)
class LoginSpec:
    """A login that is to be made.

    :param jid: prepared bare or full JID.
    :param password: a password that ejabberd checks, or a minted one-time password.
    :param kind: which limits on failures apply.
    :param parameters: of the BOSH session.
    :param address: IP address of the browser.
    :param bind: True if a resource is bound; otherwise the login only authenticates.
    """

    jid: JID
    password: str | OneTimePassword = field(repr=False)
    kind: Kind
    parameters: Parameters
    address: str | None = None
    bind: bool = True

    @property
    def minted(self) -> OneTimePassword | None:
        """The one-time password, if it is one."""
        return self.password if isinstance(self.password, OneTimePassword) else None

    @property
    def credentials(self) -> Credentials:
        """The credentials for SASL."""
        if isinstance(self.password, OneTimePassword):
            return Credentials(self.jid, self.password.text, one_time=True)
        return Credentials(self.jid, self.password, one_time=False)

    @property
    def attempt(self) -> Attempt:
        """The attempt whose failure is counted."""
        password = b"" if isinstance(self.password, OneTimePassword) else self.password.encode()
        return Attempt(self.kind, self.jid.userhost(), password, self.address)


class Logins:
    """Makes logins. A login that fails, times out or is cancelled leaves no session and no valid one-time password.

    :param runtime: reactor, slow work, observer.
    :param hosts: returns settings and connections for a prepared host.
    :param passwords: revokes the one-time password of a failed login.
    :param throttle: limits failed logins.
    """

    log = Logger()

    def __init__(
        self,
        runtime: Runtime,
        hosts: Callable[[str], BoshHost],
        passwords: OneTimePasswords,
        throttle: Throttle,
    ) -> None:
        self._runtime = runtime
        self._hosts = hosts
        self._passwords = passwords
        self._throttle = throttle
        self.spellings = HostSpellings()

    @asynccontextmanager
    async def logged_in(self, spec: LoginSpec, task: LoginTask) -> AsyncIterator[tuple[Login, LoginRunner]]:
        """Log in. An error in the login or in the block that follows ends the session.

        :raises TooManyFailures: too many wrong passwords were tried.
        :raises OneTimeRefused: a one-time password was rejected.
        :raises BoshError: the login failed.
        :raises StoreError: the store failed.
        """
        async with self._throttle.attempt(spec.attempt) as verdict:
            task.login = None
            try:
                async with self._run(spec, task) as (login, runner):
                    await self._report(verdict, login)
                    yield login, runner
            finally:
                if not verdict.reported:
                    await self._report(verdict, task.login)

    @asynccontextmanager
    async def resumed(self, host: str, login: Login, task: LoginTask) -> AsyncIterator[LoginRunner]:
        """Continue a session that has no request outstanding. An error in the block that follows ends the session.

        :param host: the prepared host.
        :raises BoshError: the session is over.
        """
        async with self._hosts(host).manager.reserve(1) as lease:
            runner = LoginRunner(self._runtime, lease, login, task.cleanup_time)
            try:
                yield runner
            except BaseException:
                await runner.close()
                raise

    async def terminate(self, host: str, session: Session, task: LoginTask) -> None:
        """End a session that has no request outstanding.

        :param host: the prepared host.
        :raises Unreachable: the connection manager did not respond.
        """
        async with self._hosts(host).manager.reserve(1) as lease:
            if not await terminate(self._runtime.reactor, lease, session, task.cleanup_time):
                raise Unreachable("the connection manager did not respond")

    @asynccontextmanager
    async def _run(self, spec: LoginSpec, task: LoginTask) -> AsyncIterator[tuple[Login, LoginRunner]]:
        runtime = self._runtime
        since = runtime.reactor.seconds()
        manager = self._hosts(spec.jid.host).manager
        async with manager.reserve(address=spec.address) as lease:
            runtime.observe("waiting for a connection", runtime.reactor.seconds() - since)
            spellings = self.spellings.candidates(spec.jid.host)
            for spelling in spellings:
                session = Session(replace(spec.parameters, host=spelling), early=manager.pipelining.allowed)
                login = task.login = Login(
                    session, spec.credentials, parallel=lease.width, bind=spec.bind, within=task.timeout
                )
                runner = LoginRunner(runtime, lease, login, task.cleanup_time)
                try:
                    await self._log_in(runner, spec.jid.host, spelling == spellings[-1])
                    yield login, runner
                    return
                except BaseException as error:
                    if spelling != spellings[-1] and host_unknown(session, error):
                        await runner.close()
                        continue
                    if failed_early(login, error) or (task.timed_out and failed_early(login)):
                        manager.pipelining.avoid()
                        if isinstance(error, BoshError):
                            error.early = True
                    await self._clean_up(runner, spec.minted, error)
                    if isinstance(error, Banned) and spec.address is not None and not login.authenticated:
                        error.owner = await self._banned_owner(lease, session.parameters.host, task.cleanup_time / 4)
                    raise
                finally:
                    manager.pipelining.learn(session)
                    if session.created:
                        self.spellings.learn(spec.jid.host, spelling)

    async def _banned_owner(self, lease: ConnectionLease, host: str, seconds: float) -> str:
        """Return whose address is banned, if a request with the browser's address was rejected."""
        banned = await is_banned(self._runtime.reactor, lease.without_address(), host, seconds)
        return {True: "warmside", False: "browser", None: "unknown"}[banned]

    async def _log_in(self, runner: LoginRunner, host: str, last: bool) -> None:
        """Log in; see `LoginRunner.log_in`.

        ejabberd ends a session creation with ``internal-server-error`` if it does not serve the host, and also while it
        stops. A host of an earlier session is served.

        :param last: True if no other spelling of the host is left to try.
        :raises Unreachable: ejabberd, which serves the host, is stopping.
        """
        try:
            await runner.log_in()
        except Terminated as error:
            unknown = error.condition == "internal-server-error" and not runner.session.created
            if last and unknown and self.spellings.is_served(host):
                stopping = Unreachable(f"{error.seen} ({error.condition}), although it serves the host: it is stopping")
                stopping.step = error.step
                raise stopping from None
            raise

    async def _report(self, verdict: Verdict, login: Login | None) -> None:
        """Report the outcome of a login. One that created no session reached no server, and has none."""
        try:
            if login is None:
                return
            if login.authenticated:
                await verdict.accepted()
            elif login.refused:
                await verdict.rejected()
            elif login.session.created:
                verdict.unknown()
        except StoreError as error:
            self.log.error("the outcome of a login could not be counted: {reason}", reason=str(error))

    async def _clean_up(self, runner: LoginRunner, minted: OneTimePassword | None, error: BaseException) -> None:
        """Revoke the password and end the session. The revocation comes first: no network delays it.

        :raises OneTimeRefused: the server rejected a one-time password.
        """
        revocation = RevocationStatus.GONE
        rejected = isinstance(error, Refused) and error.condition == "not-authorized"
        if minted is not None:
            passwords = self._passwords
            revocation = await (passwords.revoke_rejected(minted) if rejected else passwords.revoke(minted))
        await runner.close()
        if minted is not None and isinstance(error, Refused) and rejected:
            raise OneTimeRefused(error, revocation) from None


def failed_early(login: Login, error: BaseException | None = None) -> bool:
    """Return True if a login with early requests has failed, and these may be the cause.

    :param error: ``None`` if the login has timed out.
    """
    broken = error is None or isinstance(error, Terminated | StreamFailed | InvalidResponse)
    return broken and login.sent_early and login.session.created and not login.complete


def host_unknown(session: Session, error: BaseException) -> bool:
    """Return True if the cause of an error may be that the server does not know this spelling of the host."""
    unknown = isinstance(error, Terminated | StreamFailed) and error.condition in UNKNOWN_HOST
    return unknown and not session.created
