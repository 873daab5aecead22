"""Who is an admin: a file of ``NAME:HASH`` lines, or accounts of ejabberd's, behind Twisted Cred.

bcrypt takes a quarter of a second by design, so it runs on one thread of low priority with a
bounded queue; a password that was right is remembered by a keyed digest, in memory.
"""

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bcrypt
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
from warmside.throttle.accounts import TooManyFailures
from warmside.throttle.addresses import AddressThrottle
from warmside.throttle.verified import VerifiedPasswords

HASH = re.compile(r"\$2[abxy]\$(0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}")
MAX_PASSWORD = 72
"""Bytes of a password that bcrypt looks at."""
MAX_FILE = 1 << 20
MAX_REMEMBERED = 1000
ACCOUNT_REMEMBERED = 60.0
"""Seconds for which the password of an ejabberd account that was right is not asked about again."""
NOBODYS_HASH = b"$2b$12$pnF/Wh3ClMGxDwrt/eh21u7WiVx4HHg5s60Fj5Sk9H0uF0C/lsl7S"
"""Takes as long to check as an admin's; no password is known to have it."""
MAX_WAITING = 16
"""Passwords that may wait for bcrypt; one more is turned away."""


class Overloaded(Exception):
    """Too many passwords wait to be checked."""


class IAdmin(Interface):
    """An avatar of Cred: its mere existence is what was asked for."""


@implementer(IAdmin)
class Admin:
    """Someone who may use the HTTP interface."""

    def __init__(self, name: str) -> None:
        self.name = name


@implementer(IRealm)
class AdminRealm:
    """Turns the name of an admin into an `Admin`."""

    def requestAvatar(self, avatar_id: Any, mind: object, *interfaces: Any) -> tuple[Any, Admin, Any]:
        """See `IRealm`."""
        return IAdmin, Admin(avatar_id.decode()), lambda: None


