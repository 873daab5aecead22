"""CPU time of two idle processes that have served 100 hosts: ``python -m tests.bench.idle_hosts``.

Warm a session for each of 100 hosts, wait until the verdicts have expired, and print the CPU time of both
processes for a minute, as a part of one core, with the logins that ejabberd has rejected meanwhile.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from tests.real.parts import Server, until
from warmside.sessions.replayprobe import VERDICT_TIME

HOSTS = 100
IDLE_TIME = 60.0


def cpu_seconds(process: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure; return 1 if idle processes use 1 % of a core or more."""
    names = [f"host{number}.example" for number in range(HOSTS)]
    hosts = "hosts:\n" + "".join(f"  - {name}\n" for name in names)
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), ("hosts:\n  - example.org\n", hosts)).start()
        try:
            programs = until(lambda: len(server.programs()) == 2 and server.programs())
            until(lambda: server.output().count("HTTP on ") == 2)
            for name in names:
                assert server.warm(jid=f"juliet@{name}").status == 200
            for label, wait in (("used once, renewed once", 0.0), ("idle", 2 * VERDICT_TIME)):
                time.sleep(wait)
                before = [cpu_seconds(each) for each in programs]
                rejected = server.output().count("Failed c2s PLAIN")
                time.sleep(IDLE_TIME)
                share = sum(cpu_seconds(each) for each in programs) - sum(before)
                rejected = server.output().count("Failed c2s PLAIN") - rejected
                print(f"{label}: {share / IDLE_TIME:.2%} of a core, {rejected} rejected logins")
        finally:
            server.stop()
    return int(share / IDLE_TIME >= 0.01)


if __name__ == "__main__":
    sys.exit(main())
