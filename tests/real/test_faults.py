"""Two nodes keep their promises while Redis can't be reached and fails over. tests/bench/faults.py has more faults."""

from pathlib import Path

from tests.bench.faults import run
from tests.bench.faultworld import Fault, World, cut_off_and_failed_over
from tests.bench.history import Kind, Result, check


def test_promises_hold_while_the_network_is_cut_and_redis_fails_over(tmp_path: Path) -> None:
    """Each node uses Redis as the user of docs/CLUSTER.md."""
    world = World(tmp_path)
    try:
        world.start()
        history, period = run(world, Fault(cut_off_and_failed_over, 0.5), quiet=2.0)
        denied = world.denied()
    finally:
        world.stop()
    assert check(history, period, percentiles=(50,)) == []
    refused = {each.kind for each in history.operations if each.result is Result.REFUSED and each.ended < period.healed}
    assert refused >= {Kind.MINT, Kind.LOGIN, Kind.REVOKE, Kind.ANNOUNCE}
    assert {each.result for each in history.of(Kind.LOOKUP)} == {Result.OK}
    assert denied == []
