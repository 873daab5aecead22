"""History of what clients of two nodes saw while a fault came and went, and the check of the promises.

The model is etcd's robustness test: clients record each operation with its start, its end and its result. A checker
reads the record alone, and accepts a history if some order of the operations keeps every promise. A login without a
response may have been accepted or rejected.
"""

import enum
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

RECOVERY_TIME = 5.0
"""Seconds from the end of a fault until every operation succeeds."""
SLOWDOWN = 4.0
"""Factor within which ``POST /warm`` stays during a fault."""
PROPAGATION_TIME = 1.0
"""Seconds within which an announcement is known at every node."""


class Kind(enum.Enum):
    """Kind of an operation."""

    MINT = "/credentials"
    LOGIN = "login"
    """Login at ejabberd with a password of `MINT`."""
    REVOKE = "/end"
    """``POST /end`` with a bare JID: revokes the user's passwords."""
    WARM = "/warm"
    ANNOUNCE = "/users"
    LOOKUP = "isuser"
    """Request to ejabberd whether a user exists; `Result.REFUSED` means unknown."""


TIMES = {Kind.MINT: 2.0, Kind.REVOKE: 2.0, Kind.ANNOUNCE: 2.0, Kind.LOGIN: 5.0}
"""Seconds within which an operation that fails has to fail."""


class Result(enum.Enum):
    """Result of an operation, as its client saw it."""

    OK = "ok"
    REFUSED = "refused"
    """A response that says: not done."""
    UNKNOWN = "unknown"
    """No response; it may have been done."""


@dataclass
class Operation:
    """One operation.

    :param node: number of the node that was asked.
    :param began: seconds of the monotonic clock, like ``ended``.
    :param user: prepared bare JID.
    :param password: number of the one-time password; 0 without one. Its text is not kept.
    :param detail: HTTP status or condition, for messages.
    """

    kind: Kind
    node: int
    began: float
    ended: float = 0.0
    result: Result = Result.UNKNOWN
    user: str = ""
    password: int = 0
    detail: str = ""

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.ended - self.began


@dataclass(frozen=True)
class Period:
    """Time of a fault.

    :param began: seconds of the monotonic clock, like ``healed``.
    :param down: nodes that the fault stops; their operations may fail until they have recovered.
    """

    began: float
    healed: float
    down: frozenset[int] = frozenset()

    @property
    def well(self) -> float:
        """Time from which every operation has to succeed."""
        return self.healed + RECOVERY_TIME


@dataclass
class History:
    """Operations of several threads."""

    operations: list[Operation] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def operation(self, kind: Kind, node: int, user: str = "", password: int = 0) -> Iterator[Operation]:
        """Record an operation that lasts as long as the block, which sets its result; `Result.UNKNOWN` by default."""
        operation = Operation(kind, node, time.monotonic(), user=user, password=password)
        try:
            yield operation
        finally:
            operation.ended = time.monotonic()
            with self._lock:
                self.operations.append(operation)

    def of(self, *kinds: Kind) -> list[Operation]:
        """Return the operations of these kinds by start."""
        with self._lock:
            found = [each for each in self.operations if each.kind in kinds]
        return sorted(found, key=lambda each: each.began)


def check(history: History, period: Period, percentiles: Sequence[int] = (50, 95)) -> list[str]:
    """Return a sentence for each broken promise.

    :param percentiles: percentiles of the time of ``POST /warm`` that are compared with the quiet time.
    """
    return [
        *double_accepts(history),
        *accepts_after_revocation(history),
        *late_failures(history),
        *warm_faults(history, period, percentiles),
        *unwell(history, period),
        *lost_users(history, period),
    ]


def accepted(history: History) -> dict[int, list[Operation]]:
    """Return the accepted logins of each password."""
    found: dict[int, list[Operation]] = defaultdict(list)
    for login in history.of(Kind.LOGIN):
        if login.result is Result.OK:
            found[login.password].append(login)
    return found


def double_accepts(history: History) -> Iterator[str]:
    """No password is accepted twice, at whatever node."""
    for number, logins in accepted(history).items():
        if len(logins) > 1:
            places = ", ".join(f"node {each.node} at {each.began:.3f}" for each in logins)
            yield f"password {number} was accepted {len(logins)} times: {places}"


def accepts_after_revocation(history: History) -> Iterator[str]:
    """No password is accepted by a login that began after its confirmed revocation.

    A revocation covers the passwords that were handed out before it began.
    """
    minted = {each.password: each for each in history.of(Kind.MINT) if each.result is Result.OK}
    revoked: dict[str, list[Operation]] = defaultdict(list)
    for each in history.of(Kind.REVOKE):
        if each.result is Result.OK:
            revoked[each.user].append(each)
    for number, logins in accepted(history).items():
        mint = minted.get(number)
        for login in logins:
            if mint and any(mint.ended < each.began and each.ended < login.began for each in revoked[mint.user]):
                yield f"password {number} was accepted at node {login.node} after its revocation"


