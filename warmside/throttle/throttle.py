"""Decides if a password may be tried now, and takes the outcome. All callers use this interface alone.

async with throttle.attempt(Attempt(Kind.USER, account, password, address)) as verdict:
    …check the password…
    await verdict.accepted()  # or verdict.rejected()
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from twisted.logger import Logger

from warmside.store.accepted import AcceptedPasswords
from warmside.store.interface import FailureCounters, StoreError
from warmside.throttle.accounts import AccountThrottle
from warmside.throttle.addresses import AddressThrottle
from warmside.throttle.limits import ADMINS_AT_EJABBERD, RULES, BudgetSpent, Kind, Limit, Rules
from warmside.throttle.verified import VerifiedPasswords


@dataclass(frozen=True, slots=True)
class Attempt:
    """A password that is to be tried.

    :param kind: decides which limits apply.
    :param account: prepared bare JID of a user, or name of an admin.
    :param password: the password; empty for `Kind.ONE_TIME` and `Kind.ADMIN_JID`.
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
    :param accepted: accepted passwords that all processes of this machine share.
    :ivar on_admins_budget_spent: called when an attempt is refused because the budget of account admins is used up.
    """

    log = Logger()

    def __init__(self, reactor: Any, counters: FailureCounters, accepted: AcceptedPasswords) -> None:
        self.reactor = reactor
        self.accounts = AccountThrottle(counters)
        self.addresses = AddressThrottle(reactor, counters)
        self.on_admins_budget_spent: Callable[[], None] = lambda: None
        self._verified = {
            rules.purpose: VerifiedPasswords(accepted, rules.purpose) for rules in RULES.values() if rules.purpose
        }

    def digest(self, attempt: Attempt) -> bytes:
        """Return a keyed digest of account, password and version."""
        return self._verified[RULES[attempt.kind].purpose].digest(*attempt.parts)

    def remember(self, attempt: Attempt) -> None:
        """Remember an accepted password whose attempt has ended before it was accepted.

        :raises StoreError: the store failed.
        """
        self._verified[RULES[attempt.kind].purpose].remember(*attempt.parts)

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
    :ivar address_slowed: True if the address has many failures, or many attempts in progress.
    :ivar reported: True if the outcome was reported.
    """

    def __init__(self, throttle: Throttle, attempt: Attempt, rules: Rules, verified: VerifiedPasswords | None) -> None:
        self.previously_accepted = False
        self.address_slowed = False
        self.reported = False
        self._throttle = throttle
        self._attempt = attempt
        self._rules = rules
        self._verified = verified
        self._since = throttle.reactor.seconds()
        self._pending = False
        self._unknown = False

    async def accepted(self) -> None:
        """Report that the password was accepted, and remember it.

        :raises StoreError: the store failed.
        """
        self._report()
        await self._throttle.accounts.accepted(*self._counted, entered=not self.previously_accepted)
        if self._verified is not None:
            self._verified.remember(*self._attempt.parts)

    async def rejected(self, check_time: float = 0.0) -> None:
        """Report that the password was rejected. Returns when the response may be sent.

        :param check_time: seconds that a check takes now, which delays the rejections of an address.
        :raises TooManyFailures: the address has too many failures.
        :raises StoreError: the store failed.
        """
        self._report()
        await self._throttle.accounts.rejected(*self._counted, entered=not self.previously_accepted)
        if self._verified is not None:
            self._verified.forget(*self._attempt.parts)
        if self._rules.per_address is not None:
            await self._throttle.addresses.rejected(self._rules.per_address, self._address_key, self._since, check_time)

    async def delay(self, check_time: float = 0.0) -> None:
        """Wait as long as a rejection waits. An attempt that is refused unchecked takes as long as a rejection."""
        if self._rules.per_address is not None:
            await self._throttle.addresses.delay(self._rules.per_address, self._address_key, self._since, check_time)

    def unknown(self) -> None:
        """Report that the password reached a server without a known result.

        It stays counted as a failure if the rules say so.
        """
        if self._rules.count_unknown:
            self._report()
            self._unknown = True

    async def begin(self) -> None:
        """Count the attempt.

        :raises TooManyFailures: the password must not be checked now.
        """
        if self._verified is not None and self._verified.known(*self._attempt.parts):
            self.previously_accepted = True
            return
        if self._rules.per_address is not None:
            self.address_slowed = await self._throttle.addresses.enter(self._rules.per_address, self._address_key)
            self._pending = True
        try:
            await self._throttle.accounts.enter(*self._counted)
        except BaseException as error:
            self._leave()
            if isinstance(error, BudgetSpent) and set(ADMINS_AT_EJABBERD) & set(self._limiting):
                self._throttle.on_admins_budget_spent()
            raise

    async def end(self) -> None:
        """Take back the attempt if it has no outcome."""
        self._leave()
        if self._unknown:
            await self._throttle.accounts.rejected(*self._counted, entered=not self.previously_accepted)
        elif not self.reported and not self.previously_accepted:
            await self._throttle.accounts.not_checked(*self._counted)

    def _report(self) -> None:
        assert not self.reported, "an attempt has one outcome"
        self.reported = True

    def _leave(self) -> None:
        if self._pending:
            self._pending = False
            self._throttle.addresses.leave(self._address_key)

    @property
    def _counted(self) -> tuple[Rules, str, str | None]:
        return self._rules, self._attempt.account, self._attempt.address

    @property
    def _limiting(self) -> tuple[Limit, ...]:
        return self._rules.enforced + self._rules.consulted

    @property
    def _address_key(self) -> str:
        assert self._rules.per_address is not None
        return self._rules.per_address.limit.key_for(self._attempt.account, self._attempt.address)
