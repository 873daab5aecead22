"""Read an admin's password from the terminal, and make a line for the admins file."""

import getpass
import sys

import bcrypt

from warmside.otp import has_prefix
from warmside.web.hashing import MAX_PASSWORD

MAX_LINE = 4096
"""Bytes that are read from a pipe."""


class PasswordRefused(ValueError):
    """The password, or the name, can't be an admin's. The message never shows the password."""


def read_password() -> str:
    """Return a password from the terminal, typed twice, or the one line of a piped stdin.

    :raises PasswordRefused: the two passwords differ, or stdin is missing or not UTF-8.
    """
    if sys.stdin is not None and sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            raise PasswordRefused("the two passwords differ: start again")
        return password
    if sys.stdin is None:
        raise PasswordRefused("stdin is closed: run it in a terminal, or pipe the password to it")
    try:
        return sys.stdin.buffer.read(MAX_LINE).decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise PasswordRefused("the password is not UTF-8") from None


def hash_line(password: str, name: str | None) -> str:
    """Return the bcrypt hash of a password, or the line ``NAME:HASH`` if there is a name.

    :raises PasswordRefused: the password is empty, has over 72 bytes, a control character, or the prefix of a
        one-time password. Or the name is empty, has a colon, a control character, or # or space at an end.
    """
    encoded = password.encode("utf-8", "surrogateescape")
    if not encoded:
        raise PasswordRefused("the password is empty")
    if len(encoded) > MAX_PASSWORD:
        raise PasswordRefused(f"the password has {len(encoded)} bytes; bcrypt uses at most {MAX_PASSWORD} bytes")
    if not password.isprintable():
        raise PasswordRefused("the password has a control character or more than one line")
    if has_prefix(encoded):
        raise PasswordRefused("the password has the prefix of a one-time password, and would never be accepted")
    if name is not None and (
        not name or ":" in name or name != name.strip() or not name.isprintable() or name.startswith("#")
    ):
        raise PasswordRefused(
            "the name is empty, has a colon or a control character, or begins or ends with # or space"
        )
    hashed = bcrypt.hashpw(encoded, bcrypt.gensalt()).decode("ascii")
    return f"{name}:{hashed}" if name is not None else hashed
