"""Who is an admin: a file of ``NAME:HASH`` lines, behind Twisted Cred.

bcrypt takes a quarter of a second by design, so it runs on one thread of low priority with a
bounded queue; a password that was right is remembered by a keyed digest, in memory.
"""

import hashlib
import os
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bcrypt
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import Interface, implementer

from warmside.folders import writable_by_others
from warmside.onetime import has_prefix

HASH = re.compile(r"\$2[abxy]\$(0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}")
MOST_PASSWORD = 72
"""Bytes of a password that bcrypt looks at."""
MOST_FILE = 1 << 20
MOST_REMEMBERED = 1000
MOST_WAITING = 16
"""Passwords that may wait for bcrypt; one more is turned away."""


class AdminsError(Exception):
    """The admins file can't be used. The message says why, and shows no hash."""


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


def read_admins(path: Path) -> dict[str, bytes]:
    """Names and hashes of an admins file; empty lines and lines that begin with # are skipped.

    :raises AdminsError: it can't be read, others may write to it, or a line is no ``NAME:HASH``.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid not in (0, os.geteuid()):
                raise AdminsError("it belongs neither to root nor to the user that warmside runs as")
            if writable_by_others(status):
                raise AdminsError(f"others than its owner may write to it: chmod go-w {path}")
            text = file.read(MOST_FILE + 1).decode()
    except OSError as error:
        raise AdminsError(f"it can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise AdminsError("it is not UTF-8") from None
    if len(text) > MOST_FILE:
        raise AdminsError("it is far too long")
    admins: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, colon, hashed = line.partition(":")
        if not name or not colon or not HASH.fullmatch(hashed):
            raise AdminsError(f"line {number} is not NAME:HASH with a bcrypt hash of cost 4 to 16")
        if name in admins:
            raise AdminsError(f"line {number} has a name that was there before")
        admins[name] = hashed.encode("ascii")
    if not admins:
        raise AdminsError("there is nobody in it: `warmside hash-password NAME` prints a line for it")
    return admins


class AdminsFile:
    """The admins of a file, which is read again when it changes; a broken new content changes nothing.

    :raises AdminsError: the file is broken now.
    """

    log = Logger()

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._stamp()
        self._admins = read_admins(path)

    def hash_of(self, name: str) -> tuple[bytes, bool]:
        """The hash of an admin's password, and ``True``.

        For a name that nobody has, some admin's hash and ``False``: it takes as long to check.
        """
        if self._stamp() != self._seen:
            self.reload()
        hashed = self._admins.get(name)
        return (next(iter(self._admins.values())), False) if hashed is None else (hashed, True)

    def reload(self) -> None:
        """Read the file again."""
        self._seen = self._stamp()
        try:
            self._admins = read_admins(self._path)
            self.log.info("{path}: read again, {count} admins", path=str(self._path), count=len(self._admins))
        except AdminsError as error:
            self.log.error("{path}: {reason}; its old content stays in force", path=str(self._path), reason=str(error))

    def _stamp(self) -> tuple[int, ...]:
        try:
            status = self._path.stat()
        except OSError:
            return ()
        return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode, status.st_uid)


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
        if self._waiting >= MOST_WAITING:
            raise Overloaded
        self._waiting += 1
        result: Deferred[bool] = Deferred(lambda _: None)
        fits = len(password) <= MOST_PASSWORD

        def work() -> None:
            try:
                right = bcrypt.checkpw(password[:MOST_PASSWORD], hashed)
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


@implementer(ICredentialsChecker)
class FileChecker:
    """Cred's checker over an `AdminsFile`."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, admins: AdminsFile, bcrypt_pool: Bcrypt) -> None:
        self._admins = admins
        self._bcrypt = bcrypt_pool
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()

    def requestAvatarId(self, credentials: Any) -> "Deferred[bytes | tuple[()]]":
        """See `ICredentialsChecker`."""
        return Deferred.fromCoroutine(self._check(credentials.username, credentials.password))

    async def _check(self, username: bytes, password: bytes) -> bytes | tuple[()]:
        if has_prefix(password):
            raise UnauthorizedLogin  # one-time passwords are never an admin's, whatever the file says
        hashed, known = self._admins.hash_of(username.decode("utf-8", "replace"))
        remembered = self._digest(username, password, hashed)
        if remembered in self._right:
            self._right.move_to_end(remembered)
            return username
        right = await self._bcrypt.check(password, hashed)
        if not (right and known):
            raise UnauthorizedLogin
        self._right[remembered] = None
        while len(self._right) > MOST_REMEMBERED:
            self._right.popitem(last=False)
        return username

    def _digest(self, username: bytes, password: bytes, hashed: bytes) -> bytes:
        """Keyed, and with the hash in it, so that a changed hash forgets the old password."""
        digest = hashlib.blake2b(key=self._key)
        for part in (username, password, hashed):
            digest.update(len(part).to_bytes(4, "big") + part)
        return digest.digest()


def _lower_priority() -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
    except OSError:
        pass
