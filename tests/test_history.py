"""The checker of tests/bench/history.py rejects histories that break a promise, and accepts sound ones."""

import pytest

from tests.bench.history import History, Kind, Operation, Period, Result, check, recovered_after

OK, REFUSED, UNKNOWN = Result.OK, Result.REFUSED, Result.UNKNOWN
PERIOD = Period(100.0, 110.0)
"""A fault from 100 s to 110 s: everything succeeds from 115 s on."""
USER = "juliet@example.org"


def operation(
    kind: Kind, began: float, seconds: float = 0.01, result: Result = OK, node: int = 1, password: int = 0
) -> Operation:
    """Return an operation of one user."""
    return Operation(kind, node, began, began + seconds, result, USER, password)


def pair(number: int, at: float) -> list[Operation]:
    """Return a credential of node 1 and its login at node 2."""
    return [
        operation(Kind.MINT, at, password=number),
        operation(Kind.LOGIN, at + 0.1, node=2, password=number),
    ]


def quiet() -> list[Operation]:
    """Return what a sound run has: warms all the time, and credentials before and after the fault."""
    warms = [operation(Kind.WARM, float(second), node=second % 2 + 1) for second in range(90, 130)]
    return [*warms, *pair(1, 95.0), *pair(2, 120.0)]


def faults(*more: Operation, period: Period = PERIOD) -> list[str]:
    """Check a sound history with further operations."""
    return check(History([*quiet(), *more]), period)


def test_accepts_a_sound_history() -> None:
    assert faults() == []


def test_rejects_a_double_accept() -> None:
    again = operation(Kind.LOGIN, 121.0, node=1, password=2)
    assert faults(again) == ["password 2 was accepted 2 times: node 2 at 120.100, node 1 at 121.000"]


def test_accepts_a_second_login_that_is_refused() -> None:
    assert faults(operation(Kind.LOGIN, 121.0, result=REFUSED, password=2)) == []


def test_accepts_one_accept_beside_a_lost_response() -> None:
    assert faults(operation(Kind.LOGIN, 120.1, result=UNKNOWN, password=2)) == []


def test_accepts_a_password_of_two_logins_whose_winner_the_fault_stopped() -> None:
    minted = operation(Kind.MINT, 99.8, password=3)
    loser, winner = (operation(Kind.LOGIN, 99.9, seconds, REFUSED, password=3) for seconds in (0.05, 1.2))
    assert faults(minted, loser, winner) == []


@pytest.mark.parametrize("result", [REFUSED, UNKNOWN])
def test_accepts_a_login_that_the_fault_stopped(result: Result) -> None:
    minted = operation(Kind.MINT, 99.9, password=3)
    assert faults(minted, operation(Kind.LOGIN, 101.0, 4.9, result, 2, 3)) == []


def test_rejects_an_accept_after_a_confirmed_revocation() -> None:
    minted = operation(Kind.MINT, 101.0, password=3)
    revoked = operation(Kind.REVOKE, 102.0)
    assert faults(minted, revoked, operation(Kind.LOGIN, 102.02, node=2, password=3)) == [
        "password 3 was accepted at node 2 after its revocation"
    ]


@pytest.mark.parametrize("result", [REFUSED, UNKNOWN])
def test_accepts_an_accept_after_a_revocation_that_was_not_confirmed(result: Result) -> None:
    minted = operation(Kind.MINT, 101.0, password=3)
    revoked = operation(Kind.REVOKE, 102.0, result=result)
    assert faults(minted, revoked, operation(Kind.LOGIN, 102.02, node=2, password=3)) == []


def test_accepts_an_accept_while_the_revocation_is_under_way() -> None:
    minted = operation(Kind.MINT, 101.0, password=3)
    revoked = operation(Kind.REVOKE, 102.0, 0.5)
    assert faults(minted, revoked, operation(Kind.LOGIN, 102.4, 0.3, node=2, password=3)) == []


def test_accepts_a_password_that_was_minted_after_the_revocation() -> None:
    minted = operation(Kind.MINT, 102.2, password=3)
    assert faults(operation(Kind.REVOKE, 102.0), minted, operation(Kind.LOGIN, 102.3, password=3)) == []


@pytest.mark.parametrize(
    ("kind", "seconds"), [(Kind.MINT, 2.0), (Kind.REVOKE, 2.0), (Kind.ANNOUNCE, 2.0), (Kind.LOGIN, 5.0)]
)
def test_rejects_a_failure_that_comes_late(kind: Kind, seconds: float) -> None:
    assert faults(operation(kind, 101.0, seconds - 0.01, REFUSED)) == []
    assert f"{kind.value} at node 1 failed after {seconds + 0.1:.2f} s: " in faults(
        operation(kind, 101.0, seconds + 0.1, REFUSED)
    )


