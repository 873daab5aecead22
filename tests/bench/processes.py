"""CPU time and memory of processes, and a calibration loop that makes CPU times of loaded machines comparable."""

import time
from pathlib import Path
from statistics import median

LOOP = 20_000
"""Turns of the calibration loop."""
REFERENCE = 5.7
"""CPU milliseconds that the loop takes on the machine of docs/PERFORMANCE.md while nothing else runs there."""


def cpu_milliseconds(pids: list[int]) -> float:
    """Return the user and system time of processes, with all their threads."""
    nanoseconds = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            nanoseconds += int((task / "schedstat").read_text().split()[0])
    return nanoseconds / 1e6


def megabytes(pids: list[int]) -> float:
    """Return the memory that the largest of these processes occupies."""
    sizes = []
    for pid in pids:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        sizes.append(next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")))
    return max(sizes) / 1024


def calibrate(runs: int = 7) -> float:
    """Run a fixed loop of pure Python; return its CPU time as a multiple of `REFERENCE`.

    1.0 is the machine of docs/PERFORMANCE.md at rest. A CPU time divided by this figure is comparable with that
    machine's. The loop calls a function, fills a dictionary, and joins and splits strings.

    :param runs: the median of so many runs counts.
    """
    return median(_loop() for _ in range(runs)) / REFERENCE


def _loop() -> float:
    started = time.thread_time()
    table: dict[str, int] = {}
    for number in range(LOOP):
        key = _key(number)
        table[key] = table.get(key, 0) + len(key.partition("@")[2])
    assert len(table) == LOOP // 2
    return (time.thread_time() - started) * 1000


def _key(number: int) -> str:
    return f"user{number % (LOOP // 2)}@example.org"
