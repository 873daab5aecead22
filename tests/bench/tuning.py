"""Measure what a user can tune: the socket of ``bosh.url`` and the number of ``bosh.connections``.

    .venv/bin/python -m tests.bench.tuning [--rounds N] [--users N] [--at-once N…] [--json FILE]

One ejabberd has a virtual host and a listener for each setting. The rounds alternate between them.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from private_ejabberd import free_port

from tests.bench.logins import Warm, Way
from tests.bench.tables import spread, table
from tests.bench.targets import ratios
from tests.bench.warm import CONCURRENCIES, Rounds, start

CONNECTIONS = (2, 4, 8, 16, 32)
DEFAULT = "TCP, 8 connections"
UNIX = "unix socket, 8 connections"


def settings(folder: Path) -> dict[str, tuple[str, str, int]]:
    """Return the settings: for each a listener's ``port`` in ejabberd, ``bosh.url``, and ``bosh.connections``."""
    found = {}
    for number in CONNECTIONS:
        port = free_port()
        found[f"TCP, {number} connections"] = (f'{port}\n    ip: "127.0.0.1"', f"http://127.0.0.1:{port}/bosh", number)
    path = folder / "bosh.sock"
    found[UNIX] = (f'"unix:{path}"', f"http+unix://{path}:/bosh", 8)
    return found


def run(rounds: int, users: int, at_once: Sequence[int]) -> dict[str, Any]:
    """Return the figures, as `Rounds.results` does."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        listeners = toml = hosts = ""
        ways: dict[Way, tuple[int, ...]] = {}
        for number, (setting, (port, url, connections)) in enumerate(settings(Path(name)).items()):
            host = f"setting{number}.example.org"
            hosts += f"  - {host}\n"
            listeners += f"  - port: {port}\n    module: ejabberd_http\n    request_handlers:\n      /bosh: mod_bosh\n"
            toml += f'[host."{host}"]\nurl = "{url}"\nconnections = {connections}\n'
            ways[Way(setting, Warm, host)] = tuple(at_once)
        server = start(Path(name), ("hosts:\n", "hosts:\n" + hosts), toml=toml, listeners=listeners)
        try:
            return Rounds(server, ways, [f"user{each}" for each in range(users)]).results(rounds)
        finally:
            server.stop()


def report(results: dict[str, Any]) -> str:
    """Return the table. The last column compares the throughput with that of the default, round by round."""
    by_key = {(each["way"], each["at_once"]): each for each in results["series"]}
    rows = [
        [
            way,
            str(at_once),
            spread(each["p50"]),
            spread(each["rate"], 0),
            f"{median(ratios(each, by_key[DEFAULT, at_once], 'rate')):.2f}",
        ]
        for (way, at_once), each in by_key.items()
    ]
    return table(["setting", "at once", "p50 ms", "warms/s", "x warms/s"], rows)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--users", type=int, default=200, help="warms of each setting in each round (default: 200)")
    parser.add_argument("--at-once", type=int, nargs="+", default=CONCURRENCIES, metavar="N", help="default: 1 8 32")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    parsed = parser.parse_args(arguments)
    results = run(parsed.rounds, parsed.users, parsed.at_once)
    print(report(results))
    if parsed.json is not None:
        parsed.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
