"""Check passwords against bcrypt hashes, on one thread of low priority.

bcrypt takes a quarter of a second by design. A flood of wrong passwords must not slow anything else.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bcrypt
from twisted.internet.defer import Deferred

MAX_PASSWORD = 72
"""Bytes of a password that bcrypt uses."""
MAX_WAITING = 16
"""Passwords that may wait for a check."""
THREAD_NICENESS = 10
DUMMY_HASH = b"$2b$12$pnF/Wh3ClMGxDwrt/eh21u7WiVx4HHg5s60Fj5Sk9H0uF0C/lsl7S"
"""Checked for unknown names, so that they take as long as known ones. Its password is not known."""


class Overloaded(Exception):
    """Too many passwords wait to be checked."""


class Bcrypt:
    """Checks passwords on one thread.

    :param call_from_thread: passes a call from the thread to the reactor.
    """

    def __init__(self, call_from_thread: Callable[..., Any]) -> None:
        self._call_from_thread = call_from_thread
        self._executor = ThreadPoolExecutor(1, "bcrypt", _lower_priority)
        self._waiting = 0

    def check(self, password: bytes, hashed: bytes) -> "Deferred[bool]":
        """Return True if the hash is the password's. Passwords over 72 bytes are wrong.

        :raises Overloaded: 16 passwords wait already.
        """
        if self._waiting >= MAX_WAITING:
            raise Overloaded
        self._waiting += 1
        result: Deferred[bool] = Deferred(lambda _: None)
        fits = len(password) <= MAX_PASSWORD

        def work() -> None:
            try:
                correct = bcrypt.checkpw(password[:MAX_PASSWORD], hashed)
            except ValueError:
                correct = False
            self._call_from_thread(done, correct and fits)

        def done(correct: bool) -> None:
            self._waiting -= 1
            if not result.called:
                result.callback(correct)

        self._executor.submit(work)
        return result

    def close(self) -> None:
        """Drop the passwords that wait."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _lower_priority() -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), THREAD_NICENESS)
    except OSError:
        pass
