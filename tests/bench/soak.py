"""Many sessions and requests through one process: prints memory, descriptors and rows that are left.

.venv/bin/python -m tests.bench.soak [--sessions N] [--requests N]
"""

import argparse
import http.client
import json
import sqlite3
import struct
import tempfile
import threading
import time
from pathlib import Path

from tests.real.boshclient import BoshClient
from tests.real.parts import Server, basic, until
from tests.real.processes import Folder as ProgramFolder
from tests.real.processes import Program
from warmside.extauth.frames import REJECTED

AT_ONCE = 6
FIELDS: tuple[dict[str, object], ...] = (
    {},
    {},
    {},
    {"presence": "available"},
    {"fetch": "roster", "presence": "available"},
    {"attach_within": 60},
)


def resident(pid: int) -> int:
    """Return the KiB of memory that a process takes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def descriptors(pid: int) -> int:
    """Return the number of open file descriptors."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def rows(store: Path) -> int:
    """Return the number of one-time passwords in the store."""
    database = sqlite3.connect(store)
    number: int = database.execute("SELECT count(*) FROM passwords").fetchone()[0]
    database.close()
    return number


def warm(server: Server, first: int, number: int) -> None:
    """Warm a number of sessions and end each."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    bosh = BoshClient(server.bosh)
    headers = {"Authorization": basic(), "Accept": "application/json", "Content-Type": "application/json"}
    for index in range(first, first + number):
        fields = {"jid": f"user{index % 500}@example.org", "wait": 1} | FIELDS[index % len(FIELDS)]
        connection.request("POST", "/warm", json.dumps(fields).encode(), headers)
        response = connection.getresponse()
        data = response.read()
        assert response.status == 200, data
        session = json.loads(data)
        bosh.jid, bosh.sid, bosh.rid = session["jid"], session["sid"], session["rid"]
        bosh.terminate()
    connection.close()
    bosh.close()


def sessions(number: int) -> None:
    """Warm sessions through one process under an ejabberd."""
    with tempfile.TemporaryDirectory(prefix="warmside-soak-") as folder:
        server = Server(Path(folder), ("extauth_pool_size: 2", "extauth_pool_size: 1")).start()
        try:
            (pid,) = until(server.programs)
            seen = []
            for tenth in range(10):
                started = time.monotonic()
                share = number // 10 // AT_ONCE
                threads = [
                    threading.Thread(target=warm, args=(server, (tenth * AT_ONCE + each) * share, share))
                    for each in range(AT_ONCE)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                seen.append((resident(pid), descriptors(pid)))
                rate = share * AT_ONCE / (time.monotonic() - started)
                print(f"{(tenth + 1) * share * AT_ONCE:7} sessions: {seen[-1][0]:6} KiB, {seen[-1][1]:3} descriptors, "
                      f"{rate:4.0f}/s", flush=True)  # fmt: skip
            assert server.programs() == [pid], "the process was restarted"
            print(f"grown since the first tenth: {seen[-1][0] / seen[0][0] - 1:.1%}; "
                  f"passwords left in the store: {rows(server.store)}")  # fmt: skip
        finally:
            server.stop()


def requests(number: int) -> None:
    """Send requests to one process over its pipe."""
    with tempfile.TemporaryDirectory(prefix="warmside-soak-") as path:
        folder = ProgramFolder(Path(path))
        program = Program(folder)
        until(lambda: "HTTP on" in program.log())
        assert program.process.stdin and program.process.stdout
        kinds = [
            b"auth:user%d:example.org:wrong",
            b"auth:user%d:example.org:warmside-otp-x",
            b"isuser:user%d:example.org",
            b"removeuser:user%d:example.org",
            b"setpass:user%d:example.org:x",
        ]
        seen = []
        for tenth in range(10):
            payloads = [kinds[each % len(kinds)] % (tenth * number + each) for each in range(number // 10)]
            for start in range(0, len(payloads), 100):
                some = payloads[start : start + 100]
                program.process.stdin.write(b"".join(struct.pack("!H", len(each)) + each for each in some))
                program.process.stdin.flush()
                assert program.process.stdout.read(4 * len(some)) == REJECTED * len(some)
            seen.append((resident(program.process.pid), descriptors(program.process.pid)))
        print(f"{number} requests: {seen[0][0]} KiB after the first tenth, {seen[-1][0]} KiB at the end "
              f"({seen[-1][0] / seen[0][0] - 1:+.1%}), {seen[0][1]} and {seen[-1][1]} descriptors")  # fmt: skip
        program.end()


def main() -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--requests", type=int, default=200_000)
    parsed = parser.parse_args()
    requests(parsed.requests)
    sessions(parsed.sessions)


if __name__ == "__main__":
    main()
