"""Limits on failed logins, as data.

mod_fail2ban bans an address after 20 failures in a row, and warmside's logins share one address.
The limits stop guesses before ejabberd would ban warmside.
"""

import enum
from dataclasses import dataclass, replace


class TooManyFailures(Exception):
    """Too many logins failed. ``retry_after`` is in seconds, at least 1."""

    def __init__(self, retry_after: float) -> None:
        self.retry_after = max(1, int(retry_after + 0.999))
        super().__init__("too many wrong passwords: retry after the time in Retry-After")


class Kind(enum.Enum):
    """Kinds of passwords that are tried; `RULES` has the limits of each."""

    USER = enum.auto()
    """A user's own password, checked by ejabberd."""
    ACCOUNT_ADMIN = enum.auto()
    """The password of an account in ``admins.accounts``, checked by ejabberd."""
    UNKNOWN_ACCOUNT = enum.auto()
    """A password for a name that has the form of an account admin and is none; ejabberd does not check it."""
    ONE_TIME = enum.auto()
    """A one-time password. It is never limited, but ejabberd counts its rejection."""
    PROBE = enum.auto()
    """A password of a replay probe. It may use the failures between the users' limit and mod_fail2ban's."""
    REPEATED_PROBE = enum.auto()
    """The same, after a probe of that host whose first login was rejected. It leaves failures to the users."""
    ADMIN = enum.auto()
    """The credentials of an HTTP request."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Maximum number of failures that are counted under one key.

    :param key: the key; ``{account}`` and ``{address}`` are replaced by the attempt's.
    :param max_failures: number of failures from which on the limit is reached.
    :param window: seconds without a failure after which all failures are forgotten.
    :param reset_by_success: True if any accepted login resets the count, as it does in mod_fail2ban.
    """

    key: str
    max_failures: int
    window: float
    reset_by_success: bool = False

    def key_for(self, account: str, address: str | None) -> str:
        """Return the key of an attempt. ``own`` stands for warmside's own address."""
        return self.key.format(account=account, address=address or "own")


@dataclass(frozen=True, slots=True)
class AddressLimit:
    """Limit on the rate of rejections of one address. Previously accepted passwords always pass.

    :param limit: failures of the address; counted at the rejection.
    :param max_checks: attempts in progress at a time once the limit is reached.
    :param min_rejection_time: minimum seconds from an attempt to its rejection. Known and unknown names take the same.
    """

    limit: Limit
    max_checks: int
    min_rejection_time: float


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules for one kind of attempt.

    :param purpose: separates accepted passwords of different kinds; if empty, none are remembered.
    :param enforced: counted as a failure before the attempt, which is refused if one of them is reached.
    :param consulted: refuse the attempt if one of them is reached; not counted.
    :param counted: counted at the rejection; refuse nothing.
    :param per_address: limits the rate of rejections of an address.
    :param count_unknown: True if an attempt whose outcome is unknown stays counted as a failure.
    """

    purpose: bytes = b""
    enforced: tuple[Limit, ...] = ()
    consulted: tuple[Limit, ...] = ()
    counted: tuple[Limit, ...] = ()
    per_address: AddressLimit | None = None
    count_unknown: bool = True


ACCOUNT_LIMIT = Limit("jid {account}", 5, 900.0)
UNKNOWN_ACCOUNT_LIMIT = Limit("unknown {account}", ACCOUNT_LIMIT.max_failures, ACCOUNT_LIMIT.window)
"""Has a key of its own: guesses at a name must not lock out the user of this name."""
EJABBERD_LIMIT = Limit("ejabberd", 12, 3600.0, reset_by_success=True)
"""All failures since the last accepted login. mod_fail2ban bans at 20, for an hour."""
EJABBERD_ADDRESS_LIMIT = Limit("ejabberd {address}", 12, 3600.0, reset_by_success=True)
"""The same for the address that is passed on. ejabberd counts for this one if it trusts warmside as a proxy."""
ADMIN_LIMIT = AddressLimit(Limit("admins {address}", 10, 60.0), max_checks=4, min_rejection_time=0.75)

AT_EJABBERD = (EJABBERD_LIMIT, EJABBERD_ADDRESS_LIMIT)
MAX_PROBE_FAILURES, MAX_REPEATED_PROBE_FAILURES = 18, 6
"""Failures from which on probes are refused; they are counted with all others. The users' limit is between them."""
PROBE_LIMITS, REPEATED_PROBE_LIMITS = (
    tuple(replace(limit, max_failures=failures) for limit in AT_EJABBERD)
    for failures in (MAX_PROBE_FAILURES, MAX_REPEATED_PROBE_FAILURES)
)

RULES = {
    Kind.USER: Rules(b"user", enforced=(ACCOUNT_LIMIT, *AT_EJABBERD)),
    Kind.ACCOUNT_ADMIN: Rules(b"user", enforced=(ACCOUNT_LIMIT, *AT_EJABBERD)),
    Kind.UNKNOWN_ACCOUNT: Rules(enforced=(UNKNOWN_ACCOUNT_LIMIT,), consulted=(EJABBERD_LIMIT,)),
    Kind.ONE_TIME: Rules(counted=AT_EJABBERD),
    Kind.PROBE: Rules(enforced=PROBE_LIMITS, count_unknown=False),
    Kind.REPEATED_PROBE: Rules(enforced=REPEATED_PROBE_LIMITS, count_unknown=False),
    Kind.ADMIN: Rules(b"admin", per_address=ADMIN_LIMIT),
}
