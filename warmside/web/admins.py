"""Authenticate admins: a file of ``NAME:HASH`` lines, and accounts of ejabberd, behind Twisted Cred."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from twisted.cred.credentials import IUsernamePassword
from twisted.cred.portal import IRealm
from zope.interface import Interface, implementer

from warmside.config.reloading import FileRefused, ReloadingFile, read_guarded
from warmside.jids import InvalidJID, prepare
from warmside.web.hashing import DUMMY_HASH

HASH = re.compile(r"\$2[abxy]\$(0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}")
MAX_FILE = 1 << 20
"""Bytes of an admins file."""


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
