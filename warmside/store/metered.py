"""A store of one-time passwords that says what becomes of them, for the metrics."""

from collections.abc import Callable

from twisted.internet.defer import Deferred

from warmside.otp import OneTimePassword
from warmside.store.interface import IStore, RevocationStatus


class MeteredStore:
    """Another `IStore`, whose events are told.

    :param tell: is given an event (``minted``, ``revoked``, ``expired``) and how often.
    """

    def __init__(self, store: IStore, tell: Callable[[str, int], None]) -> None:
        self._store = store
        self._tell = tell

    async def mint(self, bare: str, lifetime: float) -> OneTimePassword:
        """See `IStore.mint`."""
        password = await self._store.mint(bare, lifetime)
        self._tell("minted", 1)
        return password

    def redeem(self, bare: str, password: bytes) -> "bool | Deferred[bool]":
        """See `IStore.redeem`. It is told by whoever answers ejabberd, when that is done."""
        return self._store.redeem(bare, password)

    async def revoke(self, password: OneTimePassword) -> RevocationStatus:
        """See `IStore.revoke`."""
        leftover = await self._store.revoke(password)
        if leftover is not RevocationStatus.GONE:
            self._tell("revoked", 1)
        return leftover

    async def revoke_all(self, bare: str) -> int:
        """See `IStore.revoke_all`."""
        number = await self._store.revoke_all(bare)
        if number:
            self._tell("revoked", number)
        return number

    async def sweep(self) -> int:
        """See `IStore.sweep`."""
        number = await self._store.sweep()
        if number:
            self._tell("expired", number)
        return number

    async def close(self) -> None:
        """See `IStore.close`."""
        await self._store.close()
