"""Authenticate admins: a file of ``NAME:HASH`` lines, and accounts of ejabberd, behind Twisted Cred."""

import re
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

from cachetools import TTLCache
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from zope.interface import Interface, implementer

from warmside.config.reloading import FileRefused, ReloadingFile, read_guarded
from warmside.jids import InvalidJID, prepare
from warmside.otp import has_prefix
from warmside.sessions.singleflight import SingleFlight
from warmside.throttle.limits import Kind
from warmside.throttle.throttle import Attempt, Throttle
from warmside.web.hashing import DUMMY_HASH, Bcrypt, Overloaded

HASH = re.compile(r"\$2[abxy]\$(0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}")
MAX_FILE = 1 << 20
"""Bytes of an admins file."""
MAX_ACCOUNTS = 1000
"""Accepted passwords of account admins that are valid without a check."""
ACCOUNT_TIMEOUT = 60.0
"""Seconds after which ejabberd checks an account admin's accepted password again."""


class IAdmin(Interface):
    """Avatar interface of an authenticated admin."""


@implementer(IAdmin)
class Admin:
    """An authenticated admin."""

    def __init__(self, name: str) -> None:
        self.name = name


@implementer(IRealm)
class AdminRealm:
    """Turns the name of an admin into an `Admin`."""

    def requestAvatar(self, avatar_id: Any, mind: object, *interfaces: Any) -> tuple[Any, Admin, Any]:
        """See `IRealm`."""
        return IAdmin, Admin(avatar_id.decode()), lambda: None


