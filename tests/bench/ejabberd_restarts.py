"""Replies while ejabberd restarts under load: each has to be 200, 503 or 504.

.venv/bin/python -m tests.bench.ejabberd_restarts [--restarts N] [--clients N] [--kill]

A daemon serves behind relays of a real ejabberd. Clients request warm sessions and one-time passwords without a pause
while ejabberd is stopped, or killed with ``--kill``, and started again. Every other reply is printed.
"""

import argparse
import os
import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.real.parts import Reply, Server, until
from tests.real.test_relay import Daemon

REQUESTS: tuple[tuple[str, dict[str, object]], ...] = (
    ("/warm", {}),
    ("/warm", {"fetch": "roster", "presence": "available"}),
    ("/warm", {"attach_within": 60}),
    ("/credentials", {}),
)
"""Path and fields of the requests, besides the JID."""
EXPECTED = (200, 503, 504)


def restart(server: Server, *, kill: bool) -> None:
    """Stop or kill ejabberd, and start it again."""
    if kill:
        os.kill(server.ejabberd.pid, signal.SIGKILL)
        until(lambda: not server.ejabberd.running())
    server.ejabberd.stop()
    server.ejabberd.start(environ=server.environ)


def measure(daemon: Daemon, *, restarts: int, clients: int, kill: bool) -> list[Reply]:
    """Restart ejabberd under load; return all replies."""
    server, stopped = daemon.server, threading.Event()
    replies: list[Reply] = []

    def load(number: int) -> None:
        path, fields = REQUESTS[number % len(REQUESTS)]
        while not stopped.is_set():
            replies.append(server.post(path, jid=f"load{number}@example.org", **fields))

    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(load, number) for number in range(clients)]
        try:
            for _ in range(restarts):
                seen = len(replies)
                until(lambda seen=seen: any(reply.status == 200 for reply in replies[seen:]))  # type: ignore[misc]
                time.sleep(random.random())  # seconds; ejabberd ends in the middle of the load
                restart(server, kill=kill)
        finally:
            stopped.set()
        for each in running:
            each.result()
    return replies


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--kill", action="store_true", help="kill ejabberd instead of stopping it")
    parsed = parser.parse_args()
    daemon = Daemon()
    try:
        daemon.start()
        daemon.server.start()
        replies = measure(daemon, restarts=parsed.restarts, clients=parsed.clients, kill=parsed.kill)
    finally:
        daemon.close()
    print(f"{len(replies)} replies during {parsed.restarts} restarts of ejabberd")
    for status, number in sorted(Counter(reply.status for reply in replies).items()):
        print(f"  {number:7} {status}")
    for reply in replies:
        if reply.status not in EXPECTED or (reply.status != 200 and not reply.headers["Retry-After"]):
            print(f"unexpected: {reply.status} {reply.body.decode()}")


if __name__ == "__main__":
    main()
