"""Limits on failed logins, as data.

mod_fail2ban bans an address after 20 failures in a row, and warmside's logins share one address.
The limits stop guesses before ejabberd would ban warmside: between two accepted logins at most 10 wrong passwords of
users, 4 of account admins and the rejections that warmside's own tests cause reach ejabberd.
"""

import enum
from dataclasses import dataclass, replace


class TooManyFailures(Exception):
    """Too many logins failed. ``retry_after`` is in seconds, at least 1."""

    def __init__(self, retry_after: float) -> None:
        self.retry_after = max(1, int(retry_after + 0.999))
        super().__init__("too many wrong passwords: retry after the time in Retry-After")


class BudgetSpent(TooManyFailures):
    """A budget is used up that any accepted login restores."""


class AttemptsInProgress(TooManyFailures):
    """Attempts without an outcome use up what is left of a budget."""


class Kind(enum.Enum):
    """Kinds of passwords that are tried; `RULES` has the limits of each."""

    USER = enum.auto()
    """A user's own password, checked by ejabberd."""
    ACCOUNT_ADMIN = enum.auto()
    """The password of an account in ``admins.accounts``, checked by ejabberd."""
    ADMIN_JID = enum.auto()
    """A wrong password for an admin's name that has the form of a JID. Counted alike for names that exist and others,
    and whether or not ejabberd answers."""
    ONE_TIME = enum.auto()
    """A one-time password. It is never limited, but ejabberd counts its rejection."""
    PROBE = enum.auto()
    """A password of a replay probe. It may use the failures between the users' limit and mod_fail2ban's."""
    REPEATED_PROBE = enum.auto()
    """The same, after a probe of that host whose first login was rejected. It leaves failures to the users."""
    RESTORING = enum.auto()
    """A one-time password that is tried only to restore the budget of account admins."""
    ADMIN = enum.auto()
    """The credentials of an HTTP request."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Maximum number of failures that are counted under one key.

    :param key: the key; ``{account}`` and ``{address}`` are replaced by the attempt's.
    :param max_failures: number of failures from which on the limit is reached.
    :param window: seconds without a failure after which all failures are forgotten.
    :param reset_by_success: True if any accepted login resets the count, as it does in mod_fail2ban. Attempts in
        progress count as failures then, until they have an outcome.
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

    While an address has several attempts in progress, its rejections leave one by one. However many connections it
    has, it can't begin checks faster, and the queue for checks stays short.

    :param limit: failures of the address; counted at the rejection.
    :param min_rejection_time: minimum seconds from an attempt to its rejection. Known and unknown names take the same.
    :param interval: minimum seconds between two rejections of an address.
    :param max_pending: attempts of one address in progress at a time.
    :param max_pending_in_all: attempts of all addresses in progress, from which on an address may have `min_pending`.
    :param min_pending: see `max_pending_in_all`. Further attempts are checked after those of other addresses.
    """

    limit: Limit
    min_rejection_time: float
    interval: float
    max_pending: int
    max_pending_in_all: int
    min_pending: int


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules for one kind of attempt.

    :param purpose: separates accepted passwords of different kinds; if empty, none are remembered.
    :param enforced: counted as a failure before the attempt, which is refused if one of them is reached.
    :param consulted: refuse the attempt if one of them is reached; not counted.
    :param counted: counted at the rejection; refuse nothing.
    :param restored: reset by a success, in addition to the others that a success resets.
    :param per_address: limits the rate of rejections of an address.
    :param count_unknown: True if an attempt whose outcome is unknown stays counted as a failure.
    """

    purpose: bytes = b""
    enforced: tuple[Limit, ...] = ()
    consulted: tuple[Limit, ...] = ()
    counted: tuple[Limit, ...] = ()
    restored: tuple[Limit, ...] = ()
    per_address: AddressLimit | None = None
    count_unknown: bool = True


ACCOUNT_LIMIT = Limit("jid {account}", 5, 900.0)
ADMIN_JID_LIMIT = Limit("admin {account}", ACCOUNT_LIMIT.max_failures, ACCOUNT_LIMIT.window)
"""Has a key of its own: guesses at a name must not lock out the user of this name."""
EJABBERD_LIMIT = Limit("ejabberd", 10, 3600.0, reset_by_success=True)
"""Failures since the last accepted login, without those of account admins. mod_fail2ban bans at 20, for an hour."""
EJABBERD_ADDRESS_LIMIT = Limit("ejabberd {address}", 10, 3600.0, reset_by_success=True)
"""The same for the address that is passed on. ejabberd counts for this one if it trusts warmside as a proxy."""
EJABBERD_ADMINS_LIMIT = Limit("ejabberd admins {address}", 4, 3600.0, reset_by_success=True)
"""Failures of account admins since the last accepted login of this address. It is always warmside's own."""
RESTORING_LIMIT = Limit("restoring", 1, 3600.0)
"""Rejections of one-time passwords that were to restore the budget of account admins."""
ADMIN_LIMIT = AddressLimit(
    Limit("admins {address}", 10, 60.0),
    min_rejection_time=0.75,
    interval=0.5,
    max_pending=32,
    max_pending_in_all=256,
    min_pending=4,
)

LOCAL_KEYS = ("ejabberd", "restoring")
"""How the keys of counters begin that belong to one machine: its ejabberd counts its own failures and successes."""

AT_EJABBERD = (EJABBERD_LIMIT, EJABBERD_ADDRESS_LIMIT)
MAX_PROBE_FAILURES, MAX_REPEATED_PROBE_FAILURES = 14, 5
"""Failures from which on probes are refused; they are counted with all others. The users' limit is between them."""
PROBE_LIMITS, REPEATED_PROBE_LIMITS = (
    tuple(replace(limit, max_failures=failures) for limit in AT_EJABBERD)
    for failures in (MAX_PROBE_FAILURES, MAX_REPEATED_PROBE_FAILURES)
)

ADMINS_AT_EJABBERD = (EJABBERD_ADMINS_LIMIT,)

RULES = {
    Kind.USER: Rules(b"user", enforced=(ACCOUNT_LIMIT, *AT_EJABBERD), restored=ADMINS_AT_EJABBERD),
    Kind.ACCOUNT_ADMIN: Rules(b"user", enforced=(ACCOUNT_LIMIT, *ADMINS_AT_EJABBERD), restored=AT_EJABBERD),
    Kind.ADMIN_JID: Rules(enforced=(ADMIN_JID_LIMIT,), consulted=ADMINS_AT_EJABBERD),
    Kind.ONE_TIME: Rules(counted=AT_EJABBERD, restored=ADMINS_AT_EJABBERD),
    Kind.RESTORING: Rules(enforced=(RESTORING_LIMIT,), counted=AT_EJABBERD, restored=ADMINS_AT_EJABBERD),
    Kind.PROBE: Rules(enforced=PROBE_LIMITS, restored=ADMINS_AT_EJABBERD, count_unknown=False),
    Kind.REPEATED_PROBE: Rules(enforced=REPEATED_PROBE_LIMITS, restored=ADMINS_AT_EJABBERD, count_unknown=False),
    Kind.ADMIN: Rules(b"admin", per_address=ADMIN_LIMIT),
}
