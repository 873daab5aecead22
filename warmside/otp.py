"""What a one-time password is: a prefix and 256 bits from the operating system."""

import hashlib
import secrets
from dataclasses import dataclass, field

PREFIX = "warmside-otp-"
"""What every one-time password begins with; a password that begins so is never anything else."""

BITS = 256


def has_prefix(password: bytes) -> bool:
    """Whether a password, as UTF-8, claims to be a one-time password."""
    return password.startswith(PREFIX.encode())


def digest(password: bytes) -> bytes:
    """The SHA-256 digest under which a store knows a password. With 256 random bits no salt is needed."""
    return hashlib.sha256(password).digest()


@dataclass(frozen=True, slots=True)
class OneTimePassword:
    """A freshly minted one-time password. Its ``repr`` does not show it."""

    text: str = field(repr=False)

    @classmethod
    def mint(cls) -> "OneTimePassword":
        """A new one: printable ASCII without a colon."""
        return cls(PREFIX + secrets.token_urlsafe(BITS // 8))

    @property
    def digest(self) -> bytes:
        """What a store keeps of it."""
        return digest(self.text.encode("ascii"))
