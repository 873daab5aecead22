"""Keep stdin and stdout for the extauth protocol alone.

The descriptors are moved away before other modules are imported. What is then printed to stdout, also by a warning or
a child process, goes to stderr.
"""

import os
import sys
from typing import NamedTuple


class Streams(NamedTuple):
    """The descriptors of extauth requests and responses."""

    requests: int
    responses: int


def take_over() -> Streams:
    """Move stdin and stdout to other descriptors; 0 reads nothing from now on, and 1 is stderr."""
    sys.stdout.flush()
    streams = Streams(os.dup(0), os.dup(1))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return streams
