"""Check the authority for ordinary passwords, for ``/ready``."""

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from warmside.extauth.authorities import NO_RESPONSE, UNAVAILABLE, Answer, AuthorityUnavailable
from warmside.extauth.request import ExtauthRequest

OK = "ok"
FAILED = "failed"
CHECK_TIMEOUT = 0.9
"""Seconds for one check."""
PENDING_TIMEOUT = 25.0
"""Seconds after which a request without a result is given up. An authority has to respond within them."""
USER = "warmside-ready-check"
"""User of the check's ``isuser`` request. No account should have this name."""
UNKNOWN_HOST = "warmside.invalid"
"""Host of the check's request as long as no host is known. No server serves it (RFC 2606)."""

Ask = Callable[[ExtauthRequest], Answer]


class AuthorityCheck:
    """Checks an authority with an ``isuser`` request, which changes nothing. Any result means that it works.

    :param ask: sends a request to the authority; ``None`` if no authority is configured.
    :ivar host: host of the next request. An authority may fail for a host that it does not know.
    """

    def __init__(self, reactor: Any, ask: Ask | None, host: str = UNKNOWN_HOST) -> None:
        self.host = host
        self._reactor = reactor
        self._ask = ask
        self._since = 0.0
        self._pending: Deferred[str] | None = None
        """The state that the outstanding request finds. A slow authority gets no second one meanwhile."""

    async def state(self) -> str:
        """Return the authority's state within `CHECK_TIMEOUT`; ``ok`` if no authority is configured.

        The other states are ``no-response``, ``failed`` after an exception that an authority must not raise, and the
        one that `AuthorityUnavailable` has. A cause may follow, after a colon. Raises nothing.
        """
        if self._ask is None:
            return OK
        now = self._reactor.seconds()
        if self._pending is None or now - self._since > PENDING_TIMEOUT:
            self._since = now
            self._pending = self._request(self._ask)
        state: Deferred[str] = Deferred()
        timer = self._reactor.callLater(CHECK_TIMEOUT, state.callback, f"{NO_RESPONSE}: within {CHECK_TIMEOUT} s")
        self._pending.addCallback(self._found, state)
        found = await state
        if timer.active():
            timer.cancel()
        return found

    def _found(self, found: str, state: "Deferred[str]") -> str:
        self._pending = None
        if not state.called:
            state.callback(found)
        return found

    def _request(self, ask: Ask) -> "Deferred[str]":
        """Send a request; return the state that its result means."""
        result: Deferred[bool] = Deferred()
        result.callback(True)
        result.addCallback(lambda _: ask(ExtauthRequest("isuser", USER, self.host)))
        return result.addCallbacks(lambda _: OK, _state_of)


def _state_of(failure: Failure) -> str:
    if failure.check(AuthorityUnavailable):
        state = str(failure.value)
        return state if re.fullmatch("[a-z-]{1,32}", state) else UNAVAILABLE
    return f"{FAILED}: {failure.type.__name__ if failure.type else ''}"
