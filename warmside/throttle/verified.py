"""Which passwords were right before, so that no limit on guessing ever stops them.

In this process they are known by a keyed digest in memory; for the other processes there is a slow
one (scrypt) beside the counts, which is looked at only when a limit would stop a password.
"""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from warmside.store.interface import UNLIMITED, FailureCounters

MAX_REMEMBERED = 10_000
REMEMBERED = 86_400.0
"""Seconds for which the other processes know."""


class VerifiedPasswords:
    """Remembers what was right. Everything that makes a password another one belongs to the ``parts``.

    :param purpose: keeps users' passwords and admins' apart.
    :param run_work: runs a function off the reactor's thread.
    """

    def __init__(
        self, counts: FailureCounters, purpose: bytes, run_work: Callable[[Callable[[], bytes]], Awaitable[bytes]]
    ) -> None:
        self._counts = counts
        self._purpose = purpose
        self._run_work = run_work
        self._key = secrets.token_bytes(32)
        self._here: OrderedDict[bytes, None] = OrderedDict()

    def here(self, *parts: bytes) -> bool:
        """Whether this process knows that it was right."""
        return self.key(*parts) in self._here

    async def anywhere(self, *parts: bytes) -> bool:
        """Whether any process knows that it was right; this one then knows, too."""
        if not self.here(*parts) and (await self._counts.count(await self._shared_key(parts)))[0]:
            self._note(parts)
        return self.here(*parts)

    async def remember(self, *parts: bytes) -> None:
        """It was right."""
        if not self.here(*parts):
            await self._counts.add(await self._shared_key(parts), UNLIMITED, REMEMBERED)
        self._note(parts)

    async def forget(self, *parts: bytes) -> None:
        """It was right, and is no more; what was never right costs nothing."""
        if self._here.pop(self.key(*parts), self) is None:
            await self._counts.forget(await self._shared_key(parts))

    def _note(self, parts: tuple[bytes, ...]) -> None:
        self._here[self.key(*parts)] = None
        if len(self._here) > MAX_REMEMBERED:
            self._here.popitem(last=False)

    async def _shared_key(self, parts: tuple[bytes, ...]) -> str:
        salt = hashlib.sha256(self._purpose).digest()
        digest = await self._run_work(lambda: hashlib.scrypt(_joined(parts), salt=salt, n=2048, r=8, p=1))
        return f"right {digest.hex()}"

    def key(self, *parts: bytes) -> bytes:
        """A digest that only this process can make, to know the parts by."""
        return hashlib.blake2b(_joined(parts), key=self._key).digest()


def _joined(parts: tuple[bytes, ...]) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
