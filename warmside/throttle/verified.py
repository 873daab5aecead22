"""Previously accepted passwords, which no limit on failures refuses.

A process keeps keyed digests of them in memory. The store has slow digests (scrypt) for the other
processes. They are computed when a password is first accepted, and when a limit would refuse it.
"""

import hashlib
import secrets
from collections.abc import Awaitable, Callable

from cachetools import LRUCache

from warmside.store.interface import UNLIMITED, FailureCounters

MAX_REMEMBERED = 10_000
"""Accepted passwords in memory; the least recently used one is dropped."""
REMEMBER_TIMEOUT = 86_400.0
"""Seconds after which an accepted password expires in the store."""

RunWork = Callable[[Callable[[], bytes]], Awaitable[bytes]]
"""Runs a function off the reactor's thread."""


class VerifiedPasswords:
    """Remembers accepted passwords. ``parts`` are an account, its password, and what else identifies the acceptance.

    The asynchronous methods may raise `StoreError`.

    :param counters: the failure counters; they keep the digests for other processes.
    :param purpose: separates the passwords of different kinds.
    :param run_work: computes scrypt off the reactor's thread.
    """

    def __init__(self, counters: FailureCounters, purpose: bytes, run_work: RunWork) -> None:
        self._counters = counters
        self._salt = hashlib.sha256(purpose).digest()
        self._run_work = run_work
        self._key = secrets.token_bytes(32)
        self._accepted: LRUCache[bytes, bool] = LRUCache(MAX_REMEMBERED)

    def known_here(self, *parts: bytes) -> bool:
        """Return True if this process knows that the password was accepted."""
        return self._accepted.get(self.digest(*parts), False)

    async def known_anywhere(self, *parts: bytes) -> bool:
        """Return True if any process knows that the password was accepted. This process then knows it as well."""
        if self.known_here(*parts):
            return True
        if not (await self._counters.count(await self._shared_key(parts)))[0]:
            return False
        self._accepted[self.digest(*parts)] = True
        return True

    async def remember(self, *parts: bytes) -> None:
        """Remember an accepted password, for all processes."""
        if not self.known_here(*parts):
            await self._counters.add(await self._shared_key(parts), UNLIMITED, REMEMBER_TIMEOUT)
        self._accepted[self.digest(*parts)] = True

    async def forget(self, *parts: bytes) -> None:
        """Forget a password that is rejected now. Computes nothing slow if this process never knew it."""
        if self._accepted.pop(self.digest(*parts), False):
            await self._counters.forget(await self._shared_key(parts))

    def digest(self, *parts: bytes) -> bytes:
        """Return a digest that identifies the parts within this process. Other processes can't compute it."""
        return hashlib.blake2b(_joined(parts), key=self._key).digest()

    async def _shared_key(self, parts: tuple[bytes, ...]) -> str:
        digest = await self._run_work(lambda: hashlib.scrypt(_joined(parts), salt=self._salt, n=2048, r=8, p=1))
        return f"verified {digest.hex()}"


def _joined(parts: tuple[bytes, ...]) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
