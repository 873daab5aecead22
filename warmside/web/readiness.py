"""Check the parts that the service needs, for ``/ready``."""

from collections.abc import Awaitable, Callable, Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from warmside.sessions.singleflight import SingleFlight
from warmside.store.interface import PasswordStore, StoreError, VerdictStore

MAX_AGE = 1.0
"""Seconds for which a result is returned again. Together with the time for a check it is less than two."""

OK = "ok"
MAX_NAMED_HOSTS = 20
"""Unsafe hosts that are named."""

Check = Callable[[], Awaitable[str]]
"""Returns the state of one part: ``ok``, or a word for the fault."""


class Readiness:
    """Checks all parts, at most once a second for any number of requests.

    :param checks: by the name of the part.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, checks: Mapping[str, Check]) -> None:
        self._clock = clock
        self._checks = checks
        self._flight: SingleFlight[None, dict[str, str]] = SingleFlight()
        self._states: dict[str, str] = {}
        self._checked_at = float("-inf")

    async def check(self) -> dict[str, str]:
        """Return the state of each part, at most two seconds old."""
        if self._clock.seconds() - self._checked_at > MAX_AGE:
            return await self._flight.run(None, self._check)
        return self._states

    async def _check(self) -> dict[str, str]:
        started = self._clock.seconds()
        states = {part: await check() for part, check in self._checks.items()}
        if states != self._states and (self._states or set(states.values()) != {OK}):
            self.log.info("ready: {states}", states=", ".join(f"{part} {state}" for part, state in states.items()))
        self._states, self._checked_at = states, started
        return states


async def check_store(store: PasswordStore) -> str:
    """Return ``ok`` if the store can be written to, else ``broken``."""
    try:
        await store.sweep()
    except StoreError:
        return "broken"
    return OK


async def check_hosts(verdicts: VerdictStore) -> str:
    """Return ``ok`` if no host is unsafe, else ``unsafe:`` with their names; ``unknown`` if the store failed."""
    try:
        hosts = verdicts.unsafe()
    except StoreError:
        return "unknown"
    if not hosts:
        return OK
    further = f" and {len(hosts) - MAX_NAMED_HOSTS} more" if len(hosts) > MAX_NAMED_HOSTS else ""
    return f"unsafe: {', '.join(hosts[:MAX_NAMED_HOSTS])}{further}"
