"""Who answers ejabberd's questions: a chain of authorities.

The one-time authority comes first and passes on only what is not its own. A password with the
one-time prefix must never get past it.
"""

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred

from warmside.extauth.questions import Question
from warmside.extauth.users import Users
from warmside.onetime import IStore, has_prefix

Answer = bool | Deferred[bool]
"""Yes or no, at once or later. At once costs nothing, and most answers are known at once."""


class IAuthority(Protocol):
    """Answers the questions of ejabberd's extauth protocol. User and host are prepared."""

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


def ask(authority: IAuthority, question: Question) -> Answer:
    """Put a question to an authority; ``certauth`` is refused, since nobody here knows certificates."""
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
    return False


class UsersAuthority:
    """The end of the chain when nobody else knows users: there are no passwords, and `Users` says who exists."""

    def __init__(self, users: Users) -> None:
        self._users = users

    def auth(self, user: str, host: str, password: bytes) -> bool:
        """Nobody has a password here."""
        return False

    def isuser(self, user: str, host: str) -> bool:
        """Whoever `Users` says exists."""
        return self._users.exists(f"{user}@{host}")

    def setpass(self, user: str, host: str, password: bytes) -> bool:
        """Refused: there is nowhere to keep a password."""
        return False

    def tryregister(self, user: str, host: str, password: bytes) -> bool:
        """Refused: users come from the web application."""
        return False

    def removeuser(self, user: str, host: str) -> bool:
        """Forget the user; whether he was known."""
        return self._users.forget(f"{user}@{host}")

    def removeuser3(self, user: str, host: str, password: bytes) -> bool:
        """Refused: no password is right."""
        return False


class OneTimeAuthority:
    """Redeems one-time passwords; everything else goes to the next authority."""

    def __init__(self, store: IStore, next_authority: IAuthority) -> None:
        self._store = store
        self._next = next_authority

    def auth(self, user: str, host: str, password: bytes) -> Answer:
        """Redeem a one-time password; pass on any other."""
        if has_prefix(password):
            return Deferred.fromCoroutine(self._store.redeem(f"{user}@{host}", password))
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

    def _revoke_then(self, user: str, host: str, proceed: Callable[[], Answer]) -> Answer:
        revoked = Deferred.fromCoroutine(self._store.revoke_all(f"{user}@{host}"))
        return revoked.addCallback(lambda _: proceed())


def _later(answer: Answer) -> "Deferred[bool]":
    if isinstance(answer, Deferred):
        return answer
    known: Deferred[bool] = Deferred()
    known.callback(answer)
    return known


class RefusingAuthority:
    """Says no to everything: what answers while the service can't."""

    def auth(self, user: str, host: str, password: bytes) -> bool:
        """No."""
        return False

    def isuser(self, user: str, host: str) -> bool:
        """No."""
        return False

    setpass = tryregister = removeuser3 = auth
    removeuser = isuser