def read_admins(path: Path, reserved: Collection[str] = ()) -> dict[str, bytes]:
    """Names and hashes of an admins file; empty lines and lines that begin with # are skipped.

    :param reserved: names that can't be in it, because ejabberd's accounts have them.
    :raises FileRefused: it can't be read, others may write to it, or a line is no ``NAME:HASH``.
    """
    admins: dict[str, bytes] = {}
    for number, line in enumerate(read_guarded(path, MAX_FILE).splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, colon, hashed = line.partition(":")
        if not name or not colon or not HASH.fullmatch(hashed):
            raise FileRefused(f"line {number} is not NAME:HASH with a bcrypt hash of cost 4 to 16")
        if name in admins:
            raise FileRefused(f"line {number} has a name that was there before")
        if account_name(name) in reserved:
            raise FileRefused(f"line {number} has a name that is in admins.accounts, too")
        admins[name] = hashed.encode("ascii")
    if not admins:
        raise FileRefused("there is nobody in it: `warmside hash-password NAME` prints a line for it")
    return admins


def account_name(name: str) -> str:
    """A name as ``admins.accounts`` has it: prepared if it is a JID."""
    try:
        return prepare(name).userhost() if "@" in name and "/" not in name else name
    except InvalidJID:
        return name


class Bcrypt:
    """Checks passwords on one thread of low priority; a flood of wrong ones slows nothing else.

    :param call_from_thread: how a thread hands a result to the reactor.
    """

    def __init__(self, call_from_thread: Callable[..., Any]) -> None:
        self._call_from_thread = call_from_thread
        self._executor = ThreadPoolExecutor(1, "bcrypt", _lower_priority)
        self._waiting = 0

    def check(self, password: bytes, hashed: bytes) -> "Deferred[bool]":
        """Whether a password is the one that was hashed.

        :raises Overloaded: too many wait already.
        """
        if self._waiting >= MAX_WAITING:
            raise Overloaded
        self._waiting += 1
        result: Deferred[bool] = Deferred(lambda _: None)
        fits = len(password) <= MAX_PASSWORD

        def work() -> None:
            try:
                right = bcrypt.checkpw(password[:MAX_PASSWORD], hashed)
            except ValueError:
                right = False
            self._call_from_thread(done, right and fits)

        def done(right: bool) -> None:
            self._waiting -= 1
            if not result.called:
                result.callback(right)

        self._executor.submit(work)
        return result

    def close(self) -> None:
        """Drop what waits."""
        self._executor.shutdown(wait=False, cancel_futures=True)


@implementer(IUsernamePassword)
class AddressedPassword:
    """What a request says of its sender, and the address that a failure counts for."""

    def __init__(self, username: bytes, password: bytes, address: str) -> None:
        self.username = username
        self.password = password
        self.address = address

    def checkPassword(self, password: bytes) -> bool:
        """See `IUsernamePassword`; there is no password in clear to compare with."""
        return False


@implementer(ICredentialsChecker)
class AdminChecker:
    """Cred's checker: asks the admins file, or ejabberd for its accounts, and remembers what was right.

    :param file: the admins file, if there is one.
    :param accounts: prepared bare JIDs of ejabberd's accounts.
    :param check_account: asks ejabberd; raises `TooManyFailures` and whatever keeps it from asking.
    :param right: knows, for all processes, what was right before.
    :param look: is told of names that look like accounts and are none; raises `TooManyFailures`.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(
        self,
        reactor: Any,
        file: ReloadingFile[dict[str, bytes]] | None,
        accounts: Collection[str],
        check_account: Callable[[str, str], Awaitable[bool]],
        look: Callable[[str], Awaitable[None]],
        bcrypt_pool: Bcrypt,
        slowdown: AddressThrottle,
        right: VerifiedPasswords,
    ) -> None:
        self._reactor = reactor
        self._file = file
        self._accounts = accounts
        self._check_account = check_account
        self._look = look
        self._bcrypt = bcrypt_pool
        self._slowdown = slowdown
        self._before = right
        self._accounts_until: OrderedDict[bytes, float] = OrderedDict()
        """Until when ejabberd need not be asked again."""
        self._checks: SingleFlight[bytes, bool] = SingleFlight()

    def knows(self, name: str) -> bool:
        """Whether there is an admin of this name."""
        return self._name(name) in self._accounts or (self._file is not None and name in self._file.content)

    def requestAvatarId(self, credentials: Any) -> "Deferred[bytes | tuple[()]]":
        """See `ICredentialsChecker`.

        :raises UnauthorizedLogin: name or password is wrong.
        :raises TooManyFailures: and that too often.
        :raises Overloaded: too many passwords wait to be checked.
        """
        return Deferred.fromCoroutine(self._check(credentials))

    async def _check(self, credentials: AddressedPassword) -> bytes | tuple[()]:
        since = self._reactor.seconds()
        name, password = self._name(credentials.username.decode("utf-8", "replace")), credentials.password
        hashed, known = self._hash_of(name)
        # The hash is a part of it: a changed hash forgets the old password.
        address, parts = credentials.address, (name.encode(), password, hashed)
        key = self._before.key(*parts)
        if (known and self._before.here(*parts)) or self._accounts_until.get(key, 0.0) > since:
            return name.encode()

        async def check() -> bool:
            try:
                async with self._slowdown.check(address):
                    return await self._is_right(name, password, hashed, known)
            except (TooManyFailures, Overloaded):
                if not await self._before.anywhere(*parts):
                    raise
                return known or await self._is_right(name, password, hashed, known)

        if not await self._checks.run(key, check):
            await self._slowdown.failed(address, since)
            raise UnauthorizedLogin
        await self._before.remember(*parts)
        if not known:
            self._accounts_until[key] = since + ACCOUNT_REMEMBERED
            while len(self._accounts_until) > MAX_REMEMBERED:
                self._accounts_until.popitem(last=False)
        return name.encode()

    async def _is_right(self, name: str, password: bytes, hashed: bytes, known: bool) -> bool:
        """Whoever is wrong has waited for bcrypt, be there such an admin or not."""
        one_time = has_prefix(password)  # never an admin's, whatever the file or ejabberd says
        if name in self._accounts and not one_time:
            if _is_text(password) and await self._check_account(name, password.decode()):
                return True
        elif self._accounts and not known and "@" in name:
            await self._look(name)
        return await self._bcrypt.check(password, hashed) and known and not one_time

    def _name(self, name: str) -> str:
        """The name as the file has it, or else as ``admins.accounts`` would have it."""
        return name if self._file is not None and name in self._file.content else account_name(name)

    def _hash_of(self, name: str) -> tuple[bytes, bool]:
        """The hash of an admin's password, and ``True``.

        For a name that the file does not have, some hash and ``False``: it takes as long to check.
        """
        admins = self._file.content if self._file is not None else {}
        hashed = admins.get(name)
        return (next(iter(admins.values()), NOBODYS_HASH), False) if hashed is None else (hashed, True)


def _is_text(password: bytes) -> bool:
    """Whether a password can be one of an ejabberd account's."""
    try:
        return bool(password) and "\0" not in password.decode()
    except UnicodeDecodeError:
        return False


def _lower_priority() -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
    except OSError:
        pass
