"""Known users without a store: ``extauth.users = "any"`` or ``"none"``."""


class ConstantUsers:
    """`KnownUsers` with the same result for every JID.

    :param everyone: True if every user exists, False if no user does.
    """

    def __init__(self, everyone: bool) -> None:
        self._everyone = everyone

    def exists(self, bare: str) -> bool:
        """Return True if every user exists."""
        return self._everyone

    def remember(self, bare: str) -> None:
        """Do nothing."""

    def forget(self, bare: str) -> bool:
        """Return False: no user is stored."""
        return False

    def check(self, bare: str) -> None:
        """Do nothing: no user is stored."""

    def close(self) -> None:
        """Do nothing."""
