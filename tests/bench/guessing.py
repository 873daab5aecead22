"""Measure what guesses at admins' passwords cost others, with an ejabberd that has the stock mod_fail2ban.

    python -m tests.bench.guessing [SECONDS]

200 guesses a second come from 50 addresses for a minute, at an account admin, a name of the file and unknown names.
Meanwhile callers whose passwords were accepted before go on. Then 24 connections of the web application's own
address guess, and a web application logs in for the first time. Exits with 1 if a promise is broken.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import bcrypt

from tests.real import guesser
from tests.real.parts import ADMIN, INTERNAL, PASSWORD, Reply, Server, basic, exchanged

NAMES = ("boss@example.org", ADMIN, "nobody@example.org", "nobody")
STOCK_FAIL2BAN = ("  mod_fail2ban:\n    access: trusted_network\n", "  mod_fail2ban: {}\n")
FIRST_LOGINS = 5
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(12)).decode()
"""Of the cost that `warmside hash-password` uses: a check takes a quarter of a second."""


def make_server(folder: Path) -> Server:
    """Return a server that bans loopback after 20 failures, with an account admin and users."""
    server = Server(folder, INTERNAL, STOCK_FAIL2BAN)
    sample = server.toml.read_text()
    server.toml.write_text(
        exchanged(sample, ("[admins]\n", '[admins]\naccounts = ["boss@example.org", "chief@example.org"]\n'))
    )
    server.admins.write_text(f"{ADMIN}:{HASH}\n")
    server.start()
    for user, password in (("boss", "right"), ("chief", "right"), ("paris", "county")):
        server.command("register", user=user, host="example.org", password=password)
    return server


def credentials(server: Server, name: str, password: str) -> Reply:
    """Send ``POST /credentials`` as an admin."""
    headers = {"Authorization": basic(name, password), "Content-Type": "application/json"}
    return server.request("POST", "/credentials", b'{"jid": "guest@example.org"}', headers)


def callers(server: Server) -> dict[str, Callable[[], Reply]]:
    """Return callers whose passwords were accepted before."""
    return {
        "web application, /credentials": lambda: credentials(server, ADMIN, PASSWORD),
        "account admin, /credentials": lambda: credentials(server, "boss@example.org", "right"),
        "web application, /warm": lambda: server.warm(jid="juliet@example.org/one"),
        "user's own password, /warm": lambda: server.warm(jid="paris@example.org/one", password="county"),
    }


def measure(server: Server, seconds: float) -> dict[str, list[float]]:
    """Return the times of each caller's requests, in seconds."""
    times: dict[str, list[float]] = {}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for name, call in callers(server).items():
            since = time.monotonic()
            reply = call()
            assert reply.status == 200, (name, reply.status, reply.body)
            times.setdefault(name, []).append(time.monotonic() - since)
            time.sleep(0.02)
    return times


def flood(server: Server, seconds: float, rate: int = 200, addresses: int = 50) -> dict[str, float]:
    """Return the median times during a flood, as multiples of those before."""
    before = measure(server, min(5.0, seconds))
    guessing = guesser.start(server.port, seconds, "rate", rate, addresses, *NAMES)
    during = measure(server, seconds - 1)
    print("responses to guesses:", guesser.finish(guessing))
    ratios = {}
    for name, times in during.items():
        old, new = statistics.median(before[name]), statistics.median(times)
        ratios[name] = new / old
        print(f"{name}: {old * 1000:.1f} -> {new * 1000:.1f} ms, x {new / old:.2f} ({len(times)} requests)")
    return ratios


def first_logins(server: Server, number: int = FIRST_LOGINS) -> tuple[float, list[float]]:
    """Return the time of a first login alone, and the times behind guesses of the same address, in seconds."""
    names = [f"new{each}" for each in range(number)]
    added = "".join(f"{name}:{HASH}\n" for name in ("alone", *names))
    server.admins.write_text(server.admins.read_text() + added)
    since = time.monotonic()
    assert credentials(server, "alone", PASSWORD).status == 200
    alone = time.monotonic() - since
    guessing = guesser.start(server.port, 4 + 4 * number, "connections", 24, 1, *names, "nobody")
    time.sleep(3)  # seconds for the guesses to be slowed down
    times = []
    for name in names:
        since = time.monotonic()
        reply = credentials(server, name, PASSWORD)
        times.append(time.monotonic() - since)
        assert reply.status == 200, (reply.status, reply.body)
        time.sleep(1)
    print("responses to guesses:", guesser.finish(guessing))
    print(f"first login alone: {alone:.2f} s; behind guesses:", ", ".join(f"{each:.2f} s" for each in times))
    return alone, times


def main(seconds: float) -> bool:
    """Run both parts. Return True if all promises are kept."""
    with tempfile.TemporaryDirectory() as folder:
        server = make_server(Path(folder))
        try:
            ratios = flood(server, seconds)
            _, times = first_logins(server)
            banned = server.output().count("Too many") + server.output().count("policy-violation")
            print("bans:", banned)
            return max(ratios.values()) < 4 and max(times) <= 2 and not banned
        finally:
            server.stop()


if __name__ == "__main__":
    sys.exit(not main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0))
