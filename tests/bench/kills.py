"""kill -9 at random moments: is a one-time password accepted twice, and does a killed process leave a session?

    .venv/bin/python -m tests.bench.kills [--kills N] [--non-atomic]

Two processes serve one ejabberd. Threads ask for credentials and log in twice with each at the same time, others warm
sessions; meanwhile a process at a time is killed. ``--non-atomic`` shows that the run finds a double login.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.real.boshclient import BoshClient, Refused, Terminated
from tests.real.parts import ROOT, Server, basic, until

PAUSE = 0.05
"""Seconds between redeeming and answering."""
INACTIVITY = 5
"""Seconds for which ejabberd keeps a session without requests."""
MAX_KILL_DELAY = 0.6
"""Seconds at most between the first password handed out by two processes and a kill."""
MAX_WAIT = 400.0
"""Seconds at most until a password is handed out again: a replay probe that fails backs off to five minutes."""
RETRY_DELAY = 0.02
"""Seconds before the next request when no process serves."""
SERVED = "/credentials: 200"
LOGIN_ERRORS = (Refused, Terminated, OSError, http.client.HTTPException, AssertionError)


class Run:
    """One run.

    :param kills: number of kills.
    """

    def __init__(self, folder: Path, kills: int, *, atomic: bool) -> None:
        self.marks = folder / "marks"
        self.marks.mkdir()
        launcher = f"{sys.executable} -m tests.bench.slow_answer {self.marks} {PAUSE}"
        self.server = Server(
            folder,
            ("mod_bosh: {}", f"mod_bosh:\n    max_inactivity: {INACTIVITY}"),
            program=f"{launcher} {'atomic' if atomic else 'non-atomic'} --config {folder / 'warmside.toml'}",
        )
        self.kills = kills
        self.over = threading.Event()
        self.seen: Counter[str] = Counter()
        self.double_logins = 0

    def start(self) -> None:
        """Start ejabberd with two processes."""
        os.environ["PYTHONPATH"] = str(ROOT)
        self.server.start()

    def credentials(self, number: int) -> None:
        """Ask for a password and log in twice with it at the same time, until the run is over."""
        with ThreadPoolExecutor(2) as pool:
            while not self.over.is_set():
                user = f"user{number}"
                password = self.password(user)
                if password is None:
                    continue
                logins = list(pool.map(self.log_in, (user, user), (password, password)))
                self.seen[f"logins with one password: {sum(logins)}"] += 1
                self.double_logins += sum(logins) > 1

    def password(self, user: str) -> str | None:
        """Return a one-time password from ``/credentials``."""
        headers = {"Authorization": basic(), "Content-Type": "application/json"}
        body = json.dumps({"jid": f"{user}@example.org"}).encode()
        try:
            reply = self.server.request("POST", "/credentials", body, headers)
        except (OSError, http.client.HTTPException):
            self.seen["/credentials: connection lost"] += 1
            time.sleep(RETRY_DELAY)
            return None
        self.seen[f"/credentials: {reply.status}"] += 1
        return str(reply.json()["password"]) if reply.status == 200 else None

    def log_in(self, user: str, password: str) -> bool:
        """True if ejabberd accepts the password."""
        client = BoshClient(self.server.bosh)
        try:
            client.log_in(user, password)
        except LOGIN_ERRORS:
            return False
        with contextlib.suppress(*LOGIN_ERRORS):
            client.terminate()
        return True

    def warms(self, number: int) -> None:
        """Warm sessions, and leave each to its inactivity."""
        while not self.over.is_set():
            try:
                self.seen[f"/warm: {self.server.warm(jid=f'warm{number}@example.org', wait=1).status}"] += 1
            except (OSError, http.client.HTTPException):
                self.seen["/warm: connection lost"] += 1
                time.sleep(RETRY_DELAY)

    def both_serve(self, served: int) -> list[int]:
        """Return the two processes if both have started, else nothing.

        :param served: number of passwords that were handed out before; one more is due.
        """
        if self.seen[SERVED] == served:
            return []
        processes = [int(mark.name) for mark in self.marks.iterdir() if Path("/proc", mark.name).exists()]
        return processes if len(processes) == 2 else []

    def kill_all(self) -> int:
        """Kill a process at a time; returns the number of kills between redeeming and answering."""
        between = 0
        for number in range(self.kills):
            processes = until(partial(self.both_serve, self.seen[SERVED]), MAX_WAIT)
            time.sleep(random.uniform(0, MAX_KILL_DELAY))
            victim = random.choice(processes)
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            between += (self.marks / str(victim)).read_bytes() == b"\1"
            (self.marks / str(victim)).unlink()
            if number % 50 == 49:
                print(f"{number + 1} kills, {between} between redeeming and answering", flush=True)
        return between


def main() -> int:
    """Run; returns 1 if a password was accepted twice or a session was left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--non-atomic", action="store_true")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), options.kills, atomic=not options.non_atomic)
        run.start()
        threads = [threading.Thread(target=run.credentials, args=(number,), daemon=True) for number in range(4)]
        threads.append(threading.Thread(target=run.warms, args=(0,), daemon=True))
        for thread in threads:
            thread.start()
        try:
            between = run.kill_all()
            run.over.set()
            for thread in threads:
                thread.join(60)
            ended = time.monotonic()
            until(lambda: run.server.connected() == 0, within=INACTIVITY * 6)
            gone = time.monotonic() - ended
        finally:
            run.over.set()
            run.server.stop()
    print(*(f"{what}: {number}" for what, number in sorted(run.seen.items())), sep="\n")
    print(f"kills: {options.kills}, between redeeming and answering: {between}")
    print(f"passwords accepted twice: {run.double_logins}")
    print(f"no session left {gone:.1f} s after the last request (inactivity {INACTIVITY} s)")
    print(f"{time.monotonic() - started:.0f} s")
    return 1 if run.double_logins else 0


if __name__ == "__main__":
    sys.exit(main())
