"""Measure how the cost of ``POST /warm`` grows, and check that nothing grows faster than its input.

    .venv/bin/python -m tests.bench.growth [--warms N] [--logins N] [--only GROUP…] [--json FILE]

Each group of rows has one input that grows: known users, stored passwords, hosts, open sessions, contacts of a roster,
callers at once, warms since the start. A group fails if median latency, CPU time of warmside or memory of its largest
process grows by a larger factor than the input, or if memory grows with the number of warms. The exit status is 1 then.
CPU times are scaled with a calibration loop, see `tests.bench.processes`.
"""

import argparse
import json
import secrets
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tests.bench.logins import WARM, Phase, Session, Warm, Way, end, measure
from tests.bench.processes import calibrate, megabytes
from tests.bench.tables import table
from tests.bench.users import announce
from tests.bench.warm import start
from tests.real.parts import Server

NOISE = 1.1
"""Factor by which a cost may be above the factor of its input."""
FLAT = 1.05
"""Factor by which memory may grow from a tenth of the warms to all."""
HOSTS = 200
GROUPS = ("warms", "known_users", "passwords", "sessions", "rosters", "callers", "hosts")
COSTS = ("p50", "cpu", "memory")
"""Members of `Row` that are compared with the input."""
SURVIVING = ("  mod_bosh: {}\n", "  mod_bosh:\n    max_inactivity: 600\n")
"""Replacement in ``etc/ejabberd.yml``: sessions that no browser attaches to survive a whole measurement."""


@dataclass
class Row:
    """Cost of a warm for one size of an input.

    :param what: the input.
    :param size: how large it is.
    :param p50: milliseconds, as ``longest``.
    :param cpu: scaled CPU milliseconds of warmside.
    :param memory: megabytes of warmside's largest process.
    :param rejected: logins that were answered 503.
    """

    what: str
    size: int
    p50: float
    longest: float
    rate: float
    cpu: float
    memory: float
    rejected: int


def row(server: Server, what: str, size: int, phase: Phase, calibration: float) -> Row:
    """Return the row of a phase."""
    cpu, memory = phase.warmside / calibration, megabytes(server.programs())
    figures = (phase.percentile(50), max(phase.milliseconds), phase.rate, cpu, memory, phase.rejected)
    return Row(what, size, *figures)


