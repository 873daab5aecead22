"""Previously accepted passwords, which no limit on failures refuses."""

from warmside.store.accepted import AcceptedPasswords


class VerifiedPasswords:
    """Remembers accepted passwords. ``parts`` are an account, its password, and what else identifies the acceptance.

    `known`, `remember` and `forget` may raise `StoreError`.

    :param accepted: keeps digests for all processes of the machine, in volatile memory.
    :param purpose: separates the passwords of different kinds.
    """

    def __init__(self, accepted: AcceptedPasswords, purpose: bytes) -> None:
        self._accepted = accepted
        self._purpose = purpose

    def digest(self, *parts: bytes) -> bytes:
        """Return a keyed digest that identifies the parts."""
        return self._accepted.digest(self._purpose, *parts)

    def known(self, *parts: bytes) -> bool:
        """Return True if a process of this machine knows that the password was accepted."""
        return self._accepted.contains(self.digest(*parts))

    def remember(self, *parts: bytes) -> None:
        """Remember an accepted password, for all processes."""
        self._accepted.add(self.digest(*parts))

    def forget(self, *parts: bytes) -> None:
        """Forget a password that is rejected now, for all processes."""
        self._accepted.remove(self.digest(*parts))
