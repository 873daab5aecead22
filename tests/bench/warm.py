"""Measure the cost of a warm session: the classic login of five requests against ``POST /warm``, on one ejabberd.

    .venv/bin/python -m tests.bench.warm [--users N]

Both log the same users in through ejabberd's extauth program. The time to end the sessions is not measured. The
classic client is minimal: http.client, one persistent connection, a password minted before. ``POST /warm`` includes
the whole service: HTTP, one-time password, extauth, login.
"""

import argparse
import http.client
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.real.boshclient import BoshClient
from tests.real.parts import Server, basic, until
from tests.real.test_warm import mint

CONCURRENCIES = (1, 8, 32)
TICK = os.sysconf("SC_CLK_TCK")
LIFETIME = 3000


@dataclass
class Phase:
    """Results of one way to log in, at one concurrency."""

    name: str
    concurrency: int
    milliseconds: list[float]
    seconds: float
    warmside: float
    """CPU milliseconds per login, as in ``ejabberd``."""
    ejabberd: float
    requests: float

    def percentile(self, percent: int) -> float:
        """Return a percentile of the latencies in milliseconds."""
        return statistics.quantiles(self.milliseconds, n=100, method="inclusive")[percent - 1]

    @property
    def rate(self) -> float:
        """Logins per second."""
        return len(self.milliseconds) / self.seconds


class Worker:
    """Caller with connections of its own."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.sessions: list[BoshClient] = []
        self.requests = 0
        self.http = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self.bosh = BoshClient(server.bosh)

    def classic(self, user: str, password: str) -> None:
        """Log in with create, auth, restart, bind, session, and empty requests where needed."""
        before = self.bosh.requests
        jid = self.bosh.log_in(user, password)
        self.requests += self.bosh.requests - before
        self._keep(jid, self.bosh.sid, self.bosh.rid)

    def warm(self, user: str, password: str) -> None:
        """Send one request to warmside."""
        headers = {"Authorization": basic(), "Accept": "application/json", "Content-Type": "application/json"}
        body = json.dumps({"jid": f"{user}@example.org"}).encode()
        self.http.request("POST", "/warm", body, headers)
        response = self.http.getresponse()
        data = response.read()
        assert response.status == 200, data
        session = json.loads(data)
        self._keep(session["jid"], session["sid"], session["rid"])

    def _keep(self, jid: str, sid: str, rid: int) -> None:
        self.sessions.append(_Bare(jid, sid, rid))  # type: ignore[arg-type]

    def end_sessions(self) -> None:
        """Terminate the sessions; the time is not measured."""
        for session in self.sessions:
            self.bosh.jid, self.bosh.sid, self.bosh.rid = session.jid, session.sid, session.rid
            self.bosh.terminate()
        self.sessions.clear()

    def close(self) -> None:
        """Close the connections."""
        self.http.close()
        self.bosh.close()


@dataclass
class _Bare:
    jid: str
    sid: str
    rid: int


def cpu_milliseconds(pids: list[int]) -> float:
    """Return the user and system time of processes."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK * 1000


def measure(server: Server, name: str, concurrency: int, users: list[str]) -> Phase:
    """Log every user in once, with this concurrency."""
    passwords = {user: mint(server, f"{user}@example.org", LIFETIME) if name == "classic" else "" for user in users}
    workers = [Worker(server) for _ in range(concurrency)]
    pending, lock = list(users), threading.Lock()
    milliseconds: list[float] = []
    failures: list[BaseException] = []

    def work(worker: Worker) -> None:
        log_in: Callable[[str, str], None] = worker.classic if name == "classic" else worker.warm
        try:
            while True:
                with lock:
                    if not pending:
                        return
                    user = pending.pop()
                started = time.perf_counter()
                log_in(user, passwords[user])
                milliseconds.append((time.perf_counter() - started) * 1000)
        except BaseException as failure:
            failures.append(failure)

    for worker in workers:  # opens the connections, and verifies the admin's password, before the measurement
        worker.warm("warm-up", "")
        worker.end_sessions()
    programs, ejabberd = server.programs(), [server.ejabberd.pid]
    before = cpu_milliseconds(programs), cpu_milliseconds(ejabberd)
    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    after = cpu_milliseconds(programs), cpu_milliseconds(ejabberd)
    if failures:
        raise failures[0]
    for worker in workers:
        worker.end_sessions()
        worker.close()
    count = len(users)
    return Phase(
        name,
        concurrency,
        milliseconds,
        seconds,
        (after[0] - before[0]) / count,
        (after[1] - before[1]) / count,
        sum(worker.requests for worker in workers) / count,
    )


def report(phases: list[Phase]) -> str:
    """Return the table, and the ratios of warm to classic."""
    head = f"{'':8} {'at once':>7} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'logins/s':>9}"
    head += f" {'requests':>9} {'CPU warmside':>13} {'CPU ejabberd':>13}"
    lines = [head]
    for phase in phases:
        requests = f"{phase.requests:.1f}" if phase.requests else "1 (HTTP)"
        lines.append(
            f"{phase.name:8} {phase.concurrency:7} {phase.percentile(50):8.2f} {phase.percentile(95):8.2f} "
            f"{phase.percentile(99):8.2f} {phase.rate:9.1f} {requests:>9} {phase.warmside:10.2f} ms "
            f"{phase.ejabberd:10.2f} ms"
        )
    lines.append("")
    for concurrency in CONCURRENCIES:
        classic, warm = (
            next(phase for phase in phases if (phase.name, phase.concurrency) == (name, concurrency))
            for name in ("classic", "warm")
        )
        lines.append(
            f"warm / classic at {concurrency:2}: p50 x {warm.percentile(50) / classic.percentile(50):.2f}, "
            f"throughput x {warm.rate / classic.rate:.2f}; "
            f"warm p99 / p50: x {warm.percentile(99) / warm.percentile(50):.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the measurement and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=500)
    count = parser.parse_args().users
    users = [f"user{number}" for number in range(count)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder), ("loglevel: info", "loglevel: warning")).start()
        try:
            until(lambda: len(server.programs()) == 2)
            for name in ("classic", "warm"):
                measure(server, name, 1, users[: max(20, count // 5)])
            phases = [
                measure(server, name, concurrency, users)
                for concurrency in CONCURRENCIES
                for name in ("classic", "warm")
            ]
        finally:
            server.stop()
    print(report(phases))


if __name__ == "__main__":
    main()
