"""Slows down guesses at admins' passwords by address; only rejections are slowed."""

from collections import Counter
from typing import Any

from twisted.internet.task import deferLater

from warmside.store.interface import UNLIMITED, FailureCounters
from warmside.throttle.limits import AddressLimit, TooManyFailures

MAX_DELAY = 30.0
"""Maximum of seconds from a check to the rejection."""


class AddressThrottle:
    """Counts the failures of an address in the store, which all processes share.

    :param reactor: delays rejections.
    :param counters: the failure counters.
    """

    def __init__(self, reactor: Any, counters: FailureCounters) -> None:
        self._reactor = reactor
        self._counters = counters
        self._pending: Counter[str] = Counter()
        self._releases: dict[str, float] = {}
        """By address: seconds of the reactor's clock from which on the next rejection may leave."""

    async def enter(self, per_address: AddressLimit, key: str) -> bool:
        """Begin an attempt; `leave` ends it. Return True if the address has many failures or attempts.

        :raises TooManyFailures: too many attempts are in progress.
        :raises StoreError: the store failed.
        """
        count, seconds = await self._counters.count(key)
        pending = self._pending[key]
        crowded = self._pending.total() >= per_address.max_pending_in_all and pending >= per_address.min_pending
        if crowded or pending >= per_address.max_pending:
            raise TooManyFailures(seconds or per_address.max_pending * per_address.interval)
        self._pending[key] += 1
        return count >= per_address.limit.max_failures or pending >= per_address.min_pending

    def leave(self, key: str) -> None:
        """End an attempt that `enter` began."""
        self._pending[key] -= 1
        if not self._pending[key]:
            del self._pending[key]
            self._releases.pop(key, None)

    async def delay(self, per_address: AddressLimit, key: str, since: float, check_time: float = 0.0) -> None:
        """Wait until an attempt may be rejected.

        :param since: start of the attempt, in seconds of the reactor's clock.
        :param check_time: seconds that a check takes now. An address gets at most half of the checks.
        """
        now = self._reactor.seconds()
        release = since + per_address.min_rejection_time
        if key in self._pending:
            release = min(max(release, self._releases.get(key, 0.0)), now + MAX_DELAY)
            self._releases[key] = release + max(per_address.interval, 2 * check_time)
        await deferLater(self._reactor, max(0.0, release - now))

    async def rejected(self, per_address: AddressLimit, key: str, since: float, check_time: float = 0.0) -> None:
        """Count a failure and delay its response.

        :param since: see `delay`.
        :param check_time: see `delay`.
        :raises TooManyFailures: the address has too many failures.
        :raises StoreError: the store failed.
        """
        await self._counters.add(key, UNLIMITED, per_address.limit.window)
        await self.delay(per_address, key, since, check_time)
        count, seconds = await self._counters.count(key)
        if count > per_address.limit.max_failures:
            raise TooManyFailures(seconds)
