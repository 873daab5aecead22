"""Bounds how many wrong passwords reach ejabberd: for each account, for each address, in all.

A failure is counted before the attempt, so that simultaneous attempts can't exceed a limit together. A success
resets a count of failures in a row, but not the attempts in progress: these have a count of their own.
"""

from warmside.store.interface import UNLIMITED, FailureCounters
from warmside.throttle.limits import AttemptsInProgress, BudgetSpent, Limit, Rules, TooManyFailures

PROGRESS_TIMEOUT = 120.0
"""Seconds after which attempts of a process that was killed no longer count as in progress."""
PROGRESS_RETRY_AFTER = 1.0
"""Seconds in ``Retry-After`` if only attempts in progress use up the limit."""


class AccountThrottle:
    """Counts failures in the store, which all processes share.

    Every method may raise `StoreError`. An attempt with a previously accepted password is not limited, and is
    counted at its rejection: call `enter` and `not_checked` for other attempts only.

    :param counters: the failure counters.
    """

    def __init__(self, counters: FailureCounters) -> None:
        self._counters = counters

    async def enter(self, rules: Rules, account: str, address: str | None) -> None:
        """Count an attempt as a failure beforehand; count nothing if it is refused.

        :raises TooManyFailures: a limit is reached.
        """
        for limit in rules.consulted:
            count, seconds = await self._counters.count(limit.key_for(account, address))
            if count >= limit.max_failures:
                raise _reached(limit, seconds)
        counted: list[str] = []
        for limit in rules.enforced:
            key = limit.key_for(account, address)
            try:
                counted.append(await self._reserve(limit, key))
            except TooManyFailures:
                for each in counted:
                    await self._counters.take_back(each)
                raise

    async def accepted(self, rules: Rules, account: str, address: str | None, *, entered: bool) -> None:
        """Take back the failure that was counted beforehand, and reset the counts that a success resets."""
        if entered:
            await self.not_checked(rules, account, address)
        limits = rules.enforced + rules.counted + rules.restored
        reset = [limit.key_for(account, address) for limit in limits if limit.reset_by_success]
        if reset:
            await self._counters.forget(*reset)

    async def rejected(self, rules: Rules, account: str, address: str | None, *, entered: bool) -> None:
        """Count the failure."""
        for limit in rules.enforced + rules.counted:
            key = limit.key_for(account, address)
            in_progress = entered and limit in rules.enforced
            if limit.reset_by_success or not in_progress:
                await self._counters.add(key, UNLIMITED, limit.window)
            if limit.reset_by_success and in_progress:
                await self._counters.take_back(_in_progress(key))

    async def not_checked(self, rules: Rules, account: str, address: str | None) -> None:
        """Take back what was counted beforehand: the password reached no server."""
        for limit in rules.enforced:
            key = limit.key_for(account, address)
            await self._counters.take_back(_in_progress(key) if limit.reset_by_success else key)

    async def _reserve(self, limit: Limit, key: str) -> str:
        """Count an attempt, and return the key that it was counted under.

        :raises TooManyFailures: the limit is reached.
        """
        if not limit.reset_by_success:
            if not await self._counters.add(key, limit.max_failures, limit.window):
                raise _reached(limit, (await self._counters.count(key))[1])
            return key
        progress = _in_progress(key)
        added = await self._counters.add(progress, limit.max_failures, PROGRESS_TIMEOUT)
        failures, seconds = await self._counters.count(key)
        if added and failures + (await self._counters.count(progress))[0] <= limit.max_failures:
            return progress
        if added:
            await self._counters.take_back(progress)
        if failures < limit.max_failures:
            raise AttemptsInProgress(PROGRESS_RETRY_AFTER)
        raise _reached(limit, seconds)


def _in_progress(key: str) -> str:
    return f"{key} in progress"


def _reached(limit: Limit, seconds: float) -> TooManyFailures:
    return BudgetSpent(seconds) if limit.reset_by_success else TooManyFailures(seconds)
