"""Known users without a store: ``extauth.users = "any"`` or ``"none"``, or an authority that knows the users."""

from collections.abc import Collection

from warmside.store.interface import UsersNotKept


class ConstantUsers:
    """`KnownUsers` with the same result for every JID.

    :param everyone: True if every user exists, False if no user does.
    :param setting: the setting that decides it, such as ``extauth.program``; for the error of `announce`.
    """

    def __init__(self, everyone: bool, setting: str = "extauth.users") -> None:
        self._everyone = everyone
        self._setting = setting

    def exists(self, bare: str) -> bool:
        """Return True if every user exists."""
        return self._everyone

    def remember(self, bare: str) -> None:
        """Do nothing."""

    async def announce(self, bares: Collection[str]) -> int:
        """Raise `UsersNotKept`."""
        raise UsersNotKept(
            f"warmside does not keep the users: {self._setting} in its configuration decides which users exist. "
            'Create the user there, or remove that key and leave extauth.users = "known"'
        )

    async def forget(self, *bares: str) -> bool:
        """Return False: no user is stored."""
        return False

    def check(self, bare: str) -> None:
        """Do nothing: no user is stored."""

    def close(self) -> None:
        """Do nothing."""
