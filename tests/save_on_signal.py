"""A plugin of coverage.py: save the data of a process that ends itself by a signal, as twistd does after SIGTERM."""

import os
from typing import Any

import coverage


def coverage_init(_registry: Any, _options: Any) -> None:
    """Save the data before this process sends a signal to itself."""
    kill = os.kill

    def save_and_kill(pid: int, number: int) -> None:
        current = coverage.Coverage.current()
        if pid == os.getpid() and current is not None:
            current.save()
        kill(pid, number)

    os.kill = save_and_kill
