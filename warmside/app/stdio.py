"""stdin and stdout as ejabberd knows them: questions and answers, and not one byte besides.

The real file descriptors are moved away before anything else is imported, so that a stray print, a
warning or a child process can't reach them: what is written to stdout goes to stderr instead.
"""

import os
import sys
from typing import NamedTuple


class Streams(NamedTuple):
    """The file descriptors of questions and answers."""

    questions: int
    answers: int


def take_over() -> Streams:
    """Move stdin and stdout away and put harmless ones in their place."""
    sys.stdout.flush()
    streams = Streams(os.dup(0), os.dup(1))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return streams
