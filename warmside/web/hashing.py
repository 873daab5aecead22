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
THREAD_NICENESS = 2
"""Gives the thread two fifths of a core that one other thread wants as well: a check then takes 0.6 s."""
MAX_PASSED_OVER = 2
"""Checks that begin before a password at most, while it has precedence over those that wait for longer."""
USUAL_CHECK_TIME = 0.25
"""Seconds that a check is assumed to take before the first one."""
SMOOTHING = 0.3
"""Weight of the last check in the average time of a check, from 0 to 1."""
DUMMY_HASH = b"$2b$12$pnF/Wh3ClMGxDwrt/eh21u7WiVx4HHg5s60Fj5Sk9H0uF0C/lsl7S"
"""Checked for unknown names, so that they take as long as known ones. Its password is not known."""


class Overloaded(Exception):
    """Too many passwords wait to be checked."""


@dataclass(eq=False)
class _Check:
    password: bytes = field(repr=False)
    hashed: bytes = field(repr=False)
    address: str | None
    slowed: bool
    result: "Deferred[bool]"
    passed_over: int = 0
    """Number of checks that began since it waits."""

    @property
    def fresh(self) -> bool:
        """True if it waits for a short time only. The callers of others have probably given up."""
        return self.passed_over <= MAX_PASSED_OVER

    @property
    def precedence(self) -> tuple[bool, bool]:
        """Higher for fresh ones; among these, and among others, for those of addresses that are not slowed."""
        return self.fresh, not self.slowed


class Bcrypt:
    """Checks passwords on one thread.

    The delay of rejections limits how fast an address can send new ones. So the newest is next, and does not wait for
    one that the caller may have given up. If it is passed over, it precedes those that arrive later: otherwise a
    guess that arrives during each check would always be next. Checks of slowed addresses wait for those of others that
    arrived lately, and not for what a flood has left.

    :param call_from_thread: passes a call from the thread to the reactor.
    :param clock: returns monotonic seconds.
    :ivar check_time: seconds that a check takes now; an average.
    """

    def __init__(self, call_from_thread: Callable[..., Any], clock: Callable[[], float] = time.monotonic) -> None:
        self.check_time = USUAL_CHECK_TIME
        self._clock = clock
        self._since = 0.0
        self._call_from_thread = call_from_thread
        self._executor = ThreadPoolExecutor(1, "bcrypt", _lower_priority)
        self._waiting: list[_Check] = []
        """In order of arrival."""
        self._busy = False

    def check(
        self, password: bytes, hashed: bytes, *, address: str | None = None, slowed: bool = False
    ) -> "Deferred[bool]":
        """Return True if the hash is the password's. Passwords over 72 bytes are wrong.

        :param address: IP address of the caller.
        :param slowed: True if the address has many failures or attempts: those of others are checked first. This holds
            for all passwords of the address that wait already.
        :raises Overloaded: 16 passwords with a higher precedence wait.
        """
        check = _Check(password, hashed, address, slowed, Deferred(lambda _: None))
        self._waiting.append(check)
        for each in self._waiting:
            each.slowed |= slowed and each.address == address
        if len(self._waiting) > MAX_WAITING:
            dropped = min(self._waiting, key=lambda each: each.precedence)
            self._waiting.remove(dropped)
            self._finish(dropped, Overloaded())
        self._start_next()
        return check.result

    def close(self) -> None:
        """Drop the passwords that wait."""
        self._waiting.clear()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _start_next(self) -> None:
        if self._busy or not self._waiting:
            return
        self._busy = True
        self._since = self._clock()
        self._executor.submit(self._work, self._take())

    def _take(self) -> _Check:
        """Take the next one: the newest of those with the highest precedence that were passed over most often."""
        check = max(reversed(self._waiting), key=lambda each: (each.precedence, each.fresh and each.passed_over))
        self._waiting.remove(check)
        for each in self._waiting:
            each.passed_over += 1
        return check

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
