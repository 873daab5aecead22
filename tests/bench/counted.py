"""Run ``warmside`` with counters: ``python -I counted.py FILE [ARGUMENT…]``.

FILE gets the counts of `NAMES` since the start of the process, as 64-bit integers in the machine's byte order. It is a
memory that is shared with its reader. Only the main thread counts, which is the reactor's.
"""

import mmap
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

NAMES = ("Python calls", "Deferreds", "callLater", "SQLite statements")
SIZE = 8 * len(NAMES)
STATEMENTS = {"execute", "executemany", "executescript"}


def read(path: Path) -> list[int]:
    """Return the counts."""
    return list(memoryview(path.read_bytes()).cast("Q"))


def profiler(path: Path) -> Callable[[FrameType, str, Any], None]:
    """Return a function for `sys.setprofile` that counts in a file."""
    from twisted.internet.base import ReactorBase
    from twisted.internet.defer import Deferred

    path.write_bytes(bytes(SIZE))
    with path.open("r+b") as file:
        counts = memoryview(mmap.mmap(file.fileno(), SIZE)).cast("Q")
    deferred, call_later = Deferred.__init__.__code__, ReactorBase.callLater.__code__

    def count(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            counts[0] += 1
            if frame.f_code is deferred:
                counts[1] += 1
            elif frame.f_code is call_later:
                counts[2] += 1
        elif event == "c_call" and argument.__name__ in STATEMENTS:
            counts[3] += 1

    return count


if __name__ == "__main__":
    from warmside.cli import main

    sys.setprofile(profiler(Path(sys.argv.pop(1))))
    sys.exit(main())
