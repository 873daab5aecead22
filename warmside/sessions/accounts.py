"""Announce users before their first login, and remove users."""

from collections.abc import Collection
from typing import Any

from warmside.bosh.errors import Busy
from warmside.jids import JID, ascii_host
from warmside.sessions.ending import SessionEnder
from warmside.sessions.passwords import Stores
from warmside.store.interface import KnownUsers

MAX_ROUNDS = 3
"""Maximum times that a removal ends the sessions of a user that is known again."""


class UserAccounts:
    """Announces and removes users.

    :param reactor: the reactor of long calls, which take turns with others.
    :param users: the known users.
    :param stores: one-time passwords and ended users.
    :param ender: ends the sessions of a removed user.
    """

    def __init__(self, reactor: Any, users: KnownUsers, stores: Stores, ender: SessionEnder) -> None:
        self.reactor = reactor
        self._users = users
        self._credentials = stores.credentials
        self._ends = stores.ends
        self._ender = ender

    async def announce(self, bares: Collection[str]) -> int:
        """Add users: all of them or, after an error, none. Return how many were new.

        :param bares: prepared bare JIDs; a JID may occur more than once.
        :raises UsersNotKept: the configuration names another authority on users.
        :raises StoreError: the store failed.
        """
        return await self._users.announce(bares)

    async def remove(self, jid: JID) -> None:
        """Remove a user, and end the user's sessions.

        The order leaves nothing behind. The mark comes first: a login that began before it fails. Then no one-time
        password is valid, ``isuser`` rejects the user, and the sessions end. A login that has passed its check of the
        mark may still make the user known. It is bound by then: the user is removed and the sessions end again.

        After an error the user is removed, and sessions may be left. The call may be repeated.

        :param jid: bare and prepared.
        :raises StoreError: the store failed.
        :raises Busy: logins or announcements of the user go on.
        :raises Exception: see `SessionEnder.end`.
        """
        bare = jid.userhost()
        # Files of 0.1 have users under the spelling that ejabberd uses.
        spellings = {bare, f"{jid.user}@{ascii_host(jid.host)}"}
        await self._ends.mark(bare)
        await self._credentials.store.revoke_all(bare)
        await self._users.forget(*spellings)
        for _ in range(MAX_ROUNDS):
            try:
                await self._ender.end(jid)
            finally:
                known_again = await self._users.forget(*spellings)
            if not known_again:
                return
        raise Busy("the user was logged in or announced again while being removed")
