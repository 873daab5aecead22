"""Who answers ejabberd's questions: a chain of authorities.

The one-time authority comes first and passes on only what is not its own. A password with the
one-time prefix must never get past it.
"""

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred

from warmside.extauth.request import ExtauthRequest
from warmside.otp import has_prefix
from warmside.store.interface import KnownUsers, PasswordStore

Answer = bool | Deferred[bool]
"""Yes or no, at once or later. At once costs nothing, and most answers are known at once."""


class AuthorityUnavailable(Exception):
    """An authority can't answer now. Whoever raises it has logged why; the question is refused."""


class IAuthority(Protocol):
    """Answers the questions of ejabberd's extauth protocol.

    User and host are prepared; passwords are bytes, since nothing guarantees UTF-8. A Deferred has to
    fire before ejabberd's 30 seconds are over. Whoever can't answer now raises `AuthorityUnavailable`, or fires
    with it.
    """

    def auth(self, user: str, host: str, password: bytes) -> Answer:
        """Whether the password is right."""

    def isuser(self, user: str, host: str) -> Answer:
        """Whether the user exists."""

    def setpass(self, user: str, host: str, password: bytes) -> Answer:
        """Set a password; whether that was done."""

    def tryregister(self, user: str, host: str, password: bytes) -> Answer:
        """Register an account; whether that was done."""

    def removeuser(self, user: str, host: str) -> Answer:
        """Remove an account; whether that was done."""

    def removeuser3(self, user: str, host: str, password: bytes) -> Answer:
        """Remove an account if the password is right; whether that was done."""

    def certauth(self, user: str, host: str, certificate: bytes) -> Answer:
        """Whether the client's certificate is this user's."""

    def close(self) -> "Deferred[None] | None":
        """Let go of whatever it has; called once, when the service stops."""


class Authority:
    """Says no to everything: what answers while the service can't, and a base for authorities of one's own."""

    def auth(self, user: str, host: str, password: bytes) -> Answer:
        """See `IAuthority.auth`."""
        return False

    def isuser(self, user: str, host: str) -> Answer:
        """See `IAuthority.isuser`."""
        return False

    def setpass(self, user: str, host: str, password: bytes) -> Answer:
        """See `IAuthority.setpass`."""
        return False

    def tryregister(self, user: str, host: str, password: bytes) -> Answer:
        """See `IAuthority.tryregister`."""
        return False

    def removeuser(self, user: str, host: str) -> Answer:
        """See `IAuthority.removeuser`."""
        return False

    def removeuser3(self, user: str, host: str, password: bytes) -> Answer:
        """See `IAuthority.removeuser3`."""
        return False

    def certauth(self, user: str, host: str, certificate: bytes) -> Answer:
        """See `IAuthority.certauth`."""
        return False

    def close(self) -> "Deferred[None] | None":
        """See `IAuthority.close`."""
        return None


class ForwardingAuthority(Authority):
    """Puts every question to something that is no Python: subclasses say how, in `forward`."""

    def forward(self, operation: str, user: str, host: str, secret: bytes | None) -> Answer:
        """The answer to a question; ``secret`` is ``None`` for operations without one."""
        raise NotImplementedError

    def auth(self, user: str, host: str, password: bytes) -> Answer:
        """See `IAuthority.auth`."""
        return self.forward("auth", user, host, password)

    def isuser(self, user: str, host: str) -> Answer:
        """See `IAuthority.isuser`."""
        return self.forward("isuser", user, host, None)

    def setpass(self, user: str, host: str, password: bytes) -> Answer:
        """See `IAuthority.setpass`."""
        return self.forward("setpass", user, host, password)

    def tryregister(self, user: str, host: str, password: bytes) -> Answer:
        """See `IAuthority.tryregister`."""
        return self.forward("tryregister", user, host, password)

    def removeuser(self, user: str, host: str) -> Answer:
        """See `IAuthority.removeuser`."""
        return self.forward("removeuser", user, host, None)

    def removeuser3(self, user: str, host: str, password: bytes) -> Answer:
        """See `IAuthority.removeuser3`."""
        return self.forward("removeuser3", user, host, password)

    def certauth(self, user: str, host: str, certificate: bytes) -> Answer:
        """See `IAuthority.certauth`."""
        return self.forward("certauth", user, host, certificate)


