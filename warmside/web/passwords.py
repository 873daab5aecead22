"""Admins' passwords as people type them: reading one, and the line for the admins file."""

import getpass
import sys

import bcrypt

from warmside.otp import has_prefix
from warmside.web.admins import MAX_PASSWORD


class PasswordRefused(ValueError):
    """The password, or the name, can't be an admin's. The message never shows the password."""


def read_password() -> str:
    """A password from the terminal, typed twice, or the one line of a piped stdin.

    :raises PasswordRefused: the two differ, or stdin has something else than one line of UTF-8.
    """
    if sys.stdin is not None and sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            raise PasswordRefused("the two passwords differ")
        return password
    if sys.stdin is None:
        raise PasswordRefused("there is no stdin to read it from")
    try:
        return sys.stdin.buffer.read(4096).decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise PasswordRefused("the password is not UTF-8") from None


def hash_line(password: str, name: str | None) -> str:
    """The bcrypt hash of a password, or with a name the line ``NAME:HASH``.

    :raises PasswordRefused: the password is empty, over 72 bytes or warmside's own; or the name has a
        colon, a control character or nothing in it.
    """
    encoded = password.encode("utf-8", "surrogateescape")
    if not encoded:
        raise PasswordRefused("the password is empty")
    if len(encoded) > MAX_PASSWORD:
        raise PasswordRefused(f"the password has more than {MAX_PASSWORD} bytes, and bcrypt looks at no more")
    if not password.isprintable():
        raise PasswordRefused("the password has a control character or more than one line")
    if has_prefix(encoded):
        raise PasswordRefused("a password that begins like a one-time password is never an admin's")
    if name is not None and (
        not name or ":" in name or name != name.strip() or not name.isprintable() or name.startswith("#")
    ):
        raise PasswordRefused("a name has no colon, no control character, no # or space at its ends")
    hashed = bcrypt.hashpw(encoded, bcrypt.gensalt()).decode("ascii")
    return f"{name}:{hashed}" if name is not None else hashed
