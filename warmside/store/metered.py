"""Count the events of a password store for the metrics."""

from collections.abc import Callable

from twisted.internet.defer import Deferred

from warmside.otp import OneTimePassword
from warmside.store.interface import PasswordStore, RevocationStatus


class MeteredStore:
    """A `PasswordStore` that forwards each operation to another one and reports its events.

    :param report: called with an event (``minted``, ``revoked`` or ``expired``) and the number of passwords.
    """

    def __init__(self, store: PasswordStore, report: Callable[[str, int], None]) -> None:
        self._store = store
        self._report = report

    async def mint(self, bare: str, lifetime: float) -> OneTimePassword:
        """See `PasswordStore.mint`."""
        password = await self._store.mint(bare, lifetime)
        self._report("minted", 1)
        return password

    def redeem(self, bare: str, password: bytes) -> "bool | Deferred[bool]":
        """See `PasswordStore.redeem`. The extauth protocol reports it once the response is written."""
        return self._store.redeem(bare, password)

    async def revoke(self, password: OneTimePassword) -> RevocationStatus:
        """See `PasswordStore.revoke`."""
        status = await self._store.revoke(password)
        if status is not RevocationStatus.GONE:
            self._report("revoked", 1)
        return status

    async def revoke_all(self, bare: str) -> int:
        """See `PasswordStore.revoke_all`."""
        number = await self._store.revoke_all(bare)
        if number:
            self._report("revoked", number)
        return number

    async def sweep(self) -> int:
        """See `PasswordStore.sweep`."""
        number = await self._store.sweep()
        if number:
            self._report("expired", number)
        return number

    async def close(self) -> None:
        """See `PasswordStore.close`."""
        await self._store.close()