def ask(authority: IAuthority, question: ExtauthRequest) -> Answer:
    """Put a question to an authority."""
    user, host, secret = question.user, question.host, question.secret
    match question.operation:
        case "auth":
            return authority.auth(user, host, secret)
        case "isuser":
            return authority.isuser(user, host)
        case "setpass":
            return authority.setpass(user, host, secret)
        case "tryregister":
            return authority.tryregister(user, host, secret)
        case "removeuser":
            return authority.removeuser(user, host)
        case "removeuser3":
            return authority.removeuser3(user, host, secret)
        case "certauth":
            return authority.certauth(user, host, secret)
    raise AssertionError("ExtauthRequest.parse knows no other operation")


class UsersAuthority(Authority):
    """The end of the chain when nobody else knows users: there are no passwords, and `KnownUsers` says who exists."""

    def __init__(self, users: KnownUsers) -> None:
        self._users = users

    def isuser(self, user: str, host: str) -> bool:
        """Whoever `KnownUsers` says exists."""
        return self._users.exists(f"{user}@{host}")

    def removeuser(self, user: str, host: str) -> bool:
        """Forget the user; whether he was known."""
        return self._users.forget(f"{user}@{host}")


class OneTimeAuthority:
    """Redeems one-time passwords; everything else goes to the next authority."""

    def __init__(self, store: PasswordStore, next_authority: IAuthority) -> None:
        self._store = store
        self._next = next_authority

    def auth(self, user: str, host: str, password: bytes) -> Answer:
        """Redeem a one-time password; pass on any other."""
        if has_prefix(password):
            return self._store.redeem(f"{user}@{host}", password)
        return self._next.auth(user, host, password)

    def isuser(self, user: str, host: str) -> Answer:
        """Passed on."""
        return self._next.isuser(user, host)

    def setpass(self, user: str, host: str, password: bytes) -> Answer:
        """Passed on unless the password looks like a one-time password."""
        return False if has_prefix(password) else self._next.setpass(user, host, password)

    def tryregister(self, user: str, host: str, password: bytes) -> Answer:
        """Passed on unless the password looks like a one-time password."""
        return False if has_prefix(password) else self._next.tryregister(user, host, password)

    def removeuser(self, user: str, host: str) -> Answer:
        """Revoke the user's one-time passwords, then pass on."""
        return self._revoke_then(user, host, lambda: self._next.removeuser(user, host))

    def removeuser3(self, user: str, host: str, password: bytes) -> Answer:
        """Pass on unless the password looks like a one-time password, which only ``auth`` redeems."""
        if has_prefix(password):
            return False
        answered = _later(self._next.removeuser3(user, host, password))

        def then(removed: bool) -> Answer:
            return self._revoke_then(user, host, lambda: True) if removed else False

        return answered.addCallback(then)

    def certauth(self, user: str, host: str, certificate: bytes) -> Answer:
        """Passed on unless it looks like a one-time password."""
        return False if has_prefix(certificate) else self._next.certauth(user, host, certificate)

    def close(self) -> "Deferred[None] | None":
        """Closes the next authority."""
        return self._next.close()

    def _revoke_then(self, user: str, host: str, proceed: Callable[[], Answer]) -> Answer:
        revoked = Deferred.fromCoroutine(self._store.revoke_all(f"{user}@{host}"))
        return revoked.addCallback(lambda _: proceed())


class ReadOnlyAuthority(Authority):
    """Answers ``auth`` and ``isuser`` alone: for peers of whom nothing is known but that they are on this machine."""

    def __init__(self, authority: IAuthority) -> None:
        self._authority = authority

    def auth(self, user: str, host: str, password: bytes) -> Answer:
        """Passed on."""
        return self._authority.auth(user, host, password)

    def isuser(self, user: str, host: str) -> Answer:
        """Passed on."""
        return self._authority.isuser(user, host)


def _later(answer: Answer) -> "Deferred[bool]":
    if isinstance(answer, Deferred):
        return answer
    known: Deferred[bool] = Deferred()
    known.callback(answer)
    return known
