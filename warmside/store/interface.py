"""Protocols of the stores that processes share.

They hold one-time passwords, failure counters, known users, ended sessions and verdicts on hosts.
`warmside.store.sqlite`, `warmside.store.ends` and `warmside.store.verdicts` implement them for one machine,
`warmside.store.redispasswords`, `warmside.store.rediscounters` and `warmside.store.redisends` for several. Every method
may raise `StoreError`. JIDs are prepared, and bare if nothing else is said; times and durations are in seconds.
"""

import enum
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from warmside.otp import OneTimePassword

UNLIMITED = 1 << 30
"""As ``limit`` of `FailureCounters.add`: count without a limit."""


class StoreError(Exception):
    """A store is unreachable, broken or unusable. The message names the cause and contains no password."""


class UsersNotKept(Exception):
    """Users can't be announced, because they exist elsewhere. The message names the setting."""


class RevocationStatus(enum.Enum):
    """State of a one-time password at the time of its revocation."""

    GONE = "gone"
    """Redeemed or revoked before, or expired and removed."""
    UNASKED = "unasked"
    """Still stored; no request tried to redeem it."""
    ASKED = "asked"
    """Still stored; at least one request to redeem it was rejected (other JID, or expired)."""
    ELSEWHERE = "elsewhere"
    """Still stored; the request to redeem it was sent to another machine."""

    @property
    def not_asked(self) -> bool:
        """True if no request to redeem it was sent to this machine."""
        return self in (RevocationStatus.UNASKED, RevocationStatus.ELSEWHERE)


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
    """Users that exist according to warmside (``extauth.users``).

    ejabberd waits for `exists`, so it returns at once. `announce` and `forget` may wait for a server that several
    machines share. Later calls of `exists`, in all processes, then have the new result.
    """

    def exists(self, bare: str) -> bool:
        """Return True if the user exists."""

    def remember(self, bare: str) -> None:
        """Add a user, because a session or a credential was created for this JID. It waits for no server."""

    async def announce(self, bares: Collection[str]) -> int:
        """Add users in one transaction: all of them or, after an error, none. Return how many were new.

        :raises UsersNotKept: users are not stored here.
        """

    async def forget(self, *bares: str) -> bool:
        """Remove users in one transaction. Return True if one of them was stored."""

    def check(self, bare: str) -> None:
        """Add and remove a user that does not exist, in one atomic step.

        :raises StoreError: the user can't be added.
        """

    def close(self) -> None:
        """Close the connection to the store. Its content stays."""


class SessionEnds(Protocol):
    """Users and sessions that were ended, so that a login that began before is not handed out.

    Only one call at a time ends a user's sessions: otherwise two calls would end each other's logins. A lease expires
    by itself.
    """

    def now(self) -> float:
        """Return the time in seconds of the clock that all processes share (the system's monotonic clock)."""

    async def begin(self, bare: str, lease: str, seconds: float) -> bool:
        """Take the lease of a user in one atomic step. Return False if another call holds it.

        :param lease: a random text.
        :param seconds: time after which the lease expires; at most 300.
        """

    async def release(self, bare: str, lease: str) -> None:
        """End a lease; do nothing if it is not held."""

    async def mark(self, jid: str) -> None:
        """Mark a bare JID, for all sessions of the user, or a full JID as ended now."""

    async def ended_since(self, began: float, *jids: str) -> bool:
        """Return True if one of these JIDs was marked at this time or later.

        :param began: seconds of the clock `now`.
        """

    async def sweep(self) -> None:
        """Remove marks that are older than any login in progress, and expired leases."""

    def close(self) -> None:
        """Close the connection to the store. Its content stays."""


class HostState(enum.Enum):
    """Result of a host's replay probe."""

    SAFE = "safe"
    """A used one-time password and a random password were rejected."""
    CACHING = "caching"
    """Unsafe: ejabberd accepted a used one-time password, because its authentication cache is on."""
    ANONYMOUS = "anonymous"
    """Unsafe: ejabberd accepted a random password, because anonymous logins are on."""
    REFUSED = "refused"
    """Not determined: ejabberd rejected the fresh one-time password. The next probe waits for the back-off."""

    @property
    def unsafe(self) -> bool:
        """True if ejabberd accepted a password that it has to reject."""
        return self in (HostState.CACHING, HostState.ANONYMOUS)


@dataclass(frozen=True, slots=True)
class HostVerdict:
    """Verdict on a host.

    :param state: the result of the probe.
    :param probed_at: start of the probe, in seconds of the store's clock.
    :param valid_until: end of the verdict or of the back-off, in seconds of the store's clock.
    :param failures: probes in a row whose first login was rejected.
    :param facts: for `HostState.REFUSED`: the error, as text that its writer can read.
    """

    state: HostState
    probed_at: float
    valid_until: float
    failures: int = 0
    facts: str = ""


class VerdictStore(Protocol):
    """Verdicts on hosts, shared by the processes of one machine, and the right to probe a host.

    A process probes a host only while it holds the host's lease, a random text. A lease expires by itself.
    Dropping a verdict ends the lease, too, so that the result of a probe in progress is not recorded.
    """

    def now(self) -> float:
        """Return the time in seconds of the clock that all processes share."""

    def get(self, host: str) -> HostVerdict | None:
        """Return the last verdict on a host, also an expired one; ``None`` without one."""

    def begin(self, host: str, lease: str, seconds: float) -> bool:
        """Take the lease of a host in one atomic step. Return False if another process holds it."""

    def extend(self, host: str, lease: str, seconds: float) -> bool:
        """Extend a lease. Return False if it was dropped or taken over."""

    def record(self, host: str, lease: str, verdict: HostVerdict) -> bool:
        """Record a verdict and end the lease. Return False, and record nothing, if the lease was lost."""

    def release(self, host: str, lease: str) -> None:
        """End a lease without a verdict. A valid `HostState.SAFE` stays; any other verdict is removed."""

    def drop(self, host: str | None = None) -> None:
        """Remove the verdict and the lease of all hosts, or of one host. The latter leaves a `HostState.REFUSED`."""

    def end_back_off(self, host: str) -> None:
        """Remove a verdict of `HostState.REFUSED`."""

    def unsafe(self) -> list[str]:
        """Return the unsafe hosts, sorted by name."""

    def probed_before(self, time: float) -> dict[str, HostVerdict]:
        """Return the verdicts `HostState.SAFE` and unsafe ones whose probe started by then, and no lease is held."""

    def sweep(self) -> None:
        """Remove verdicts that are of no use any more."""

    def close(self) -> None:
        """Close the connection to the store. Its content stays."""
