"""Cache of ``isuser`` results for outages.

A rejected ``isuser`` makes ejabberd bounce messages to a user that is offline.
"""

import time
from collections.abc import Callable
from contextlib import suppress

from cachetools import TTLCache
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from warmside.extauth.authorities import Answer, AuthorityUnavailable
from warmside.extauth.handlers import RequestHandler
from warmside.extauth.request import ExtauthRequest

CACHE_TIMEOUT = 3600.0
"""Seconds for which a user is taken to exist while the authority is unavailable."""
MAX_USERS = 50_000
"""Users in the cache; the least recently used one is dropped first."""

EXISTENCE_AFTER = {"tryregister": True, "removeuser": False, "removeuser3": False}
"""True if the user exists once the operation was accepted."""


class StaleIsUserCache:
    """Passes requests on; while the next handler is unavailable, answers ``isuser`` from earlier results.

    :param next_handler: raises `AuthorityUnavailable`, or its Deferred fails with it, if it can't answer.
    :param clock: returns the time in seconds.
    """

    def __init__(self, next_handler: RequestHandler, clock: Callable[[], float] = time.monotonic) -> None:
        self._next = next_handler
        self._existing: TTLCache[str, bool] = TTLCache(MAX_USERS, CACHE_TIMEOUT, clock)

    def answer(self, request: ExtauthRequest) -> Answer:
        """Return the next handler's result, for ``isuser`` possibly an earlier one."""
        if request.operation == "isuser":
            return self._isuser(request)
        answer = self._next.answer(request)
        if request.operation not in EXISTENCE_AFTER:
            return answer
        if isinstance(answer, Deferred):
            return answer.addCallback(self._note_change, request)
        return self._note_change(answer, request)

    def close(self) -> "Deferred[None] | None":
        """Close the next handler."""
        return self._next.close()

    def _isuser(self, request: ExtauthRequest) -> Answer:
        jid = request.bare_jid
        try:
            answer = self._next.answer(request)
        except AuthorityUnavailable:
            return self._cached(jid)
        if isinstance(answer, Deferred):
            return answer.addCallbacks(self._note, self._failed, callbackArgs=(jid,), errbackArgs=(jid,))
        return self._note(answer, jid)

    def _note_change(self, accepted: bool, request: ExtauthRequest) -> bool:
        if accepted:
            self._note(EXISTENCE_AFTER[request.operation], request.bare_jid)
        return accepted

    def _note(self, exists: bool, jid: str) -> bool:
        if exists:
            self._existing[jid] = True
        else:
            with suppress(KeyError):
                del self._existing[jid]
        return exists

    def _failed(self, failure: Failure, jid: str) -> bool:
        failure.trap(AuthorityUnavailable)
        return self._cached(jid)

    def _cached(self, jid: str) -> bool:
        if jid in self._existing:
            return True
        raise AuthorityUnavailable
