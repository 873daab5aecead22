"""Check the parts that the service needs, for ``/ready``."""

from collections.abc import Awaitable, Callable, Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from warmside.sessions.singleflight import SingleFlight
from warmside.store.interface import KnownUsers, PasswordStore, StoreError, VerdictStore

MAX_AGE = 1.0
"""Seconds for which a result is returned again. Together with the time for a check it is less than two."""

OK = "ok"
MAX_NAMED_HOSTS = 20
"""Unsafe hosts that are named."""

PROBE_JID = "warmside-ready-" + 1000 * "x" + "@warmside.invalid"
"""JID for which the check of the store writes. Its row fills a page, since a full file may have room for a shorter one.
No server serves the host."""
PROBE_LIFETIME = 10.0
"""Seconds after which a password of the check expires, if the process ends before it removes the password."""

Check = Callable[[], Awaitable[str]]
"""Returns the state of one part: ``ok``, or a word for the fault. A cause may follow the word and ``: ``; it is logged,
and ``/ready`` does not show it."""


class Readiness:
    """Checks all parts at the same time, at most once a second for any number of requests.

    :param checks: by the name of the part.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, checks: Mapping[str, Check]) -> None:
        self._clock = clock
        self._checks = checks
        self._flight: SingleFlight[None, dict[str, str]] = SingleFlight()
        self._states: dict[str, str] = {}
        self._found: dict[str, str] = {}
        self._checked_at = float("-inf")

    async def check(self) -> dict[str, str]:
        """Return the state of each part, at most two seconds old."""
        if self._clock.seconds() - self._checked_at > MAX_AGE:
            return await self._flight.run(None, self._check)
        return self._states

    async def _check(self) -> dict[str, str]:
        started = self._clock.seconds()
        checks = [(part, Deferred.fromCoroutine(self._state(part, check))) for part, check in self._checks.items()]
        found = {part: await check for part, check in checks}
        if found != self._found and (self._found or set(found.values()) != {OK}):
            self.log.info("ready: {states}", states=", ".join(f"{part} {state}" for part, state in found.items()))
        self._states = {part: state.partition(": ")[0] for part, state in found.items()}
        self._found, self._checked_at = found, started
        return self._states

    async def _state(self, part: str, check: Check) -> str:
        """Return the state of a part; ``failed`` if its check raises an exception, which is logged."""
        try:
            return await check()
        except Exception:
            self.log.failure("ready: the check of {part} failed", part=part)
            return "failed"


async def check_store(store: PasswordStore, users: KnownUsers) -> str:
    """Return ``ok`` if the store does what a call needs: it writes, reads and deletes; else ``broken``."""
    try:
        password = await store.mint(PROBE_JID, PROBE_LIFETIME)
        try:
            redeemed = store.redeem(PROBE_JID, password.text.encode())
            if not (redeemed if isinstance(redeemed, bool) else await redeemed):
                return "broken: a one-time password that was stored can't be redeemed"
        finally:
            await store.revoke(password)
        users.check(PROBE_JID)
    except StoreError as error:
        return f"broken: {error}"
    return OK


async def check_hosts(verdicts: VerdictStore) -> str:
    """Return ``ok`` if no host is unsafe, else ``unsafe`` with their names; ``unknown`` if the store failed."""
    try:
        hosts = verdicts.unsafe()
    except StoreError:
        return "unknown"
    if not hosts:
        return OK
    further = f" and {len(hosts) - MAX_NAMED_HOSTS} more" if len(hosts) > MAX_NAMED_HOSTS else ""
    return f"unsafe {', '.join(hosts[:MAX_NAMED_HOSTS])}{further}"
