"""Measure ``POST /end`` of a user with ten sessions against twenty ``POST /warm``, on one ejabberd in one run.

    .venv/bin/python -m tests.bench.ending [--rounds N]

Each round warms twenty sessions of two users, one call after the other, and then ends both users' sessions with one
call each. The exit status is 1 if ending ten sessions takes as much time, or as much CPU time, as twenty warms.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.logins import WARM, Warm
from tests.bench.processes import cpu_milliseconds
from tests.real.parts import Server

SESSIONS = 10
WARMS = 20
USERS = ("juliet", "romeo")


class Meter:
    """Sums up wall time and CPU time of calls, in milliseconds."""

    def __init__(self, server: Server) -> None:
        self.processes = [*server.programs()], [server.ejabberd.pid]
        self.wall = self.warmside = self.ejabberd = 0.0

    def measure(self, call: Callable[[], None]) -> None:
        """Call a function and add what it costs."""
        before = [cpu_milliseconds(each) for each in self.processes]
        started = time.perf_counter()
        call()
        self.wall += (time.perf_counter() - started) * 1000
        after = [cpu_milliseconds(each) for each in self.processes]
        self.warmside += after[0] - before[0]
        self.ejabberd += after[1] - before[1]

    @property
    def cpu(self) -> float:
        """CPU time of warmside and ejabberd."""
        return self.warmside + self.ejabberd


def warm_all(caller: Warm) -> None:
    """Warm the sessions of both users, one call after the other."""
    for number in range(WARMS):
        caller.log_in(USERS[number % 2], "")


def end(server: Server, user: str) -> None:
    """End the sessions of a user."""
    reply = server.post("/end", jid=f"{user}@example.org")
    assert reply.status == 200 and len(reply.json()["ended"]) == SESSIONS, reply.body


def main() -> int:
    """Measure; return 1 if ending costs as much as warming twice as many sessions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder)).start()
        try:
            caller = Warm(server, WARM.host)
            warm, ended = Meter(server), Meter(server)
            for number in range(rounds + 1):
                if number == 1:  # the first round opens connections, and verifies the admin's password
                    warm, ended = Meter(server), Meter(server)
                warm.measure(lambda: warm_all(caller))
                for user in USERS:
                    ended.measure(lambda user=user: end(server, user))  # type: ignore[misc]
            caller.close()
        finally:
            server.stop()
    print(f"{'':26} {'ms':>8} {'CPU warmside':>13} {'CPU ejabberd':>13}")
    calls = (("20 x POST /warm", warm, rounds), ("POST /end of 10 sessions", ended, rounds * len(USERS)))
    for name, meter, count in calls:
        figures = (meter.wall / count, meter.warmside / count, meter.ejabberd / count)
        print("{:26} {:8.1f} {:10.1f} ms {:10.1f} ms".format(name, *figures))
    wall, cpu = ended.wall / 2 / warm.wall, ended.cpu / 2 / warm.cpu
    print(f"ending 10 sessions takes {wall:.0%} of the time and {cpu:.0%} of the CPU time of 20 warms")
    return int(wall >= 1 or cpu >= 1)


if __name__ == "__main__":
    sys.exit(main())
