"""Slows down guesses at admins' passwords by address; only rejections are slowed."""

from collections import Counter
from typing import Any

from twisted.internet.task import deferLater

from warmside.store.interface import UNLIMITED, FailureCounters
from warmside.throttle.limits import AddressLimit, TooManyFailures

MIN_DELAY = 1e-6
"""Seconds below which a delay is over: the clock's fractions are inexact."""


class AddressThrottle:
    """Counts the failures of an address in the store, which all processes share.

    :param reactor: delays rejections.
    :param counters: the failure counters.
    """

    def __init__(self, reactor: Any, counters: FailureCounters) -> None:
        self._reactor = reactor
        self._counters = counters
        self._pending: Counter[str] = Counter()

    async def enter(self, per_address: AddressLimit, key: str) -> bool:
        """Begin an attempt; `leave` ends it. Return True if the address has too many failures.

        :raises TooManyFailures: too many attempts are in progress.
        :raises StoreError: the store failed.
        """
        count, seconds = await self._counters.count(key)
        pending = self._pending[key]
        crowded = self._pending.total() >= per_address.max_pending_in_all and pending >= per_address.min_pending
        if crowded or pending >= per_address.max_pending:
            raise TooManyFailures(seconds or per_address.max_pending * per_address.interval)
        self._pending[key] += 1
        return count >= per_address.limit.max_failures

    def leave(self, key: str) -> None:
        """End an attempt that `enter` began."""
        self._pending[key] -= 1
        if not self._pending[key]:
            del self._pending[key]

    async def delay(self, per_address: AddressLimit, key: str, since: float) -> None:
        """Wait until an attempt may be rejected.

        :param since: start of the attempt, in seconds of the reactor's clock.
        """
        while True:  # attempts that begin meanwhile make the delay longer, up to that of `max_pending`
            delay = max(per_address.min_rejection_time, self._pending[key] * per_address.interval)
            remaining = since + delay - self._reactor.seconds()
            if remaining <= MIN_DELAY:
                return
            await deferLater(self._reactor, remaining)

    async def rejected(self, per_address: AddressLimit, key: str, since: float) -> None:
        """Count a failure and delay its response.

        :param since: start of the attempt, in seconds of the reactor's clock.
        :raises TooManyFailures: the address has too many failures.
        :raises StoreError: the store failed.
        """
        await self._counters.add(key, UNLIMITED, per_address.limit.window)
        await self.delay(per_address, key, since)
        count, seconds = await self._counters.count(key)
        if count > per_address.limit.max_failures:
            raise TooManyFailures(seconds)
