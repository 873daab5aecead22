"""Whether all that the service needs is there: the store, and the connection managers."""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from warmside.bosh.errors import BoshError
from warmside.bosh.transport import ConnectionManager
from warmside.sessions.singleflight import SingleFlight
from warmside.store.interface import PasswordStore, StoreError

MAX_AGE = 1.0
"""Seconds for which what was seen is told again; with the time to look it is less than two."""
TIME_TO_LOOK = 0.9


class Readiness:
    """Looks at the parts, once for all who ask within a second.

    :param managers: gives the ways to the connection managers that may be used.
    """

    log = Logger()

    def __init__(self, reactor: Any, store: PasswordStore, managers: Callable[[], Sequence[ConnectionManager]]) -> None:
        self._reactor = reactor
        self._store = store
        self._managers = managers
        self._looks: SingleFlight[None, dict[str, str]] = SingleFlight()
        self._seen: dict[str, str] = {}
        self._seen_at = float("-inf")

    async def look(self) -> dict[str, str]:
        """Each part's state: ``ok``, or what is wrong in a word."""
        if self._reactor.seconds() - self._seen_at > MAX_AGE:
            return await self._looks.run(None, self._look)
        return self._seen

    async def _look(self) -> dict[str, str]:
        started = self._reactor.seconds()
        seen = {"store": await self._store_state(), "connection_manager": await self._managers_state()}
        if seen != self._seen and (self._seen or set(seen.values()) != {"ok"}):
            self.log.info("ready: {seen}", seen=", ".join(f"{part} {state}" for part, state in seen.items()))
        self._seen, self._seen_at = seen, started
        return seen

    async def _store_state(self) -> str:
        try:
            await self._store.sweep()
        except StoreError:
            return "broken"
        return "ok"

    async def _managers_state(self) -> str:
        looks = [Deferred.fromCoroutine(self._manager_state(manager)) for manager in self._managers()]
        states = [await look for look in looks]
        return next((state for state in states if state != "ok"), "ok")

    async def _manager_state(self, manager: ConnectionManager) -> str:
        try:
            await Deferred.fromCoroutine(manager.look()).addTimeout(TIME_TO_LOOK, self._reactor)
        except (BoshError, TimeoutError):
            return "unreachable"
        return "ok"
