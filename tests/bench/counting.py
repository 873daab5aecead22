"""Count what one ``POST /warm`` needs: Python calls, Deferreds, SQLite statements, system calls."""

import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from tests.bench import counted
from tests.bench.logins import WARM, Warm, end
from tests.real.parts import PYTHON, Server, until

SYSTEM_CALLS = ("epoll_ctl", "epoll_wait", "newfstatat", "sendto", "recvfrom", "write", "read")
LINE = re.compile(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+)(?: +\d+)? +(\w+)$", re.M)
"""A line of ``strace -c``: share, seconds, µs per call, calls, errors if there are any, name."""


def count(warms: int) -> dict[str, float | None]:
    """Return the counts for one warm: the mean of a number of them, one after the other, in one process.

    A count is ``None`` if it can't be measured: system calls without strace.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        counts = folder / "counts"
        program = f"{PYTHON} -I {counted.__file__} {counts} extauth --config {folder / 'warmside.toml'}"
        one = ("extauth_pool_size: 2", "extauth_pool_size: 1")
        server = Server(folder, one, ("loglevel: info", "loglevel: warning"), program=program).start()
        try:
            (pid,) = until(server.programs)
            caller = Warm(server, WARM.host)
            _run(server, caller, 5)
            before = counted.read(counts)
            _run(server, caller, warms)
            found: dict[str, float | None] = {
                name: (after - used) / warms
                for name, after, used in zip(counted.NAMES, counted.read(counts), before, strict=True)
            }
            found |= _system_calls(pid, folder / "strace", server, caller, warms)
            caller.close()
        finally:
            server.stop()
    return found


def _run(server: Server, caller: Warm, warms: int) -> None:
    sessions = [caller.log_in(f"user{number % 50}", "")[1] for number in range(warms)]
    end(server, sessions, WARM.host)


def _system_calls(pid: int, output: Path, server: Server, caller: Warm, warms: int) -> dict[str, float | None]:
    """Count the system calls of the process's main thread with strace."""
    if shutil.which("strace") is None:
        return dict.fromkeys(SYSTEM_CALLS)
    command = ["strace", "-c", "-e", f"trace={','.join(SYSTEM_CALLS)}", "-o", str(output), "-p", str(pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr
    line = tracer.stderr.readline()  # it is attached
    if "attached" not in line:
        tracer.communicate()
        return dict.fromkeys(SYSTEM_CALLS)
    _run(server, caller, warms)
    tracer.send_signal(signal.SIGINT)
    tracer.communicate()
    calls = {name: int(number) for number, name in LINE.findall(output.read_text())}
    return {name: calls.get(name, 0) / warms for name in SYSTEM_CALLS}
