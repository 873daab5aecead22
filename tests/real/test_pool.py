"""Several processes of warmside under one ejabberd: they act as one service, and each may end at any time."""

import http.client
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.extauth import programs
from tests.real.boshclient import BoshClient, Refused
from tests.real.parts import Reply, Server, basic, exchanged, until
from tests.real.processes import NO, YES, Folder, Program
from tests.real.test_warm import mint

POOL = (
    ("extauth_pool_size: 2", "extauth_pool_size: 4"),
    ("hosts:\n  - example.org\n", "hosts:\n  - example.org\n  - example.net\n"),
)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run four processes for two virtual hosts, with an extauth program for ordinary passwords."""
    folder = tmp_path_factory.mktemp("pool")
    running = Server(folder, *POOL)
    program = f"{sys.executable} {programs.__file__} {folder / 'asked'}"
    sample = running.toml.read_text()
    program_line = f"[extauth]\nprogram = '{program}'\n"
    running.toml.write_text(exchanged(sample, ("[extauth]\n", program_line), ("# timeout = 10", "timeout = 30")))
    running.start()
    until(lambda: processes_that_served(running) == 4)
    yield running
    running.stop()


def outcome(call: Callable[[], Reply]) -> str:
    """Return the status of a reply, or ``closed`` if the connection was closed before it."""
    try:
        return str(call().status)
    except (OSError, http.client.HTTPException):
        return "closed"


def test_one_time_passwords_work_beside_another_extauth_program(pool: Server) -> None:
    for host in ("example.org", "example.net"):
        client = BoshClient(pool.bosh, host).attach(pool.warm(jid=f"juliet@{host}", wait=1).json())
        assert client.ping()
        client.terminate()
    client = BoshClient(pool.bosh)
    client.log_in("romeo", "right")
    client.terminate()
    with pytest.raises(Refused, match="not-authorized"):
        client.log_in("romeo", "wrong")
    asked = (pool.folder / "asked").read_text()
    assert "auth:romeo:example.org:wrong" in asked
    assert "warmside-otp-" not in asked


def test_the_extauth_program_says_which_users_exist(pool: Server) -> None:
    assert [pool.command("check_account", user=user, host="example.org") for user in ("known1", "nobody")] == [0, 1]


def test_all_processes_return_the_same_metrics_once_each_has_written_its_counts(pool: Server) -> None:
    def seen() -> float:
        text = pool.request("GET", "/metrics").body.decode()
        families = {family.name: family for family in text_string_to_metric_families(text)}
        samples = families["warmside_credentials"].samples
        return sum(sample.value for sample in samples if sample.name.endswith("_total"))

    for number in range(10):
        assert pool.post("/credentials", jid=f"user{number}@example.org").status == 200
    until(lambda: [seen() for _ in range(10)] == [10] * 10)


def test_all_processes_count_failures_together(pool: Server) -> None:
    right = {"Authorization": basic()}
    wrong = [{"Authorization": basic(password=f"wrong{number}")} for number in range(16)]
    with ThreadPoolExecutor(4) as threads:
        statuses = Counter(
            reply.status for reply in threads.map(lambda it: pool.request("GET", "/warm", None, it), wrong)
        )
    assert statuses[429] >= 4 and statuses[401] <= 10 and set(statuses) <= {401, 429}
    assert [pool.request("GET", "/warm", None, right).status for _ in range(12)] == [200] * 12
    last = pool.request("GET", "/warm", None, {"Authorization": basic(password="wrong")})
    assert last.status == 429 and int(last.headers["Retry-After"]) >= 1


def test_of_two_simultaneous_requests_exactly_one_redeems_the_password(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write('[extauth]\nusers = "any"\n')
    programs = [Program(folder) for _ in range(2)]

    class Store:
        store = tmp_path / "runtime/private/passwords.sqlite"

    for program in programs:
        until(lambda program=program: program.ask(b"isuser:juliet:example.org") == YES)  # type: ignore[misc]
    for number in range(100):
        request = b"auth:juliet:example.org:" + mint(Store, "juliet@example.org").encode()  # type: ignore[arg-type]
        together = threading.Barrier(2)

        def ask(program: Program, request: bytes = request, together: threading.Barrier = together) -> bytes:
            together.wait()
            return program.ask(request)

        with ThreadPoolExecutor(2) as threads:
            responses = sorted(threads.map(ask, programs))
        assert responses == [NO, YES], f"password {number}"
    for program in programs:
        program.end()


class Callers:
    """Warm sessions in several threads until the block ends."""

    def __init__(self, pool: Server, number: int = 4) -> None:
        self.pool = pool
        self.number = number
        self.seen: Counter[str] = Counter()
        self.sessions: list[dict[str, Any]] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(index,)) for index in range(number)]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, index: int) -> None:
        host = ("example.org", "example.net")[index % 2]
        count = 0
        while not self._over.is_set():
            count += 1
            self.seen.update([outcome(lambda: self._warm(f"many{index}.{count}@{host}"))])  # noqa: B023 - called before the next round
            time.sleep(0.01)

    def _warm(self, jid: str) -> Reply:
        reply = self.pool.warm(jid=jid, wait=1)
        if reply.status == 200:
            self.sessions.append(reply.json())
        return reply


def processes_that_served(pool: Server) -> int:
    """Return the number of processes that have started to serve since the test began."""
    return pool.output().count("; HTTP on ")


def replace_one(pool: Server, how: signal.Signals) -> None:
    """Send a signal to one process, and wait until its successor serves."""
    served = processes_that_served(pool)
    os.kill(random.choice(pool.programs()), how)
    until(lambda: processes_that_served(pool) > served)


def test_a_killed_process_closes_only_its_own_connections(pool: Server) -> None:
    with Callers(pool) as callers:
        for _ in range(5):
            replace_one(pool, signal.SIGKILL)
    print("5 processes killed, replies:", dict(callers.seen))
    assert set(callers.seen) <= {"200", "502", "503", "504", "closed"}
    assert callers.seen.total() - callers.seen["200"] <= 5 * callers.number, "each thread sends one request at a time"
    assert callers.seen["200"] > 20
    for session in callers.sessions[-20:]:
        client = BoshClient(pool.bosh, session["jid"].partition("@")[2].partition("/")[0]).attach(session)
        assert client.ping(), session["jid"]
        client.terminate()
    assert pool.warm(jid="juliet@example.org").status == 200


def test_ending_the_processes_one_by_one_loses_no_login(pool: Server) -> None:
    with Callers(pool) as callers:
        for _ in range(6):
            replace_one(pool, signal.SIGTERM)
    print("processes ended: 6, responses:", dict(callers.seen))
    assert set(callers.seen) == {"200"} and callers.seen["200"] > 50


def test_ejabberd_can_be_restarted_at_once(pool: Server) -> None:
    for _ in range(2):
        pool.stop()
        pool.start()
        until(lambda: outcome(lambda: pool.warm(jid="juliet@example.org")) == "200")
    until(lambda: len(pool.programs()) == 4)


def test_all_processes_write_to_a_rotated_log(tmp_path: Path) -> None:
    folder, log = Folder(tmp_path), tmp_path / "warmside.log"
    folder.write(f'[log]\nfile = "{log}"\n')
    programs = [Program(folder) for _ in range(3)]
    until(lambda: log.exists() and log.read_text().count("HTTP on") == 3)
    for rotation in range(3):
        log.rename(tmp_path / f"warmside.log.{rotation}")
        for program in programs:
            for _ in range(20):
                program.ask(b"nonsense")
        until(lambda: log.exists() and log.read_text().count("malformed extauth request rejected") == 60)
        assert all(line.startswith("20") for line in log.read_text().splitlines())
    for program in programs:
        program.end()