def test_accepts_a_success_that_comes_late() -> None:
    assert faults(operation(Kind.MINT, 101.0, 2.5)) == []


@pytest.mark.parametrize("kind", [Kind.MINT, Kind.REVOKE, Kind.ANNOUNCE])
def test_rejects_a_late_recovery(kind: Kind) -> None:
    assert faults(operation(kind, 114.9, result=REFUSED)) == []
    assert faults(operation(kind, 115.1, result=REFUSED)) == [f"{kind.value} at node 1 failed 5.10 s after the fault: "]


def test_rejects_a_fresh_password_that_is_refused_after_the_recovery() -> None:
    minted = operation(Kind.MINT, 116.0, password=3)
    assert faults(minted, operation(Kind.LOGIN, 116.1, result=REFUSED, node=2, password=3)) == [
        "login at node 2 failed 6.10 s after the fault: "
    ]


def test_accepts_a_revoked_password_that_is_refused_after_the_recovery() -> None:
    minted = operation(Kind.MINT, 116.0, password=3)
    revoked = operation(Kind.REVOKE, 116.1)
    assert faults(minted, revoked, operation(Kind.LOGIN, 116.2, result=REFUSED, node=2, password=3)) == []


def test_accepts_a_password_of_the_fault_that_is_refused_after_the_recovery() -> None:
    minted = operation(Kind.MINT, 101.0, password=3)
    assert faults(minted, operation(Kind.LOGIN, 116.1, result=REFUSED, node=2, password=3)) == []


def test_rejects_a_failure_before_the_fault() -> None:
    assert faults(operation(Kind.MINT, 99.0, result=REFUSED)) == ["/credentials at node 1 failed before the fault: "]


def test_rejects_a_warm_that_fails_during_the_fault() -> None:
    assert faults(operation(Kind.WARM, 105.0, result=REFUSED)) == ["/warm at node 1 failed +5.00 s from the fault: "]


def test_accepts_a_warm_that_fails_at_a_node_that_is_down() -> None:
    down = Period(PERIOD.began, PERIOD.healed, frozenset({1}))
    assert faults(operation(Kind.WARM, 105.0, result=REFUSED), period=down) == []
    assert faults(operation(Kind.WARM, 115.5, result=REFUSED), period=down) == [
        "/warm at node 1 failed +15.50 s from the fault: "
    ]


def test_rejects_warms_that_get_slow() -> None:
    slow = [operation(Kind.WARM, 100 + number / 10, 0.06) for number in range(100)]
    assert faults(*slow) == [
        "p50 of /warm: 60 ms, 6.0 times the quiet 10 ms",
        "p95 of /warm: 60 ms, 6.0 times the quiet 10 ms",
    ]


@pytest.mark.parametrize("kind", [Kind.MINT, Kind.LOGIN])
@pytest.mark.parametrize("when", ["before", "after"])
def test_rejects_a_history_that_proves_nothing(kind: Kind, when: str) -> None:
    operations = [each for each in quiet() if each.kind is not kind or (each.began < 100) != (when == "before")]
    assert f"{kind.value} was not tried {when} the fault" in check(History(operations), PERIOD)


def test_rejects_a_history_without_warms() -> None:
    operations = [each for each in quiet() if each.kind is not Kind.WARM]
    assert check(History(operations), PERIOD) == ["too few /warm to compare: 0 before the fault, 0 behind it"]


def test_rejects_an_announced_user_who_is_unknown() -> None:
    announced = operation(Kind.ANNOUNCE, 105.0)
    assert faults(announced, operation(Kind.LOOKUP, 114.0, result=REFUSED, node=2)) == []
    assert faults(announced, operation(Kind.LOOKUP, 116.0, result=REFUSED, node=2)) == [
        f"{USER} was announced and is unknown at node 2"
    ]


def test_accepts_an_unknown_user_whose_announcement_failed() -> None:
    announced = operation(Kind.ANNOUNCE, 105.0, result=REFUSED)
    assert faults(announced, operation(Kind.LOOKUP, 116.0, result=REFUSED, node=2)) == []


def test_measures_the_recovery() -> None:
    failed = operation(Kind.MINT, 111.0, 1.0, REFUSED)
    history = History([*quiet(), failed, *pair(3, 111.5), *pair(4, 113.0)])
    assert recovered_after(history, PERIOD) == pytest.approx(3.11)
