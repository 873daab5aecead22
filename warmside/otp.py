"""Format of a one-time password: a prefix and 256 bits from the operating system."""

import hashlib
import secrets
from dataclasses import dataclass, field

PREFIX = "warmside-otp-"
"""Start of every one-time password. A password with this prefix is never treated as another kind of password."""

BITS = 256


def has_prefix(password: bytes) -> bool:
    """Return True if a password (UTF-8) has the prefix of one-time passwords."""
    return password.startswith(PREFIX.encode())


def digest(password: bytes) -> bytes:
    """Return the SHA-256 digest under which stores keep a password. 256 random bits need no salt."""
    return hashlib.sha256(password).digest()


@dataclass(frozen=True, slots=True)
class OneTimePassword:
    """A one-time password. Its ``repr`` does not contain the text."""

    text: str = field(repr=False)

    @classmethod
    def mint(cls) -> "OneTimePassword":
        """Create a random password: printable ASCII without a colon."""
        return cls(PREFIX + secrets.token_urlsafe(BITS // 8))

    @property
    def digest(self) -> bytes:
        """The SHA-256 digest, see `digest`."""
        return digest(self.text.encode("ascii"))
