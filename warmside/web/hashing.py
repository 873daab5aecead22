"""Check passwords against bcrypt hashes, on one thread of low priority.

bcrypt takes a quarter of a second by design. A flood of wrong passwords must not slow anything else.
"""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import bcrypt
from twisted.internet.defer import Deferred

MAX_PASSWORD = 72
"""Bytes of a password that bcrypt uses."""
MAX_WAITING = 16
"""Passwords that may wait for a check."""
THREAD_NICENESS = 5
"""Gives the thread a quarter of a core that others want as well: a check then takes a second."""
SMOOTHING = 0.3
"""Weight of the last check in the average time of a check, from 0 to 1."""
DUMMY_HASH = b"$2b$12$pnF/Wh3ClMGxDwrt/eh21u7WiVx4HHg5s60Fj5Sk9H0uF0C/lsl7S"
"""Checked for unknown names, so that they take as long as known ones. Its password is not known."""


class Overloaded(Exception):
    """Too many passwords wait to be checked."""


@dataclass(frozen=True)
class _Check:
    password: bytes = field(repr=False)
    hashed: bytes = field(repr=False)
    result: "Deferred[bool]"


class Bcrypt:
    """Checks passwords on one thread, the newest first.

    The delay of rejections limits how fast an address can send new ones. So the newest never waits long behind
    others of its address, and it does not wait for a check that the caller has given up. Checks of slowed
    addresses wait for all others.

    :param call_from_thread: passes a call from the thread to the reactor.
    :param clock: returns monotonic seconds.
    :ivar check_time: seconds that a check takes now; an average.
    """

    def __init__(self, call_from_thread: Callable[..., Any], clock: Callable[[], float] = time.monotonic) -> None:
        self.check_time = 0.0
        self._clock = clock
        self._since = 0.0
        self._call_from_thread = call_from_thread
        self._executor = ThreadPoolExecutor(1, "bcrypt", _lower_priority)
        self._waiting: list[_Check] = []
        self._slowed: list[_Check] = []
        self._busy = False

    def check(self, password: bytes, hashed: bytes, *, slowed: bool = False) -> "Deferred[bool]":
        """Return True if the hash is the password's. Passwords over 72 bytes are wrong.

        :param slowed: True if the address has many failures or attempts: others are checked first.
        :raises Overloaded: 16 newer passwords wait.
        """
        check = _Check(password, hashed, Deferred(lambda _: None))
        (self._slowed if slowed else self._waiting).append(check)
        if len(self._waiting) + len(self._slowed) > MAX_WAITING:
            self._finish((self._slowed or self._waiting).pop(0), Overloaded())
        self._start_next()
        return check.result

    def close(self) -> None:
        """Drop the passwords that wait."""
        self._waiting, self._slowed = [], []
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _start_next(self) -> None:
        if self._busy or not (queue := self._waiting or self._slowed):
            return
        self._busy = True
        self._since = self._clock()
        self._executor.submit(self._work, queue.pop())

    def _work(self, check: _Check) -> None:
        try:
            correct = bcrypt.checkpw(check.password[:MAX_PASSWORD], check.hashed)
        except ValueError:
            correct = False
        self._call_from_thread(self._done, check, correct and len(check.password) <= MAX_PASSWORD)

    def _done(self, check: _Check, correct: bool) -> None:
        self._busy = False
        self.check_time += SMOOTHING * (self._clock() - self._since - self.check_time)
        self._start_next()
        self._finish(check, correct)

    def _finish(self, check: _Check, result: "bool | Overloaded") -> None:
        if not check.result.called:
            check.result.callback(result) if isinstance(result, bool) else check.result.errback(result)


def _lower_priority() -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), THREAD_NICENESS)
    except OSError:
        pass
