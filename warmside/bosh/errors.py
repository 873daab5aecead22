"""How a login over BOSH can fail. Each error is a type with the facts in it and the step it came at.

No text here may hold a password, a SID or anything else that the other side chose freely: what it
sent is quoted only as one of the conditions that its protocol knows, or as the kind of thing it was.
"""

import re

UNDEFINED = "undefined-condition"
"""The condition of whoever gives none, as all of these protocols call it."""


class BoshError(Exception):
    """A login failed.

    :ivar step: what the login was at, such as ``authentication``; set by whoever drives it.
    """

    step = "login"

    def __init__(self, seen: str) -> None:
        super().__init__(seen)
        self.seen = seen


class Unreachable(BoshError):
    """The connection manager can't be connected to, or its connections break."""


class Busy(BoshError):
    """Too many logins wait for a connection already."""


class TimedOut(BoshError):
    """The login took longer than ``bosh.timeout``."""


class InvalidResponse(BoshError):
    """The answer was no BOSH response, or not one that the protocol allows here."""


class ConditionError(BoshError):
    """The other side ended the login with one of its protocol's conditions.

    :ivar condition: the condition's name, or ``undefined-condition``.
    """

    def __init__(self, seen: str, condition: str) -> None:
        self.condition = named(condition)
        super().__init__(f"{seen} ({self.condition})")


class Terminated(ConditionError):
    """The connection manager terminated the session (XEP-0124, 17)."""


class StreamFailed(ConditionError):
    """The server closed the stream with a stream error (RFC 6120, 4.9)."""


class Banned(ConditionError):
    """The server wants nothing of us (``policy-violation``): most often mod_fail2ban."""


class Refused(ConditionError):
    """The server refused the credentials (RFC 6120, 6.5: ``not-authorized`` and its kin)."""


class NotAuthenticated(ConditionError):
    """Authentication failed for another reason than the credentials (RFC 6120, 6.5)."""


class NoMechanism(BoshError):
    """The server offers no SASL mechanism that warmside may use for this password."""


class ServerSignatureInvalid(BoshError):
    """The server could not prove that it knows the password (RFC 5802, the server's signature)."""


class NotBound(ConditionError):
    """The server would not bind a resource (RFC 6120, 7)."""


class PauseTooLong(BoshError):
    """The session is to survive longer unattended than the manager allows; ``limit`` is that, in seconds."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"the connection manager keeps an unattended session for {limit} seconds at most")


class WrongJID(BoshError):
    """The server bound another account than the one asked for."""


def named(condition: str) -> str:
    """A condition's name if it looks like one, else ``undefined-condition``: it is quoted in replies."""
    return condition if re.fullmatch(r"[a-z0-9-]{1,64}", condition) else UNDEFINED


def ended(kind: type[ConditionError], seen: str, condition: str) -> ConditionError:
    """The error for a condition that ends everything: `Banned` for ``policy-violation``, else ``kind``."""
    return Banned(seen, condition) if condition == "policy-violation" else kind(seen, condition)
