"""Faults of Redis, the network and the nodes, each under load; a checker reads the history of the clients.

    .venv/bin/python -m tests.bench.faults [--only NAME]... [--unfenced | --get-del | --run-id]

Two ejabberd nodes with a warmside each share one Redis, which each node reaches through a proxy of its own. For each
fault: quiet seconds, the fault, its end, recovery, quiet seconds. The three options start a weakened build, to show
that the checker finds it; see tests/bench/weakened.py. The exit status is 1 if a promise was broken.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.faultworld import BUILDS, FAULTS, Fault, World
from tests.bench.history import (
    RECOVERY_TIME,
    History,
    Kind,
    Operation,
    Period,
    Result,
    check,
    percentile,
    recovered_after,
    warm_times,
)
from tests.bench.load import Load

QUIET_TIME = 6.0
"""Seconds before each fault, and after the recovery."""


def run(world: World, fault: Fault, quiet: float = QUIET_TIME) -> tuple[History, Period]:
    """Run a fault under load; return what the clients saw.

    :param quiet: seconds before the fault and after the recovery.
    """
    world.until_ready()
    load = Load(world.nodes)
    load.start()
    try:
        time.sleep(quiet)
        began = time.monotonic()
        with fault.make(world):
            time.sleep(fault.seconds)
        healed = time.monotonic()
        time.sleep(RECOVERY_TIME + quiet)
    finally:
        load.stop()
    load.look_up()
    return load.history, Period(began, healed, fault.down)


def report(name: str, fault: Fault, history: History, period: Period) -> str:
    """Return the figures of a fault."""
    quiet, during = ([1000 * each for each in times] for times in warm_times(history, period))
    lines = [f"{name}: {(fault.make.__doc__ or '').strip()}"]
    held, recovery = period.healed - period.began, recovered_after(history, period)
    lines.append(f"  held {held:.1f} s; all well {recovery:.2f} s after its end")
    for what, times in (("quiet", quiet), ("from the fault on", during)):
        figures = " ".join(f"p{each} {percentile(times, each):.1f}" for each in (50, 95))
        lines.append(f"  /warm {what}: {len(times)}, {figures} max {max(times):.1f} ms")
    for kind in Kind:
        found = [each for each in history.of(kind) if period.began <= each.ended and each.began < period.well]
        everything = history.of(kind)
        late = [each.seconds for each in found if each.result is not Result.OK and each.began < period.healed]
        slowest = f"; slowest failure {max(late):.2f} s" if late else ""
        lines.append(f"  {kind.value:12} in all {counts(everything)}; from the fault on {counts(found)}{slowest}")
    return "\n".join(lines)


def counts(operations: list[Operation]) -> str:
    """Return how many operations had each result."""
    numbers = {result: sum(each.result is result for each in operations) for result in Result}
    return ", ".join(f"{number} {result.value}" for result, number in numbers.items() if number) or "none"


def main() -> int:
    """Run the faults; print a table for each, and what was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=FAULTS, default=[])
    for build in BUILDS:
        parser.add_argument(f"--{build}", action="store_const", const=build, dest="build")
    options = parser.parse_args()
    broken = 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        world = World(Path(folder), options.build)
        try:
            world.start()
            for name in options.only or FAULTS:
                history, period = run(world, FAULTS[name])
                print(report(name, FAULTS[name], history, period))
                found = check(history, period)
                broken += len(found)
                print(
                    *(f"  BROKEN: {each}" for each in found[:10]),
                    f"  {len(found)} promises broken",
                    sep="\n",
                    flush=True,
                )
        finally:
            world.stop()
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
