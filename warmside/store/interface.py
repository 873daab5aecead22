"""Protocols of the stores that processes share: one-time passwords, failure counters, known users.

`warmside.store.sqlite` implements all three. Every method may raise `StoreError`. JIDs are bare and
prepared; times and durations are in seconds.
"""

import enum
from typing import Protocol

from twisted.internet.defer import Deferred

from warmside.otp import OneTimePassword

UNLIMITED = 1 << 30
"""As ``limit`` of `FailureCounters.add`: count without a limit."""


class StoreError(Exception):
    """A store is unreachable, broken or unusable. The message names the cause and contains no password."""


class RevocationStatus(enum.Enum):
    """State of a one-time password at the time of its revocation."""

    GONE = "gone"
    """Redeemed or revoked before, or expired and removed."""
    UNASKED = "unasked"
    """Still stored; no request tried to redeem it."""
    ASKED = "asked"
    """Still stored; at least one request to redeem it was rejected (other JID, or expired)."""


class PasswordStore(Protocol):
    """One-time passwords, each valid once for one JID."""

    async def mint(self, bare: str, lifetime: float) -> OneTimePassword:
        """Create a password that is valid once for this JID and expires after ``lifetime`` seconds."""

    def redeem(self, bare: str, password: bytes) -> "bool | Deferred[bool]":
        """Return True if the password is valid for this JID, and invalidate it in the same atomic step.

        An attempt with another JID is rejected and does not consume the password. ejabberd waits for
        the result: return it without a Deferred where that is possible, since a Deferred is slower.
        """

    async def revoke(self, password: OneTimePassword) -> RevocationStatus:
        """Invalidate a password, and return the state that it had."""

    async def revoke_all(self, bare: str) -> int:
        """Invalidate all passwords of a JID, and return how many were stored."""

    async def sweep(self) -> int:
        """Remove expired passwords, and return how many were removed."""

    async def close(self) -> None:
        """Close the connection to the store. Its content stays."""


class FailureCounters(Protocol):
    """Counters by key. A counter expires when nothing was added to it for the window of its last addition."""

    async def add(self, key: str, limit: int, window: float) -> bool:
        """Increment the counter in one atomic step. Return False if it has reached ``limit`` already.

        A rejected addition changes neither the counter nor the time when it expires.

        :param window: seconds until the counter expires; each accepted addition starts it again.
        """

    async def count(self, key: str) -> tuple[int, float]:
        """Return the counter's value and the seconds until it expires; ``(0, 0.0)`` without a counter."""

    async def take_back(self, key: str) -> None:
        """Decrement the counter, to 0 at least. The time when it expires stays."""

    async def forget(self, *keys: str) -> None:
        """Remove these counters."""

    async def sweep(self) -> None:
        """Remove expired counters."""

    def close(self) -> None:
        """Close the connection to the store. Its content stays."""


class KnownUsers(Protocol):
    """Users that exist according to warmside (``extauth.users``)."""

    def exists(self, bare: str) -> bool:
        """Return True if the user exists."""

    def remember(self, bare: str) -> None:
        """Add a user, because a session or a credential was created for this JID."""

    def forget(self, bare: str) -> bool:
        """Remove a user. Return True if the user was stored."""

    def check(self, bare: str) -> None:
        """Add and remove a user that does not exist, in one atomic step.

        :raises StoreError: the user can't be added.
        """

    def close(self) -> None:
        """Close the connection to the store. Its content stays."""
