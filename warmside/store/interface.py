"""The interface behind which stores of one-time passwords stand."""

import enum
from typing import Protocol

from twisted.internet.defer import Deferred

from warmside.otp import OneTimePassword


class StoreError(Exception):
    """The store can't be reached or is broken. The message says what was seen and holds no password."""


class RevocationStatus(enum.Enum):
    """What became of a password before it was revoked."""

    GONE = "gone"
    """It had been redeemed, or had expired and been swept away."""
    UNASKED = "unasked"
    """It was still valid, and nobody had asked for it."""
    ASKED = "asked"
    """It was still there, and somebody had asked for it in vain: for another JID, or too late."""


class IStore(Protocol):
    """A store of one-time passwords, shared by all processes that were given the same one.

    Every method may raise `StoreError`. JIDs are bare and prepared; times are in seconds.
    """

    async def mint(self, bare: str, lifetime: float) -> OneTimePassword:
        """Make a password for one bare JID that is valid once within ``lifetime``."""

    def redeem(self, bare: str, password: bytes) -> "bool | Deferred[bool]":
        """Say whether the password is valid for this JID, and make it invalid in the same step.

        Asked for another JID it is neither valid nor used up. ejabberd waits for this: a store that
        can say it at once does, since a Deferred would cost more than the looking up.
        """

    async def revoke(self, password: OneTimePassword) -> RevocationStatus:
        """Make a password invalid, whatever became of it, and say what had become of it."""

    async def revoke_all(self, bare: str) -> int:
        """Make all passwords of a JID invalid; returns how many there were."""

    async def sweep(self) -> int:
        """Remove what has expired; returns how many there were."""

    async def close(self) -> None:
        """Let go of the store. What is in it stays."""
