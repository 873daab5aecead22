"""Request handlers: the chain that answers each extauth request.

`OneTimeAuthority` comes first. A password with the one-time prefix never reaches the next handler.
"""

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred

from warmside.extauth.authorities import Answer, IAuthority
from warmside.extauth.request import ExtauthRequest
from warmside.store.interface import KnownUsers, PasswordStore

READ_ONLY = ("auth", "isuser")
"""Operations that `ReadOnlyAuthority` passes on."""


class RequestHandler(Protocol):
    """Answers extauth requests."""

    def answer(self, request: ExtauthRequest) -> Answer:
        """Return True, or a Deferred that fires with True, if the request is accepted.

        :raises AuthorityUnavailable: it can't be answered now; a Deferred may fail with the same.
        """

    def close(self) -> "Deferred[None] | None":
        """Release all resources. Called once, when the service stops."""


class AuthorityAdapter:
    """Passes each request to the method of an authority that the operation names."""

    def __init__(self, authority: IAuthority) -> None:
        self._authority = authority

    def answer(self, request: ExtauthRequest) -> Answer:
        """Return the authority's result."""
        method: Callable[..., Answer] = getattr(self._authority, request.operation)
        if request.has_secret:
            return method(request.user, request.host, request.secret)
        return method(request.user, request.host)

    def close(self) -> "Deferred[None] | None":
        """Close the authority."""
        return self._authority.close()


class UsersAuthority:
    """Last handler where no other authority is configured: no password is valid, and `KnownUsers` knows the users."""

    def __init__(self, users: KnownUsers) -> None:
        self._users = users

    def answer(self, request: ExtauthRequest) -> Answer:
        """Answer ``isuser`` and ``removeuser``; reject everything else."""
        # Files of 0.1 have users under the spelling that ejabberd uses.
        jids = {request.bare_jid, f"{request.user}@{request.host}"}
        if request.operation == "isuser":
            return any(self._users.exists(jid) for jid in jids)
        if request.operation == "removeuser":
            return Deferred.fromCoroutine(self._users.forget(*jids))
        return False

    def close(self) -> None:
        """Do nothing: the users are closed where they were opened."""


class OneTimeAuthority:
    """Redeems one-time passwords and passes all other requests to the next handler."""

    def __init__(self, store: PasswordStore, next_handler: RequestHandler) -> None:
        self._store = store
        self._next = next_handler

    def answer(self, request: ExtauthRequest) -> Answer:
        """Redeem a one-time password for ``auth``; reject one in any other operation."""
        if request.has_one_time_prefix:
            return self._store.redeem(request.bare_jid, request.secret) if request.operation == "auth" else False
        if request.operation == "removeuser":
            return Deferred.fromCoroutine(self._revoke_and_remove(request))
        if request.operation == "removeuser3":
            return Deferred.fromCoroutine(self._remove_and_revoke(request))
        return self._next.answer(request)

    def close(self) -> "Deferred[None] | None":
        """Close the next handler."""
        return self._next.close()

    async def _revoke_and_remove(self, request: ExtauthRequest) -> bool:
        await self._store.revoke_all(request.bare_jid)
        return await _result(self._next.answer(request))

    async def _remove_and_revoke(self, request: ExtauthRequest) -> bool:
        """Revoke only after the next handler has accepted the user's password."""
        removed = await _result(self._next.answer(request))
        if removed:
            await self._store.revoke_all(request.bare_jid)
        return removed


class ReadOnlyAuthority:
    """Passes on ``auth`` and ``isuser`` and rejects everything else.

    For a TCP port, to which any local user can connect.
    """

    def __init__(self, next_handler: RequestHandler) -> None:
        self._next = next_handler

    def answer(self, request: ExtauthRequest) -> Answer:
        """Reject operations that change anything."""
        return self._next.answer(request) if request.operation in READ_ONLY else False

    def close(self) -> "Deferred[None] | None":
        """Close the next handler."""
        return self._next.close()


async def _result(answer: Answer) -> bool:
    return await answer if isinstance(answer, Deferred) else answer
