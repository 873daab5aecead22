"""Measure the cost of a warm session: the classic login of five requests against ``POST /warm``, on one ejabberd.

    .venv/bin/python -m tests.bench.warm [--rounds N] [--users N] [--quick] [--prebind FOLDER] [--json FILE] [--assert]

All log the same users in through ejabberd's extauth program, in alternating rounds. The time to end the sessions is not
measured. The classic client is minimal: http.client, one persistent connection, a password of ``POST /credentials``
that was minted before. ``POST /warm`` includes the whole service: HTTP, one-time password, extauth, login. CPU times
are scaled with a calibration loop, see `tests.bench.processes`. A second server counts what one warm needs.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from private_ejabberd import version

from tests.bench.counting import count
from tests.bench.logins import CLASSIC, LIFETIME, WARM, Phase, Prebind, Way, measure
from tests.bench.processes import calibrate
from tests.bench.targets import report, targets
from tests.real.parts import Server, exchanged, until

CONCURRENCIES = (1, 8, 32)


def start(folder: Path, *yml: tuple[str, str], toml: str = "", listeners: str = "") -> Server:
    """Start an ejabberd with two processes of warmside, which log no logins and whose passwords live long."""
    server = Server(folder, ("loglevel: info", "loglevel: warning"), *yml, toml=toml, listeners=listeners)
    server.toml.write_text(exchanged(server.toml.read_text(), LIFETIME))
    server.start()
    until(lambda: len(server.programs()) == 2)
    return server


class Rounds:
    """Alternating rounds of several ways to log in.

    :param ways: each with the concurrencies at which it is measured.
    """

    def __init__(self, server: Server, ways: dict[Way, tuple[int, ...]], users: list[str]) -> None:
        self.server = server
        self.ways = ways
        self.users = users
        self.calibration: list[float] = []
        self.series: dict[tuple[str, int], dict[str, Any]] = {
            (way.name, at_once): {"way": way.name, "at_once": at_once}
            for at_once in sorted({each for concurrencies in ways.values() for each in concurrencies})
            for way, concurrencies in ways.items()
            if at_once in concurrencies
        }

    def warm_up(self) -> None:
        """Log a fifth of the users in by each way."""
        for way in self.ways:
            measure(self.server, way, 1, self.users[: max(5, len(self.users) // 5)])

    def run(self, *, reverse: bool) -> None:
        """Measure each way once, at each concurrency.

        :param reverse: True to start with the last way.
        """
        by_name = {way.name: way for way in self.ways}
        for at_once in sorted({at_once for _, at_once in self.series}, reverse=reverse):
            names = [name for name, number in self.series if number == at_once]
            for name in reversed(names) if reverse else names:
                before = calibrate()
                phase = measure(self.server, by_name[name], at_once, self.users)
                self._add(phase, mean((before, calibrate())))

    def _add(self, phase: Phase, calibration: float) -> None:
        self.calibration.append(calibration)
        figures = {
            "p50": phase.percentile(50),
            "p99": phase.percentile(99),
            "rate": phase.rate,
            "warmside": phase.warmside / calibration,
            "ejabberd": phase.ejabberd / calibration,
        }
        series = self.series[phase.way, phase.at_once]
        for name, value in figures.items():
            series.setdefault(name, []).append(value)

    def results(self, rounds: int) -> dict[str, Any]:
        """Make a number of rounds, and return their figures."""
        self.warm_up()
        for number in range(rounds):
            self.run(reverse=number % 2 == 1)
        return {
            "rounds": rounds,
            "users": len(self.users),
            "ejabberd": version(),
            "python": platform.python_version(),
            "processors": os.cpu_count(),
            "calibration": self.calibration,
            "series": list(self.series.values()),
        }


def main(arguments: list[str] | None = None) -> int:
    """Run the measurement and print the tables; return 1 with ``--assert`` if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--users", type=int, default=300, help="logins of each way in each round (default: 300)")
    parser.add_argument("--quick", action="store_true", help="10 logins: shows that the benchmark works")
    parser.add_argument("--prebind", type=Path, metavar="FOLDER", help="a checkout of candy-chat/xmpp-prebind-php")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    parser.add_argument("--assert", action="store_true", dest="must", help="exit with 1 if a target is missed")
    parsed = parser.parse_args(arguments)
    number = 10 if parsed.quick else parsed.users
    ways: dict[Way, tuple[int, ...]] = {CLASSIC: CONCURRENCIES, WARM: CONCURRENCIES}
    if parsed.prebind is not None:
        if not (parsed.prebind / "lib/XmppPrebind.php").is_file():
            parser.error(f"--prebind: {parsed.prebind} has no lib/XmppPrebind.php; name a checkout of the library")
        ways[Way("prebind", partial(Prebind, folder=parsed.prebind), minted=True)] = (1,)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = start(Path(folder))
        try:
            users = [f"user{each}" for each in range(number)]
            results = Rounds(server, ways, users).results(parsed.rounds)
        finally:
            server.stop()
    results["counts"] = count(number)
    print(report(results))
    if parsed.json is not None:
        parsed.json.write_text(json.dumps(results, indent=1) + "\n")
    return int(parsed.must and any(each.met is False for each in targets(results)))


if __name__ == "__main__":
    sys.exit(main())
