"""Errors of a login over BOSH. Each is a type that holds the facts and the step of the login.

No message holds a password, a SID or text that the peer chose freely. What the peer sent appears only as a condition
of its protocol, or as the kind of thing it was.
"""

import re

UNDEFINED = "undefined-condition"
"""Condition of an error that names none, as all of these protocols call it."""


class BoshError(Exception):
    """A login failed.

    :ivar step: the step that the login was at, such as ``authentication``; the login's runner sets it.
    :ivar early: True if the cause may be an early request, so that a login without them may succeed.
    """

    step = "login"
    early = False

    def __init__(self, seen: str) -> None:
        super().__init__(seen)
        self.seen = seen


class Unreachable(BoshError):
    """The connection manager can't be connected to, or its connections break."""


class CertificateRejected(Unreachable):
    """The certificate of the connection manager can't be verified."""


class Busy(BoshError):
    """Too many logins are waiting for a connection."""


class TimedOut(BoshError):
    """The login took longer than ``bosh.timeout``."""


class InvalidResponse(BoshError):
    """The response is not BOSH, or not one that the protocol allows at this step."""


class ConditionError(BoshError):
    """The peer ended the login with one of its protocol's conditions.

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
    """The peer rejects an address with ``policy-violation``; the usual cause is mod_fail2ban.

    :ivar owner: whose address it is: ``warmside``, ``browser`` (sent as ``X-Forwarded-For``), or ``unknown``.
    """

    owner = "warmside"


class Refused(ConditionError):
    """The server rejected the credentials (RFC 6120, 6.5).

    The condition is ``not-authorized``, ``account-disabled`` or ``credentials-expired``.
    """


class NotAuthenticated(ConditionError):
    """Authentication failed for another reason than the credentials (RFC 6120, 6.5)."""


class NoMechanism(BoshError):
    """The server offers no SASL mechanism that warmside may use for this password."""


class ServerSignatureInvalid(BoshError):
    """The server did not prove that it knows the password (RFC 5802, the server's signature)."""


class NotBound(ConditionError):
    """The server did not bind a resource (RFC 6120, 7)."""


class NoSessionList(ConditionError):
    """The server did not list the user's sessions (XEP-0030, disco#items of the user's own bare JID)."""


class ResourceConflict(BoshError):
    """The server does not let a login take over a resource that is connected.

    :ivar setting: ejabberd's ``resource_conflict`` that does so: ``closenew`` or ``setresource``.
    """

    def __init__(self, setting: str) -> None:
        self.setting = setting
        super().__init__(f"the server did not give a connected resource to a new login (resource_conflict: {setting})")


class PauseTooLong(BoshError):
    """The requested pause is longer than the connection manager allows.

    :ivar limit: the longest time in seconds that the manager keeps an unattended session.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"the connection manager keeps an unattended session for at most {limit} seconds")


class WrongJID(BoshError):
    """The server bound an account that was not requested."""


def named(condition: str) -> str:
    """Return the condition if it has the form of a name, else ``undefined-condition``: replies quote it."""
    return condition if re.fullmatch(r"[a-z0-9-]{1,64}", condition) else UNDEFINED


def ended(kind: type[ConditionError], seen: str, condition: str) -> ConditionError:
    """Return the error for a condition that ends the session: `Banned` for ``policy-violation``, else ``kind``."""
    return Banned(seen, condition) if condition == "policy-violation" else kind(seen, condition)
