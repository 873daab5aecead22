"""Slows down guesses at admins' passwords by address; only rejections are slowed."""

from collections import Counter
from typing import Any

from twisted.internet.task import deferLater

from warmside.store.interface import UNLIMITED, FailureCounters
from warmside.throttle.limits import AddressLimit, TooManyFailures


class AddressThrottle:
    """Counts the failures of an address in the store, which all processes share.

    :param reactor: delays rejections.
    :param counters: the failure counters.
    """

    def __init__(self, reactor: Any, counters: FailureCounters) -> None:
        self._reactor = reactor
        self._counters = counters
        self._checks: Counter[str] = Counter()

    async def enter(self, per_address: AddressLimit, key: str) -> None:
        """Begin to check a password; `leave` ends it.

        :raises TooManyFailures: the address has too many failures, and too many checks under way.
        :raises StoreError: the store failed.
        """
        count, seconds = await self._counters.count(key)
        if count >= per_address.limit.max_failures and self._checks[key] >= per_address.max_checks:
            raise TooManyFailures(seconds)
        self._checks[key] += 1

    def leave(self, key: str) -> None:
        """End a check that `enter` began."""
        self._checks[key] -= 1
        if not self._checks[key]:
            del self._checks[key]

    async def rejected(self, per_address: AddressLimit, key: str, since: float) -> None:
        """Count a failure and delay its response.

        :param since: start of the attempt, in seconds of the reactor's clock.
        :raises TooManyFailures: the address has too many failures.
        :raises StoreError: the store failed.
        """
        await self._counters.add(key, UNLIMITED, per_address.limit.window)
        delay = since + per_address.min_rejection_time - self._reactor.seconds()
        await deferLater(self._reactor, max(0.0, delay))
        count, seconds = await self._counters.count(key)
        if count > per_address.limit.max_failures:
            raise TooManyFailures(seconds)
