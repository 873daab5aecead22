"""Public interface of authorities: Python code that answers ejabberd's requests about ordinary passwords.

An authority subclasses `Authority` and overrides the operations that it supports, or has all methods of
`IAuthority`. ``extauth.authority`` in the configuration names it. A minimal one::

    class Sesame(Authority):
        def __init__(self, reactor):
            pass

        def auth(self, user, host, password):
            return password == b"sesame"
"""

from typing import Protocol

from twisted.internet.defer import Deferred

Answer = bool | Deferred[bool]
"""Result of an operation. Return a plain bool where it is known at once: that is faster than a Deferred."""


UNAVAILABLE, NO_RESPONSE = "unavailable", "no-response"
"""States of an authority in ``/ready``."""


class AuthorityUnavailable(Exception):
    """Raised by an authority that can't answer now. It logs the reason itself; the request is rejected.

    Its argument is the state that ``/ready`` shows: at most 32 lower-case letters and hyphens; by default
    ``unavailable``.
    """


class IAuthority(Protocol):
    """Operations of ejabberd's extauth protocol. Each method here rejects.

    ``user`` and ``host`` are prepared by ejabberd. Passwords are bytes, because they may be no UTF-8.
    A Deferred has to fire within 25 seconds. An authority that can't answer raises `AuthorityUnavailable`,
    or its Deferred fails with it.
    """

    def auth(self, user: str, host: str, password: bytes) -> Answer:
        """Return True if the password is valid."""
        return False

    def isuser(self, user: str, host: str) -> Answer:
        """Return True if the user exists."""
        return False

    def setpass(self, user: str, host: str, password: bytes) -> Answer:
        """Set a password. Return True if it was set."""
        return False

    def tryregister(self, user: str, host: str, password: bytes) -> Answer:
        """Register an account. Return True if it was registered."""
        return False

    def removeuser(self, user: str, host: str) -> Answer:
        """Remove an account. Return True if it was removed."""
        return False

    def removeuser3(self, user: str, host: str, password: bytes) -> Answer:
        """Remove an account if the password is valid. Return True if it was removed."""
        return False

    def certauth(self, user: str, host: str, certificate: bytes) -> Answer:
        """Return True if the client's certificate belongs to the user."""
        return False

    def close(self) -> "Deferred[None] | None":
        """Release all resources. Called once, when the service stops."""
        return None


class Authority(IAuthority):
    """Base class of authorities. Rejects every operation that a subclass does not override."""
