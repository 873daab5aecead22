"""What an authority said last, for the time that it is down: a no to ``isuser`` would lose messages."""

import time
from collections import OrderedDict
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from warmside.extauth.authorities import Answer, AuthorityUnavailable, IAuthority

REMEMBERED = 3600.0
"""Seconds for which a yes to ``isuser`` counts while the authority is down."""
MAX_REMEMBERED = 50_000


class StaleIsUserCache:
    """Passes everything on; while the other authority is down, its last yes to ``isuser`` counts for an hour.

    :param authority: raises, or fails with, `AuthorityUnavailable` when it can't answer.
    :param clock: the time in seconds.
    """

    def __init__(self, authority: IAuthority, clock: Callable[[], float] = time.monotonic) -> None:
        self._authority = authority
        self._clock = clock
        self._exists: OrderedDict[str, float] = OrderedDict()

    def auth(self, user: str, host: str, password: bytes) -> Answer:
        """Passed on."""
        return self._authority.auth(user, host, password)

    def setpass(self, user: str, host: str, password: bytes) -> Answer:
        """Passed on."""
        return self._authority.setpass(user, host, password)

    def certauth(self, user: str, host: str, certificate: bytes) -> Answer:
        """Passed on."""
        return self._authority.certauth(user, host, certificate)

    def close(self) -> "Deferred[None] | None":
        """Closes the other authority."""
        return self._authority.close()

    def isuser(self, user: str, host: str) -> Answer:
        """What the other authority says, or said last."""
        bare = f"{user}@{host}"
        try:
            answer = self._authority.isuser(user, host)
        except AuthorityUnavailable:
            return self._remembered(bare)
        if isinstance(answer, Deferred):
            return answer.addCallbacks(self._remember, self._down, callbackArgs=(bare,), errbackArgs=(bare,))
        return self._remember(answer, bare)

    def tryregister(self, user: str, host: str, password: bytes) -> Answer:
        """Passed on; whoever was registered exists."""
        return self._note(self._authority.tryregister(user, host, password), f"{user}@{host}", exists=True)

    def removeuser(self, user: str, host: str) -> Answer:
        """Passed on; whoever was removed exists no more."""
        return self._note(self._authority.removeuser(user, host), f"{user}@{host}", exists=False)

    def removeuser3(self, user: str, host: str, password: bytes) -> Answer:
        """Passed on; whoever was removed exists no more."""
        return self._note(self._authority.removeuser3(user, host, password), f"{user}@{host}", exists=False)

    def _note(self, answer: Answer, bare: str, *, exists: bool) -> Answer:
        def done(result: bool) -> bool:
            if result:
                self._remember(exists, bare)
            return result

        return answer.addCallback(done) if isinstance(answer, Deferred) else done(answer)

    def _remember(self, exists: bool, bare: str) -> bool:
        self._exists.pop(bare, None)
        if exists:
            self._exists[bare] = self._clock() + REMEMBERED
            if len(self._exists) > MAX_REMEMBERED:
                self._exists.popitem(last=False)
        return exists

    def _down(self, failure: Failure, bare: str) -> bool:
        failure.trap(AuthorityUnavailable)
        return self._remembered(bare)

    def _remembered(self, bare: str) -> bool:
        if self._exists.get(bare, 0.0) > self._clock():
            return True
        raise AuthorityUnavailable
