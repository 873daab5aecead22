"""Cred's checker of admins: the admins file, and accounts of ejabberd."""

from collections.abc import Awaitable, Callable
from typing import Any

from cachetools import TTLCache
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from warmside.otp import has_prefix
from warmside.sessions.singleflight import SingleFlight
from warmside.throttle.limits import BudgetSpent, Kind, TooManyFailures
from warmside.throttle.throttle import Attempt, Throttle, Verdict
from warmside.web.admins import AddressedPassword, AdminDirectory
from warmside.web.hashing import Bcrypt, Overloaded

MAX_ACCOUNTS = 1000
"""Accepted passwords of account admins that are valid without a check."""
ACCOUNT_TIMEOUT = 60.0
"""Seconds after which ejabberd checks an account admin's accepted password again."""
ACCOUNT_CHECK_TIME = 0.45
"""Seconds for ejabberd to check a password that was not accepted before. Rejections for every name take as long."""
RESTORE_RETRY_AFTER = 60.0
"""Maximum of seconds in ``Retry-After`` if the budget of account admins is used up."""


@implementer(ICredentialsChecker)
class AdminChecker:
    """Cred's checker of admins.

    :param directory: the configured admins.
    :param throttle: limits failed attempts.
    :param hashes: checks passwords against hashes.
    :param check_account: returns True if ejabberd accepts an account's password; may raise `TooManyFailures`
        and the errors of a login.
    """

    credentialInterfaces = (IUsernamePassword,)
    log = Logger()

    def __init__(
        self,
        directory: AdminDirectory,
        throttle: Throttle,
        hashes: Bcrypt,
        check_account: Callable[[str, str], Awaitable[bool]],
    ) -> None:
        self._directory = directory
        self._throttle = throttle
        self._hashes = hashes
        self._check_account = check_account
        self._checked_accounts: TTLCache[bytes, bool] = TTLCache(
            MAX_ACCOUNTS, ACCOUNT_TIMEOUT, timer=throttle.reactor.seconds
        )
        self._checks: SingleFlight[bytes, bool] = SingleFlight()

    def requestAvatarId(self, credentials: Any) -> "Deferred[bytes | tuple[()]]":
        """Return the canonical name of the admin; see `ICredentialsChecker`.

        :raises UnauthorizedLogin: name or password is wrong, or ejabberd did not check it in time.
        :raises TooManyFailures: the address, or the name, has too many failures.
        :raises Overloaded: too many passwords wait to be checked.
        """
        return Deferred.fromCoroutine(self._authenticate(credentials))

    async def _authenticate(self, credentials: AddressedPassword) -> bytes | tuple[()]:
        name = self._directory.canonical(credentials.username.decode("utf-8", "replace"))
        hashed, in_file = self._directory.hash_for(name)
        # The hash is part of the attempt: when it changes, the old password is no longer accepted.
        attempt = Attempt(Kind.ADMIN, name, credentials.password, credentials.address, hashed if in_file else b"")
        if not await self._checks.run(self._throttle.digest(attempt), lambda: self._check(attempt, hashed)):
            raise UnauthorizedLogin
        return name.encode()

    async def _check(self, attempt: Attempt, hashed: bytes) -> bool:
        """Return True if the password is correct. Simultaneous callers share one check, which counts once.

        The check goes on when a caller disconnects, so that its failure is counted.
        """
        in_file = bool(attempt.version)
        async with self._throttle.attempt(attempt) as verdict:
            if verdict.previously_accepted and in_file:
                return True
            if verdict.previously_accepted and attempt.account in self._directory.accounts:
                return await self._check_again(attempt, verdict)
            try:
                correct = await self._hashes.check(
                    attempt.password, hashed, address=attempt.address, slowed=verdict.address_slowed
                )
            except Overloaded:
                await verdict.delay(self._hashes.check_time)
                raise
            refused: TooManyFailures | None = None
            if not (correct and in_file) or has_prefix(attempt.password):
                try:
                    correct = await self._account_accepts(attempt)
                except BudgetSpent as error:  # the first one starts a login that restores the budget
                    correct, refused = False, TooManyFailures(min(error.retry_after, RESTORE_RETRY_AFTER))
                except TooManyFailures as error:
                    correct, refused = False, error
            if correct:
                await verdict.accepted()
                return True
            await verdict.rejected(self._hashes.check_time)
            if refused is not None:
                raise refused
            return False

    async def _check_again(self, attempt: Attempt, verdict: Verdict) -> bool:
        """Return True if ejabberd still accepts a password that it accepted before. Its errors are shown then."""
        digest = self._throttle.digest(attempt)
        if digest in self._checked_accounts:
            return True
        if not await self._check_account(attempt.account, attempt.password.decode()):
            await verdict.rejected()
            return False
        await verdict.accepted()
        self._checked_accounts[digest] = True
        return True

    async def _account_accepts(self, attempt: Attempt) -> bool:
        """Return True if ejabberd accepts the password of an account admin.

        For every name False takes the same time, and an ejabberd that is slow, stopped or bans warmside changes
        nothing. A password that ejabberd accepts too late is remembered, so that it passes when it is sent again.

        :raises TooManyFailures: the name has too many failures, or the budget of account admins is used up.
        """
        if not self._directory.accounts:
            return False
        decided: Deferred[bool] = Deferred()
        failures: list[Failure] = []
        timer = self._throttle.reactor.callLater(ACCOUNT_CHECK_TIME, decided.callback, False)

        def asked(result: bool | Failure) -> None:
            if isinstance(result, Failure):
                failures.append(result)
            elif result and timer.active():
                timer.cancel()
                decided.callback(True)
            elif result:
                self._throttle.remember(attempt)

        Deferred.fromCoroutine(self._ask(attempt)).addBoth(asked).addErrback(self._log_failure)
        accepted = await decided
        for failure in failures:
            failure.raiseException()
        return accepted

    async def _ask(self, attempt: Attempt) -> bool:
        """Return True if ejabberd accepts the password. Only passwords of account admins are sent to ejabberd.

        :raises TooManyFailures: see `_account_accepts`.
        """
        if "@" not in attempt.account or not _is_text(attempt.password) or has_prefix(attempt.password):
            return False
        async with self._throttle.attempt(Attempt(Kind.ADMIN_JID, attempt.account)) as verdict:
            correct = False
            if attempt.account in self._directory.accounts:
                try:
                    correct = await self._check_account(attempt.account, attempt.password.decode())
                except BudgetSpent:
                    raise
                except Exception as error:
                    # The response must be that of a wrong password: others would show that the account exists.
                    self.log.warn("ejabberd could not check an account admin's password: {reason}", reason=str(error))
            if not correct:
                await verdict.rejected()
                return False
            await verdict.accepted()
        self._checked_accounts[self._throttle.digest(attempt)] = True
        return True

    def _log_failure(self, failure: Failure) -> None:
        self.log.failure("an accepted password could not be remembered", failure)


def _is_text(password: bytes) -> bool:
    """Return True if ejabberd may accept the password: UTF-8, not empty, without NUL."""
    try:
        return bool(password) and "\0" not in password.decode()
    except UnicodeDecodeError:
        return False