class Growth:
    """The groups of rows that one server with one host yields.

    :param logins: number of warms for each row.
    :param warms: number of warms until the last row of `warms`.
    """

    def __init__(self, server: Server, logins: int, warms: int = 0) -> None:
        self.server = server
        self.warms_in_all = warms
        self.logins = logins
        self.users = [f"user{number}" for number in range(logins)]

    def measured(self, what: str, size: int, way: Way = WARM, at_once: int = 1, users: list[str] | None = None) -> Row:
        """Measure a row."""
        calibration = calibrate()
        phase = measure(self.server, way, at_once, users or self.users)
        return row(self.server, what, size, phase, (calibration + calibrate()) / 2)

    def known_users(self) -> Iterator[Row]:
        """Users that were announced; the warmed ones are spread over all of them."""
        known = 0
        for size in (500, 100_000):
            announce(self.server, [f"known{number}@example.org" for number in range(known, size)])
            known = size
            users = [f"known{number * size // self.logins}" for number in range(self.logins)]
            yield self.measured("known users", size, users=users)

    def passwords(self) -> Iterator[Row]:
        """One-time passwords that are stored: valid ones, then expired ones that are removed meanwhile."""
        for size in (500, 100_000):
            self._store(size, time.time() + 600)
            yield self.measured("stored passwords", size)
            self._remove()
        for size in (500, 100_000):
            self._store(size, time.time() - 1)
            seen: list[Phase] = []
            while self._stored() or not seen:
                seen.append(measure(self.server, WARM, 1, self.users[:50]))
            every = Phase(WARM.name, 1)
            every.milliseconds = [each for phase in seen for each in phase.milliseconds]
            every.seconds = sum(phase.seconds for phase in seen)
            every.warmside = sum(phase.warmside for phase in seen) / len(seen)
            yield row(self.server, "expired passwords", size, every, calibrate())

    def sessions(self) -> Iterator[Row]:
        """Sessions that are open in ejabberd."""
        yield self.measured("open sessions", 1)
        kept: list[Session] = []
        opened = [f"open{number}" for number in range(5000)]
        measure(self.server, WARM, 8, opened, kept=kept)
        yield self.measured("open sessions", len(kept))
        end(self.server, kept, WARM.host)

    def rosters(self) -> Iterator[Row]:
        """Contacts of the user, with ``fetch=roster``."""
        way = Way("warm", partial(Warm, fetch="roster"))
        for size in (0, 100, 1000):
            for number in range(size):
                contact = {"user": f"contact{number}", "server": "example.org", "nick": f"Contact {number}"}
                local = {"localuser": f"roster{size}", "localserver": "example.org"}
                self.server.command("add_rosteritem", **local, **contact, group="Verona", subs="both")
            yield self.measured("contacts", size, way, users=[f"roster{size}"] * (self.logins // 2))

    def callers(self) -> Iterator[Row]:
        """Callers at once. Each makes one warm after the other."""
        for size in (1, 2, 8, 32, 128, 512):
            users = [f"user{number}" for number in range(max(self.logins, 3 * size))]
            yield self.measured("callers at once", size, at_once=size, users=users)

    def warms(self) -> Iterator[Row]:
        """Warms since the start: a tenth of them, then all."""
        done = 0
        for size in (self.warms_in_all // 10, self.warms_in_all):
            while done < size:
                portion = min(1000, size - done)
                measure(self.server, WARM, 8, [f"user{number}" for number in range(portion)])
                done += portion
            yield self.measured("warms", size)

    def _store(self, number: int, expires: float) -> None:
        rows = [(secrets.token_bytes(32), "stored@example.org", expires) for _ in range(number)]
        self._execute(
            lambda base: base.executemany("INSERT INTO passwords (digest, jid, expires) VALUES (?, ?, ?)", rows)
        )

    def _remove(self) -> None:
        self._execute(lambda base: base.execute("DELETE FROM passwords WHERE jid = 'stored@example.org'"))

    def _stored(self) -> int:
        query = "SELECT count(*) FROM passwords WHERE jid = 'stored@example.org'"
        return int(self._execute(lambda base: base.execute(query)).fetchone()[0])

    def _execute(self, run: Callable[[sqlite3.Connection], sqlite3.Cursor]) -> sqlite3.Cursor:
        base = sqlite3.connect(self.server.store, timeout=30)
        with base:
            return run(base)


def hosts(server: Server, logins: int) -> Iterator[Row]:
    """Yield the rows of a server with many hosts, of which some are in use.

    Each warm is of the next host. The replay probes of the hosts were made before.
    """
    growth, way = Growth(server, logins), Way("warm", Warm, host_name(0))
    for size in (2, HOSTS):
        measure(server, way, 1, [f"user@{host_name(number)}" for number in range(size)])
        users = [f"user{number}@{host_name(number % size)}" for number in range(logins)]
        yield growth.measured("hosts in use", size, way, users=users)


def host_name(number: int) -> str:
    """Return the name of a host."""
    return f"host{number}.example.org"


def grown(rows: list[Row]) -> list[str]:
    """Return a sentence for each cost that grows by a larger factor than its input, in its group of rows."""
    faults, base = [], rows[0]
    for each in rows:
        if each.what != base.what or not base.size:
            base = each
        factor = each.size / base.size if base.size else 1.0
        for name in COSTS:
            cost = getattr(each, name) / getattr(base, name)
            flat = (each.what, name) == ("warms", "memory")
            if cost > (FLAT if flat else factor * NOISE):
                faults.append(
                    f"{each.what}: {name} grows x {cost:.2f} from {base.size:,} to {each.size:,}, which is x {factor:g}"
                )
    return faults


def report(rows: list[Row]) -> str:
    """Return the table. The factors compare with the group's first row whose input is not 0."""
    cells, base = [], rows[0]
    for each in rows:
        if each.what != base.what or not base.size:
            base = each
        factors = [f"{getattr(each, name) / getattr(base, name):.2f}" for name in COSTS]
        cells.append(
            [
                each.what,
                f"{each.size:,}" + (f" ({each.rejected} x 503)" if each.rejected else ""),
                f"{each.size / base.size:g}" if base.size else "",
                f"{each.p50:.2f}",
                f"{each.longest:.1f}",
                f"{each.rate:.0f}",
                f"{each.cpu:.2f}",
                f"{each.memory:.0f}",
                " / ".join(factors) if base.size else "",
            ]
        )
    header = ["input", "size", "x", "p50 ms", "longest ms", "warms/s", "CPU ms", "memory MB", "x p50 / CPU / memory"]
    return table(header, cells)


def groups(logins: int, warms: int, only: list[str]) -> Iterator[Row]:
    """Start the servers and yield the rows of all groups, or of some."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = start(Path(folder), SURVIVING)
        try:
            growth = Growth(server, logins, warms)
            measure(server, WARM, 8, growth.users)
            for name in only or GROUPS:
                if name != "hosts":
                    yield from getattr(growth, name)()
        finally:
            server.stop()
    if not only or "hosts" in only:
        lines = "hosts:\n" + "".join(f"  - {host_name(number)}\n" for number in range(HOSTS))
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            server = start(Path(folder), ("hosts:\n  - example.org\n", lines))
            try:
                yield from hosts(server, logins)
            finally:
                server.stop()


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; return 1 if a cost grows faster than its input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--warms", type=int, default=50_000, help="warms until memory is measured (default: 50000)")
    parser.add_argument("--logins", type=int, default=400, help="warms for each row (default: 400)")
    parser.add_argument("--only", nargs="+", default=[], choices=GROUPS, help="only these groups")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows to this file")
    parsed = parser.parse_args(arguments)
    rows = []
    for each in groups(parsed.logins, parsed.warms, parsed.only):
        print(f"{each.what} {each.size}: {each.p50:.2f} ms", file=sys.stderr, flush=True)
        rows.append(each)
    if parsed.json is not None:
        parsed.json.write_text(json.dumps([asdict(each) for each in rows], indent=1) + "\n")
    faults = grown(rows)
    print(report(rows), "\n".join(faults) or "Nothing grows faster than its input.", sep="\n\n")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
