"""Find out whether ejabberd accepts passwords that it has to reject, before anything is handed out for a host.

With ``auth_use_cache: true`` ejabberd accepts a used password again for an hour, without a request to
its extauth program. With anonymous logins it accepts any password. Both can come on without a restart.

The probe logs in for accounts that do not exist: with a fresh one-time password, which has to be accepted,
with the same one again, and with a random password. In this order a host that does not ask warmside
rejects one login for each probe, and the rejections of a safe host follow a success in mod_fail2ban's count.
Where several machines share passwords, the first login is made twice at once: ``bosh.url`` must not be a balancer.

The verdict is in the store of the machine. It is valid for `VERDICT_TIME` and is renewed before its end
while the host is in use.
"""

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from cachetools import TTLCache
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredSemaphore, fail, succeed
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from warmside.bosh.errors import BoshError, Busy, NotAuthenticated, Refused
from warmside.jids import JID, PreparedJID
from warmside.otp import OneTimePassword
from warmside.sessions.passwords import OneTimePasswords
from warmside.sessions.singleflight import SingleFlight
from warmside.sessions.verdicts import OneTimeRefused, UnsafeHost, error_from, facts_of
from warmside.store.interface import HostState, HostVerdict, RevocationStatus, StoreError, VerdictStore
from warmside.throttle.limits import Kind, TooManyFailures

VERDICT_TIME = 60.0
"""Seconds from the start of a probe for which its verdict is valid."""
RENEWAL_AGE = 0.75
"""Age from which a verdict is renewed in the background, as a part of `VERDICT_TIME`."""
CHECKS = 12
"""Checks for due renewals in one `VERDICT_TIME`."""
MAX_RENEWALS = 2
"""Renewals at a time in one process; logins need connections, too."""
MIN_BACK_OFF, MAX_BACK_OFF = 30.0, 300.0
"""Seconds until the next probe after one whose first login was rejected. Doubled with each one in a row."""
UNREACHABLE_TIME = 1.0
"""Seconds for which an error that says nothing about the host is returned again without a login."""
LEASE_TIME = 5.0
"""Seconds for one login of a probe, after which another process may probe the host."""
LEASE_POLL_INTERVAL = 0.02
"""Seconds between looks at a verdict that another process is about to record."""
MAX_WAIT = 20.0
"""Seconds after which waiting for a verdict fails."""
MAX_HOSTS = 1000
"""Hosts with a remembered error; the least recently used one is dropped."""

Authenticate = Callable[[JID, OneTimePassword, Kind], Awaitable[None]]
"""Authenticates over BOSH and ends the session; raises `OneTimeRefused` or another `BoshError`."""


