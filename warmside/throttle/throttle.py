"""Decides if a password may be tried now, and takes the outcome. All callers use this interface alone.

async with throttle.attempt(Attempt(Kind.USER, account, password, address)) as verdict:
    …check the password…
    await verdict.accepted()  # or verdict.rejected()
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from twisted.logger import Logger

from warmside.store.interface import FailureCounters, StoreError
from warmside.throttle.accounts import AccountThrottle
from warmside.throttle.addresses import AddressThrottle
from warmside.throttle.limits import RULES, Kind, Rules, TooManyFailures
from warmside.throttle.verified import RunWork, VerifiedPasswords


@dataclass(frozen=True, slots=True)
class Attempt:
    """A password that is to be tried.

    :param kind: decides which limits apply.
    :param account: prepared bare JID of a user, or name of an admin.
    :param password: the password; empty for `Kind.ONE_TIME` and `Kind.UNKNOWN_ACCOUNT`.
    :param address: IP address that a failure is counted for; ``None`` for warmside's own.
    :param version: a change of it invalidates an earlier acceptance, such as the hash of an admin's password.
    """

    kind: Kind
    account: str
    password: bytes = field(default=b"", repr=False)
    address: str | None = None
    version: bytes = field(default=b"", repr=False)

    @property
    def parts(self) -> tuple[bytes, ...]:
        """Parts that identify the acceptance of the password."""
        return self.account.encode(), self.password, self.version


class Throttle:
    """Limits failed logins of users and admins.

    :param reactor: its clock delays rejections.
    :param counters: failure counters that all processes share.
    :param run_work: runs a function off the reactor's thread.
    """

    log = Logger()

    def __init__(self, reactor: Any, counters: FailureCounters, run_work: RunWork) -> None:
        self.reactor = reactor
        self.accounts = AccountThrottle(counters)
        self.addresses = AddressThrottle(reactor, counters)
        self._verified = {
            rules.purpose: VerifiedPasswords(counters, rules.purpose, run_work)
            for rules in RULES.values()
            if rules.purpose
        }

    def digest(self, attempt: Attempt) -> bytes:
        """Return a digest of account, password and version. It is different in each process."""
        return self._verified[RULES[attempt.kind].purpose].digest(*attempt.parts)

    @asynccontextmanager
    async def attempt(self, attempt: Attempt) -> AsyncIterator["Verdict"]:
        """Limit an attempt, and take its outcome.

        A previously accepted password is never refused. An attempt without an outcome is not counted.

        :raises TooManyFailures: the password must not be checked now.
        :raises StoreError: the store failed.
        """
        rules = RULES[attempt.kind]
        verdict = Verdict(self, attempt, rules, self._verified.get(rules.purpose))
        await verdict.begin()
        try:
            yield verdict
        finally:
            try:
                await verdict.end()
            except StoreError as error:
                self.log.error("a login attempt that reached no server is counted: {reason}", reason=str(error))


class Verdict:
    """The outcome of an attempt, reported at most once. Made by `Throttle.attempt`.

    :ivar previously_accepted: True if no limit applies, because the password was accepted before.
    :ivar reported: True if the outcome was reported.
    """

    def __init__(self, throttle: Throttle, attempt: Attempt, rules: Rules, verified: VerifiedPasswords | None) -> None:
        self.previously_accepted = False
        self.reported = False
        self._throttle = throttle
        self._attempt = attempt
        self._rules = rules
        self._verified = verified
        self._since = throttle.reactor.seconds()
        self._checking = False

    async def accepted(self) -> None:
        """Report that the password was accepted, and remember it.

        :raises StoreError: the store failed.
        """
        self._report()
        if self._verified is not None:
            await self._verified.remember(*self._attempt.parts)
        await self._throttle.accounts.accepted(self._rules, self._attempt.account, self._attempt.address)

    async def rejected(self) -> None:
        """Report that the password was rejected. Returns when the response may be sent.

        :raises TooManyFailures: the address has too many failures.
        :raises StoreError: the store failed.
        """
        self._report()
        if self._verified is not None:
            await self._verified.forget(*self._attempt.parts)
        await self._throttle.accounts.rejected(self._rules, self._attempt.account, self._attempt.address)
        if self._rules.per_address is not None:
            await self._throttle.addresses.rejected(self._rules.per_address, self._address_key(), self._since)

    def unknown(self) -> None:
        """Report that the password reached a server without a known result.

        It stays counted as a failure if the rules say so.
        """
        if self._rules.count_unknown:
            self._report()

    async def accepted_by_any_process(self) -> bool:
        """Return True if any process accepted the password before. Slow (scrypt) if this process did not.

        :raises StoreError: the store failed.
        """
        return self._verified is not None and await self._verified.known_anywhere(*self._attempt.parts)

    async def begin(self) -> None:
        """Count the attempt.

        :raises TooManyFailures: the password must not be checked now.
        """
        if self._verified is not None and self._verified.known_here(*self._attempt.parts):
            self.previously_accepted = True
        try:
            await self._enter()
        except TooManyFailures:
            if not await self.accepted_by_any_process():
                raise
            self.previously_accepted = True
            await self._enter()

    async def end(self) -> None:
        """Take back the attempt if it has no outcome."""
        self._stop_checking()
        if not self.reported:
            await self._throttle.accounts.not_checked(self._rules, self._attempt.account, self._attempt.address)

    async def _enter(self) -> None:
        if self._rules.per_address is not None and not self.previously_accepted:
            await self._throttle.addresses.enter(self._rules.per_address, self._address_key())
            self._checking = True
        try:
            await self._throttle.accounts.enter(
                self._rules, self._attempt.account, self._attempt.address, unlimited=self.previously_accepted
            )
        except BaseException:
            self._stop_checking()
            raise

    def _report(self) -> None:
        assert not self.reported, "an attempt has one outcome"
        self.reported = True
        self._stop_checking()

    def _stop_checking(self) -> None:
        if self._checking:
            self._checking = False
            self._throttle.addresses.leave(self._address_key())

    def _address_key(self) -> str:
        assert self._rules.per_address is not None
        return self._rules.per_address.limit.key_for(self._attempt.account, self._attempt.address)
