"""Bounds how many wrong passwords reach ejabberd: for each account, for each address, in all.

A failure is counted before the attempt, so that simultaneous attempts can't exceed a limit together.
"""

from warmside.store.interface import UNLIMITED, FailureCounters
from warmside.throttle.limits import Limit, Rules, TooManyFailures


class AccountThrottle:
    """Counts failures in the store, which all processes share.

    Every method may raise `StoreError`.

    :param counters: the failure counters.
    """

    def __init__(self, counters: FailureCounters) -> None:
        self._counters = counters

    async def enter(self, rules: Rules, account: str, address: str | None, *, unlimited: bool) -> None:
        """Count an attempt as a failure beforehand; count nothing if it is refused.

        :param unlimited: True if no limit refuses the attempt.
        :raises TooManyFailures: a limit is reached.
        """
        for limit in rules.consulted:
            count, seconds = await self._counters.count(limit.key_for(account, address))
            if count >= limit.max_failures and not unlimited:
                raise TooManyFailures(seconds)
        counted: list[str] = []
        for limit in rules.enforced:
            key = limit.key_for(account, address)
            if not await self._counters.add(key, UNLIMITED if unlimited else limit.max_failures, limit.window):
                for each in counted:
                    await self._counters.take_back(each)
                raise TooManyFailures((await self._counters.count(key))[1])
            counted.append(key)

    async def accepted(self, rules: Rules, account: str, address: str | None) -> None:
        """Take back the failure that was counted beforehand, and reset the counts that a success resets."""
        limits = rules.enforced + rules.counted
        for key in _keys(limits, account, address, reset_by_success=False):
            await self._counters.take_back(key)
        reset = _keys(limits, account, address, reset_by_success=True)
        if reset:
            await self._counters.forget(*reset)

    async def rejected(self, rules: Rules, account: str, address: str | None) -> None:
        """Count what was not counted beforehand."""
        for limit in rules.counted:
            await self._counters.add(limit.key_for(account, address), UNLIMITED, limit.window)

    async def not_checked(self, rules: Rules, account: str, address: str | None) -> None:
        """Take back what was counted beforehand: the password reached no server."""
        for limit in rules.enforced:
            await self._counters.take_back(limit.key_for(account, address))


def _keys(limits: tuple[Limit, ...], account: str, address: str | None, *, reset_by_success: bool) -> list[str]:
    return [limit.key_for(account, address) for limit in limits if limit.reset_by_success is reset_by_success]