class ReplayProbe:
    """Probes hosts, and keeps the verdicts in the store.

    :param reactor: timers and delays.
    :param verdicts: the store of verdicts.
    :param passwords: mints the one-time passwords.
    :param authenticate: authenticates with a one-time password, without binding a resource.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, verdicts: VerdictStore, passwords: OneTimePasswords, authenticate: Authenticate
    ) -> None:
        self._reactor = reactor
        self._verdicts = verdicts
        self._passwords = passwords
        self._authenticate = authenticate
        self._probes: SingleFlight[str, None] = SingleFlight()
        self._errors: TTLCache[str, Exception] = TTLCache(MAX_HOSTS, UNREACHABLE_TIME, timer=reactor.seconds)
        self._used: set[str] = set()
        """Safe hosts that were used since their probe."""
        self._renewals = DeferredSemaphore(MAX_RENEWALS)
        self._checker = LoopingCall(self.renew)
        self._checker.clock = reactor

    def start(self) -> None:
        """Renew verdicts in the background until `close`."""
        self._checker.start(VERDICT_TIME / CHECKS, now=False)

    def close(self) -> None:
        """Start no more renewals."""
        if self._checker.running:
            self._checker.stop()

    def forget(self) -> None:
        """Drop all verdicts, for all processes of the machine: ejabberd or a process has started, or on SIGHUP."""
        self._errors.clear()
        self._used.clear()
        self._change(lambda: self._verdicts.drop())

    def drop(self, host: str) -> None:
        """Drop the verdict on a host, for all processes of the machine: ejabberd did not ask warmside.

        A back-off that has begun goes on: other logins that failed in the same way must not end it.
        """
        self._change(lambda: self._verdicts.drop(host))

    def asked(self, host: str) -> None:
        """End the back-off of a host: ejabberd has sent an extauth request for it.

        A command that examines a host calls this, too, so that the host is probed at once.
        """
        self._errors.pop(host, None)
        self._change(lambda: self._verdicts.end_back_off(host))

    def ensure_safe(self, host: str) -> "Deferred[None]":
        """Return a Deferred that fires when the host is known to be safe. Simultaneous callers share one probe.

        :raises UnsafeHost: the host accepts used one-time passwords, or anonymous logins.
        :raises OneTimeRefused: the host rejected a fresh one-time password, now or before its back-off.
        :raises BoshError: a login failed for another reason, so that the probe has no result.
        :raises TooManyFailures: too many logins failed to try one that may fail.
        :raises StoreError: the store failed.
        """
        try:
            if self._is_safe(host):
                return succeed(None)
        except (UnsafeHost, BoshError, StoreError) as error:
            return fail(error)
        return self._probes.run(host, lambda: self._determine(host))

    async def renew(self) -> None:
        """Renew the verdicts that are due: those on unsafe hosts, and on hosts that were used since their probe."""
        try:
            due = self._verdicts.probed_before(self._verdicts.now() - RENEWAL_AGE * VERDICT_TIME)
        except StoreError as error:
            self.log.error("verdicts on hosts could not be renewed: {reason}", reason=str(error))
            return
        hosts = [host for host, verdict in due.items() if verdict.state.unsafe or host in self._used]
        renewals = [self._renewals.run(lambda it: Deferred.fromCoroutine(self._renew(it)), host) for host in hosts]
        for renewal in renewals:
            await renewal

    def _is_safe(self, host: str) -> bool:
        """Return True if the host is known to be safe, and False if a probe has to find out.

        :raises UnsafeHost: the host is known to be unsafe.
        :raises BoshError: the last probe failed, and its back-off is not over.
        """
        verdict = self._verdicts.get(host)
        if verdict is not None and verdict.valid_until > self._verdicts.now():
            if verdict.state is not HostState.SAFE:
                raise error_from(host, verdict)
            self._used.add(host)
            return True
        error = self._errors.get(host)
        if error is not None:
            raise error.with_traceback(None)
        return False

    async def _determine(self, host: str) -> None:
        """Probe the host, or wait for the process that does."""
        deadline = self._reactor.seconds() + MAX_WAIT
        while not self._is_safe(host):
            if self._reactor.seconds() > deadline:
                raise Busy("the host's replay probe did not complete: another process may be testing it")
            if not await self._probe_once(host):
                await deferLater(self._reactor, LEASE_POLL_INTERVAL)

    async def _renew(self, host: str) -> None:
        """Probe a host in the background. Its users see a failure once the old verdict is over."""
        self._used.discard(host)
        try:
            await self._probe_once(host)
        except CancelledError:
            pass
        except (BoshError, StoreError, TooManyFailures) as error:
            self._used.add(host)
            self.log.warn("the verdict on {host} could not be renewed: {reason}", host=host, reason=str(error))
        except Exception:
            self.log.failure("the verdict on {host} could not be renewed", host=host)

    async def _probe_once(self, host: str) -> bool:
        """Probe a host and record the verdict. Return False if another process holds the lease.

        :raises BoshError: a login failed, and this says nothing about the host.
        :raises TooManyFailures: too many logins failed to try one that may fail.
        :raises StoreError: the store failed.
        """
        lease = secrets.token_hex(8)
        if not self._verdicts.begin(host, lease, LEASE_TIME):
            return False
        before = self._verdicts.get(host)
        failures = before.failures if before is not None else 0
        started = self._verdicts.now()
        try:
            verdict = await self._probe(host, lease, failures)
        except TooManyFailures:
            if before is None or before.state is not HostState.REFUSED:
                self._release(host, lease)
                raise
            verdict = self._refused(failures, before.facts)
        except BaseException as error:
            self._release(host, lease)
            if isinstance(error, BoshError) and not isinstance(error, Busy):
                self._errors[host] = error
            raise
        if verdict is None:
            return True  # the verdict was dropped, so that the caller looks again
        if verdict.state is not HostState.REFUSED:
            verdict = HostVerdict(verdict.state, started, started + VERDICT_TIME)
        if self._verdicts.record(host, lease, verdict) and verdict.state.unsafe:
            self.log.critical("{reason}", reason=str(error_from(host, verdict)))
        return True

    async def _probe(self, host: str, lease: str, failures: int, *, again: bool = True) -> HostVerdict | None:
        """Log in up to three times, and return the result; ``None`` if the lease was lost meanwhile.

        :param again: True to start again if the first password was redeemed and yet rejected: the process that
            redeemed it was killed before it answered.
        """
        jid = unknown_user(host)
        password = await self._passwords.mint(jid.userhost())
        try:
            try:
                await self._authenticate_fresh(jid, password, Kind.REPEATED_PROBE if failures else Kind.PROBE)
            except (Refused, NotAuthenticated) as error:
                if again and isinstance(error, OneTimeRefused) and error.revocation is RevocationStatus.GONE:
                    extended = self._verdicts.extend(host, lease, LEASE_TIME)
                    return await self._probe(host, lease, failures, again=False) if extended else None
                return self._refused(failures + 1, facts_of(error))
            if not self._verdicts.extend(host, lease, LEASE_TIME):
                return None
            replayed = await self._accepted(jid, password)
            if not self._verdicts.extend(host, lease, LEASE_TIME):
                return None
            if await self._accepted(unknown_user(host), OneTimePassword.mint()):
                return HostVerdict(HostState.ANONYMOUS, 0, 0)
            return HostVerdict(HostState.CACHING if replayed else HostState.SAFE, 0, 0)
        finally:
            await self._passwords.revoke(password)

    async def _authenticate_fresh(self, jid: JID, password: OneTimePassword, kind: Kind) -> None:
        """Authenticate with a fresh password. One of several machines does so twice at once, with two passwords.

        The two logins have connections of their own. A balancer at ``bosh.url`` leads one of them to another machine.
        """
        if not self._passwords.one_of_several:
            await self._authenticate(jid, password, kind)
            return
        other = await self._passwords.mint(jid.userhost())
        try:
            logins = [_started(self._authenticate(jid, each, kind)) for each in (password, other)]
            results: list[tuple[bool, Any]] = await DeferredList(logins, consumeErrors=True)
            for succeeded, failure in results:
                if not succeeded:
                    failure.raiseException()
        finally:
            await self._passwords.revoke(other)

    async def _accepted(self, jid: JID, password: OneTimePassword) -> bool:
        """Return True if ejabberd accepts a password that it has to reject."""
        try:
            await self._authenticate(jid, password, Kind.PROBE)
        except Refused:
            return False
        return True

    def _refused(self, failures: int, facts: str) -> HostVerdict:
        """Return the verdict on a host that rejected the first login, with the time of its back-off."""
        now = self._verdicts.now()
        delay = min(MIN_BACK_OFF * 2.0 ** min(failures - 1, 10), MAX_BACK_OFF)
        return HostVerdict(HostState.REFUSED, now, now + delay, failures, facts)

    def _release(self, host: str, lease: str) -> None:
        self._change(lambda: self._verdicts.release(host, lease))

    def _change(self, change: Callable[[], None]) -> None:
        """Change the store. An error is logged: the verdict or lease is in use until its time is over."""
        try:
            change()
        except StoreError as error:
            self.log.error("a verdict on a host could not be changed: {reason}", reason=str(error))


def _started(login: Awaitable[None]) -> "Deferred[None]":
    async def run() -> None:
        await login

    return Deferred.fromCoroutine(run())


def unknown_user(host: str) -> JID:
    """Return a random JID, which no user has."""
    return PreparedJID(f"warmside-probe-{secrets.token_hex(8)}", host, None)