def late_failures(history: History) -> Iterator[str]:
    """An operation that fails does so within its time."""
    for each in history.of(*TIMES):
        if each.result is not Result.OK and each.seconds > TIMES[each.kind]:
            yield f"{each.kind.value} at node {each.node} failed after {each.seconds:.2f} s: {each.detail}"


def warm_times(history: History, period: Period) -> tuple[list[float], list[float]]:
    """Return the seconds of the warms before the fault, and of those during the fault and the recovery."""
    counted = [each for each in history.of(Kind.WARM) if each.node not in period.down]
    quiet = [each.seconds for each in counted if each.ended < period.began]
    during = [each.seconds for each in counted if each.ended >= period.began and each.began < period.well]
    return quiet, during


def warm_faults(history: History, period: Period, percentiles: Sequence[int]) -> Iterator[str]:
    """``POST /warm`` stays 200 within `SLOWDOWN` at each node that the fault does not stop."""
    for each in history.of(Kind.WARM):
        hit = each.node in period.down and each.ended >= period.began and each.began < period.well
        if each.result is not Result.OK and not hit:
            yield f"/warm at node {each.node} failed {each.began - period.began:+.2f} s from the fault: {each.detail}"
    quiet, during = warm_times(history, period)
    if min(len(quiet), len(during)) < 2:
        yield f"too few /warm to compare: {len(quiet)} before the fault, {len(during)} behind it"
        return
    for percent in percentiles:
        before, after = percentile(quiet, percent), percentile(during, percent)
        if after > SLOWDOWN * before:
            quietly = f"{after / before:.1f} times the quiet {before * 1000:.0f} ms"
            yield f"p{percent} of /warm: {after * 1000:.0f} ms, {quietly}"


def percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def sound(history: History, period: Period) -> Iterator[tuple[Operation, bool]]:
    """Yield the operations outside the fault and its recovery, each with True if it had to succeed and did.

    Of the logins with one password one has to be accepted, unless the user's passwords were revoked meanwhile.
    """

    def counts(each: Operation) -> bool:
        return each.ended < period.began or each.began >= period.well

    for each in history.of(Kind.MINT, Kind.REVOKE, Kind.ANNOUNCE):
        if counts(each):
            yield each, each.result is Result.OK
    revocations: dict[str, list[Operation]] = defaultdict(list)
    for each in history.of(Kind.REVOKE):
        revocations[each.user].append(each)
    logins: dict[int, list[Operation]] = defaultdict(list)
    for each in history.of(Kind.LOGIN):
        logins[each.password].append(each)
    for mint in history.of(Kind.MINT):
        tried = logins[mint.password]
        if mint.result is not Result.OK or not tried:
            continue
        first = tried[0]
        if any(each.ended >= mint.began and each.began <= first.ended for each in revocations[mint.user]):
            continue
        quiet = [each.ended for each in tried if each.began < period.began]
        if mint.began >= period.well or max(quiet, default=period.began) < period.began:
            yield first, any(each.result is Result.OK for each in tried)


def unwell(history: History, period: Period) -> Iterator[str]:
    """Everything succeeds before the fault, and from `RECOVERY_TIME` after its end on; both were tried."""
    tried: set[tuple[Kind, bool]] = set()
    for each, succeeded in sound(history, period):
        recovered = each.began >= period.well
        tried.add((each.kind, recovered))
        if not succeeded:
            when = f"{each.began - period.healed:.2f} s after the fault" if recovered else "before the fault"
            yield f"{each.kind.value} at node {each.node} failed {when}: {each.detail}"
    for kind in (Kind.MINT, Kind.LOGIN):
        for recovered in (False, True):
            if (kind, recovered) not in tried:
                yield f"{kind.value} was not tried {'after' if recovered else 'before'} the fault"


def lost_users(history: History, period: Period) -> Iterator[str]:
    """A user whose announcement was confirmed is known at every node once all is well."""
    announced = {each.user: each.ended for each in history.of(Kind.ANNOUNCE) if each.result is Result.OK}
    for each in history.of(Kind.LOOKUP):
        due = max(period.well, announced.get(each.user, float("inf")) + PROPAGATION_TIME)
        if each.began >= due and each.result is Result.REFUSED:
            yield f"{each.user} was announced and is unknown at node {each.node}"


def recovered_after(history: History, period: Period) -> float:
    """Return the seconds from the end of the fault until a password was minted and accepted, and all later ones were.

    Logins that began before the last failed one do not count. Infinite if nothing succeeded any more.
    """
    healed = [
        each for each in history.of(Kind.MINT, Kind.WARM, Kind.REVOKE, Kind.ANNOUNCE) if each.ended >= period.healed
    ]
    failed = [each.ended for each in healed if each.result is not Result.OK]
    since = max(failed, default=period.healed)
    good = [
        min(each.ended for each in logins)
        for number, logins in accepted(history).items()
        if all(each.began >= since for each in logins)
    ]
    return min(good, default=float("inf")) - period.healed


def summary(operations: Iterable[Operation]) -> dict[str, int]:
    """Count operations by result."""
    counted: dict[str, int] = {}
    for each in operations:
        counted[each.result.value] = counted.get(each.result.value, 0) + 1
    return counted
