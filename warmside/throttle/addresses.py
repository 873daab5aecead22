"""Slowing down whoever guesses admins' passwords: by address, and only the answers that say no."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet.task import deferLater

from warmside.store.interface import UNLIMITED, FailureCounters
from warmside.throttle.accounts import TooManyFailures

MAX_FAILURES, WINDOW = 10, 60.0
"""Failures of one address, and the seconds without a failure after which they are forgotten."""
FAILURE_TIME = 0.75
"""Seconds that an answer of no takes at least, whoever was asked about: a right name is no faster than a wrong one."""
MAX_CHECKS = 4
"""Passwords that are checked at a time for an address with too many failures."""


class AddressThrottle:
    """Counts an address's failures, where all processes see them.

    A password that is right passes from any address; what is slowed is the rate of guesses.
    """

    def __init__(self, reactor: Any, counts: FailureCounters) -> None:
        self._reactor = reactor
        self._counts = counts
        self._checks: Counter[str] = Counter()

    @asynccontextmanager
    async def check(self, address: str) -> AsyncIterator[None]:
        """While a password is checked.

        :raises TooManyFailures: the address has too many failures, and checks under way already.
        """
        count, rest = await self._counts.count(_key(address))
        if count >= MAX_FAILURES and self._checks[address] >= MAX_CHECKS:
            raise TooManyFailures(rest)
        self._checks[address] += 1
        try:
            yield
        finally:
            self._checks[address] -= 1
            if not self._checks[address]:
                del self._checks[address]

    async def failed(self, address: str, since: float) -> None:
        """Count a failure and let its answer wait; ``since`` is when the request came (reactor's seconds).

        :raises TooManyFailures: the address has too many by now.
        """
        await self._counts.add(_key(address), UNLIMITED, WINDOW)
        await deferLater(self._reactor, max(0.0, since + FAILURE_TIME - self._reactor.seconds()))
        count, rest = await self._counts.count(_key(address))
        if count > MAX_FAILURES:
            raise TooManyFailures(rest)


def _key(address: str) -> str:
    return f"admins {address}"
