"""Mint and revoke one-time passwords."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from warmside.otp import OneTimePassword
from warmside.store.interface import PasswordStore, RevocationStatus, SessionEnds, StoreError, VerdictStore


class OneTimePasswords:
    """One-time passwords of one lifetime.

    :param store: the store.
    :param lifetime: seconds after which a password expires.
    :param asked_elsewhere: returns True if another machine was asked about a password of this one.
    """

    log = Logger()

    def __init__(
        self,
        store: PasswordStore,
        lifetime: float,
        asked_elsewhere: Callable[[OneTimePassword], Awaitable[bool]] | None = None,
    ) -> None:
        self.store = store
        self.lifetime = lifetime
        self._asked_elsewhere = asked_elsewhere

    @property
    def one_of_several(self) -> bool:
        """True if other machines share passwords with this one."""
        return self._asked_elsewhere is not None

    async def mint(self, bare: str) -> OneTimePassword:
        """Mint a password for a prepared bare JID.

        :raises StoreError: the store failed.
        """
        return await self.store.mint(bare, self.lifetime)

    async def revoke(self, minted: OneTimePassword) -> RevocationStatus:
        """Revoke a password. A failure of the store is logged, so that a session is still handed over or ended."""
        try:
            return await self.store.revoke(minted)
        except StoreError as error:
            self.log.error(
                "a one-time password could not be revoked and expires within {lifetime:g} s: {reason}",
                lifetime=self.lifetime,
                reason=str(error),
            )
            return RevocationStatus.GONE

    async def revoke_rejected(self, minted: OneTimePassword) -> RevocationStatus:
        """Revoke a password that the server has rejected, and find out which machine it asked; see `revoke`."""
        status = await self.revoke(minted)
        asked_elsewhere = self._asked_elsewhere
        if status is RevocationStatus.UNASKED and asked_elsewhere is not None and await asked_elsewhere(minted):
            return RevocationStatus.ELSEWHERE
        return status

    def revoke_later(self, minted: OneTimePassword) -> None:
        """Revoke a password that was not delivered."""
        self.log.warn("a one-time password could not be delivered and is revoked")
        Deferred.fromCoroutine(self.revoke(minted))


@dataclass(frozen=True, slots=True)
class Stores:
    """Stores that warming uses.

    :param passwords: one-time passwords of this machine, for its own logins.
    :param credentials: one-time passwords for clients that log in themselves, valid at every machine. Its store
        revokes all passwords of a user, also those of this machine.
    :param verdicts: verdicts on hosts.
    :param ends: ended users and sessions.
    """

    passwords: OneTimePasswords
    credentials: OneTimePasswords
    verdicts: VerdictStore
    ends: SessionEnds
