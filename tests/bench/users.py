"""Measure what it costs to announce users: ``POST /users`` with 1,000 JIDs a call, and ``warmside announce``.

    .venv/bin/python -m tests.bench.users [--users N]

Four kinds of names are announced: plain, with capitals, with letters beyond ASCII, and all plain ones again. The exit
status is 1 if 100,000 plain users take more than 3 s of CPU time, in warmside or in the command.
"""

import argparse
import http.client
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.processes import cpu_milliseconds
from tests.real.parts import WARMSIDE, Server, basic

CALL = 1000
LIMIT = 3.0
"""Seconds of CPU time for 100,000 users."""
KINDS: dict[str, Callable[[int], str]] = {
    "plain": lambda number: f"user{number}@example.org",
    "capitals": lambda number: f"Some.User{number}@Example.org",
    "beyond ASCII": lambda number: f"J\xfcrgen{number}@example.org",
    "plain again": lambda number: f"user{number}@example.org",
}


def announce(server: Server, jids: list[str]) -> tuple[float, list[float]]:
    """Announce users; return the CPU seconds of warmside and the milliseconds of each call."""
    headers = {"Authorization": basic(), "Accept": "application/json", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    programs = server.programs()
    before = cpu_milliseconds(programs)
    milliseconds: list[float] = []
    for start in range(0, len(jids), CALL):
        body = json.dumps({"jids": jids[start : start + CALL]})
        began = time.perf_counter()
        connection.request("POST", "/users", body, headers)
        response = connection.getresponse()
        reply = response.read()
        milliseconds.append((time.perf_counter() - began) * 1000)
        assert response.status == 200, reply
    connection.close()
    return (cpu_milliseconds(programs) - before) / 1000, milliseconds


def main() -> int:
    """Measure; return 1 if plain users take too much time."""
    parser = argparse.ArgumentParser(description="Measure the announcement of users.")
    parser.add_argument("--users", type=int, default=100_000)
    users: int = parser.parse_args().users
    plain: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder)).start()
        try:
            for kind, name in KINDS.items():
                cpu, calls = announce(server, [name(number) for number in range(users)])
                worst, median = max(calls), statistics.median(calls)
                print(f"POST /users, {kind:12}: {cpu:.2f} s of CPU; a call {median:.1f} ms, at most {worst:.1f} ms")
                if kind == "plain":
                    plain.append(cpu)
            text = "".join(f"other{number}@example.org\n" for number in range(users))
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            command: list[str | Path] = [WARMSIDE, "announce", "--config", server.toml]
            done = subprocess.run(command, input=text, capture_output=True, text=True, env=server.environ, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            plain.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            print(f"warmside announce       : {plain[-1]:.2f} s of CPU; {done.stdout.strip()}")
        finally:
            server.stop()
    limit = LIMIT * users / 100_000
    return 1 if max(plain) > limit else 0


if __name__ == "__main__":
    sys.exit(main())