def read_admins(path: Path, reserved: Collection[str] = ()) -> dict[str, bytes]:
    """Return names and hashes of an admins file. Empty lines and lines that begin with # are skipped.

    :param reserved: names that must not be in the file, because they are in ``admins.accounts``.
    :raises FileRefused: the file can't be read, others may write to it, or a line is invalid.
    """
    admins: dict[str, bytes] = {}
    for number, line in enumerate(read_guarded(path, MAX_FILE).splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, colon, hashed = line.partition(":")
        if not name or not colon or not HASH.fullmatch(hashed):
            raise FileRefused(f"line {number}: expected NAME:HASH with a bcrypt hash of cost 4 to 16")
        if name != name.strip() or not name.isprintable():
            raise FileRefused(f"line {number}: the name ends with space, or has a character that does not print")
        if name in admins:
            raise FileRefused(f"line {number}: the name is in an earlier line: remove one of them")
        if account_name(name) in reserved:
            raise FileRefused(f"line {number}: the name is in admins.accounts as well: remove one of them")
        admins[name] = hashed.encode("ascii")
    if not admins:
        raise FileRefused("it has no admin: add a line printed by `warmside hash-password NAME`")
    return admins


def account_name(name: str) -> str:
    """Return a name in the form of ``admins.accounts``: prepared, if it is a bare JID."""
    try:
        return prepare(name).userhost() if "@" in name and "/" not in name else name
    except InvalidJID:
        return name


class AdminDirectory:
    """The configured admins.

    :param file: the admins file; ``None`` if there is none.
    :param accounts: prepared bare JIDs of ``admins.accounts``.
    """

    def __init__(self, file: ReloadingFile[dict[str, bytes]] | None, accounts: Collection[str] = ()) -> None:
        self._file = file
        self.accounts = accounts

    @property
    def _hashes(self) -> dict[str, bytes]:
        return self._file.content if self._file is not None else {}

    def knows(self, name: str) -> bool:
        """Return True if an admin has this name, in any spelling."""
        return self.canonical(name) in self.accounts or name in self._hashes

    def canonical(self, name: str) -> str:
        """Return a name as in the file, or else in the form of ``admins.accounts``."""
        return name if name in self._hashes else account_name(name)

    def hash_for(self, name: str) -> tuple[bytes, bool]:
        """Return the hash for a canonical name, and True if the file has it.

        For other names it is the hash of another admin, or a dummy: its check takes as long.
        """
        hashes = self._hashes
        return (hashes[name], True) if name in hashes else (next(iter(hashes.values()), DUMMY_HASH), False)


@implementer(IUsernamePassword)
class AddressedPassword:
    """The credentials of a request, and the address that a failure is counted for."""

    def __init__(self, username: bytes, password: bytes, address: str) -> None:
        self.username = username
        self.password = password
        self.address = address

    def checkPassword(self, password: bytes) -> bool:
        """Return False: there is no password in clear to compare with. See `IUsernamePassword`."""
        return False


@implementer(ICredentialsChecker)
class AdminChecker:
    """Cred's checker of admins.

    :param directory: the configured admins.
    :param throttle: limits failed attempts.
    :param hashes: checks passwords against hashes.
    :param check_account: returns True if ejabberd accepts an account's password; may raise `TooManyFailures`
        and the errors of a login.
    :param clock: returns monotonic seconds.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(
        self,
        directory: AdminDirectory,
        throttle: Throttle,
        hashes: Bcrypt,
        check_account: Callable[[str, str], Awaitable[bool]],
        clock: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._throttle = throttle
        self._hashes = hashes
        self._check_account = check_account
        self._checked_accounts: TTLCache[bytes, bool] = TTLCache(MAX_ACCOUNTS, ACCOUNT_TIMEOUT, timer=clock)
        self._checks: SingleFlight[bytes, bool] = SingleFlight()

    def requestAvatarId(self, credentials: Any) -> "Deferred[bytes | tuple[()]]":
        """Return the canonical name of the admin; see `ICredentialsChecker`.

        :raises UnauthorizedLogin: name or password is wrong.
        :raises TooManyFailures: the address, or the account, has too many failures.
        :raises Overloaded: too many passwords wait to be checked.
        """
        return Deferred.fromCoroutine(self._authenticate(credentials))

    async def _authenticate(self, credentials: AddressedPassword) -> bytes | tuple[()]:
        name, password = (
            self._directory.canonical(credentials.username.decode("utf-8", "replace")),
            credentials.password,
        )
        hashed, in_file = self._directory.hash_for(name)
        # The hash is part of the attempt: when it changes, the old password is no longer accepted.
        attempt = Attempt(Kind.ADMIN, name, password, credentials.address, hashed)
        digest = self._throttle.digest(attempt)
        if not await self._checks.run(digest, lambda: self._check(attempt, digest, in_file=in_file)):
            raise UnauthorizedLogin
        return name.encode()

    async def _check(self, attempt: Attempt, digest: bytes, *, in_file: bool) -> bool:
        """Return True if the password is correct. Simultaneous callers share one check, which counts once.

        The check goes on when a caller disconnects, so that its failure is counted.
        """
        async with self._throttle.attempt(attempt) as verdict:
            if verdict.previously_accepted and (in_file or digest in self._checked_accounts):
                return True
            try:
                correct = await self._is_correct(attempt, in_file=in_file)
            except Overloaded:
                correct = in_file and await verdict.accepted_by_any_process()
                if not correct:
                    raise
            if not correct:
                await verdict.rejected()
                return False
            await verdict.accepted()
        if not in_file:
            self._checked_accounts[digest] = True
        return True

    async def _is_correct(self, attempt: Attempt, *, in_file: bool) -> bool:
        """Return True if the password is correct. For every name, a wrong one takes as long as a check by bcrypt."""
        one_time = has_prefix(attempt.password)  # never an admin's, even if the file or ejabberd accepts it
        if attempt.account in self._directory.accounts and not one_time:
            if _is_text(attempt.password) and await self._check_account(attempt.account, attempt.password.decode()):
                return True
        elif self._directory.accounts and not in_file and "@" in attempt.account:
            async with self._throttle.attempt(Attempt(Kind.UNKNOWN_ACCOUNT, attempt.account)) as verdict:
                await verdict.rejected()
        return await self._hashes.check(attempt.password, attempt.version) and in_file and not one_time


def _is_text(password: bytes) -> bool:
    """Return True if ejabberd may accept the password: UTF-8, not empty, without NUL."""
    try:
        return bool(password) and "\0" not in password.decode()
    except UnicodeDecodeError:
        return False
