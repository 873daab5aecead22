"""Problems: every status other than 200, and the problem that each failure becomes.

To add a problem: an entry in `PROBLEMS`, and `Problem` raised with its name.
"""

from http import HTTPStatus

from warmside.findings import OBSERVED
from warmside.sessions.errors import (
    Banned,
    BoshError,
    Busy,
    ConditionError,
    EndedMeanwhile,
    NoSessionList,
    NotAuthenticated,
    OneTimeRefused,
    PauseTooLong,
    Refused,
    ResourceConflict,
    RevocationStatus,
    SessionsLeft,
    StoreError,
    StreamFailed,
    Terminated,
    TimedOut,
    TooManyFailures,
    Unreachable,
    UnsafeHost,
    UsersNotKept,
)

PROBLEMS = {
    "malformed": 400,
    "query": 400,
    "body": 400,
    "field": 400,
    "unauthorized": 401,
    "foreign-origin": 403,
    "policy": 403,
    "password-refused": 403,
    "account-disabled": 403,
    "credentials-expired": 403,
    "not-found": 404,
    "method-not-allowed": 405,
    "not-acceptable": 406,
    "too-slow": 408,
    "ended": 409,
    "users-not-kept": 409,
    "too-large": 413,
    "too-many-fields": 413,
    "unsupported-type": 415,
    "too-many-failures": 429,
    "header-too-large": 431,
    "internal": 500,
    "login-failed": 502,
    "aborted": 502,
    "encryption-required": 502,
    "incorrect-encoding": 502,
    "invalid-authzid": 502,
    "invalid-mechanism": 502,
    "malformed-request": 502,
    "mechanism-too-weak": 502,
    "no-session-list": 502,
    "otp-not-asked": 502,
    "otp-refused": 502,
    "resource-conflict": 502,
    "banned": 503,
    "busy": 503,
    "sessions-left": 503,
    "store": 503,
    "temporary-auth-failure": 503,
    "unreachable": 503,
    "unsafe-host": 503,
    "timeout": 504,
}
"""Status of each problem, by the last part of its type ``urn:warmside:NAME``."""

RETRY_AFTER = {"banned": 60, "unsafe-host": 10, "busy": 1, "sessions-left": 1}
"""Seconds after which a call may be repeated, for ``Retry-After``, where they differ from `DEFAULT_RETRY_AFTER`."""
DEFAULT_RETRY_AFTER = 5
"""Seconds; every reply with status 503 or 504 has a ``Retry-After``."""

PHRASES = {413: "Content Too Large", 431: "Request Header Fields Too Large"}
"""Reason phrases of RFC 9110 that differ from Python's."""


class Problem(Exception):
    """A reply with a status other than 200.

    :ivar name: the last part of the problem's type, ``urn:warmside:NAME``; a key of `PROBLEMS`.
    :ivar detail: what failed, and how to fix it; shown to the client.
    :ivar extra: further members of the JSON form, such as ``field`` or ``step``.
    """

    def __init__(self, name: str, detail: str, *, headers: dict[str, str] | None = None, **extra: str | int) -> None:
        super().__init__(detail)
        self.status = PROBLEMS[name]
        self.name = name
        self.detail = detail
        self.headers = dict(headers or {})
        if self.status in (503, 504):
            self.headers.setdefault("Retry-After", str(RETRY_AFTER.get(name, DEFAULT_RETRY_AFTER)))
        self.extra = extra


def phrase(status: int) -> str:
    """Return the reason phrase of a status."""
    return PHRASES.get(status) or HTTPStatus(status).phrase


REJECTED = (
    "ejabberd rejected a new one-time password: it asked warmside, but too late or for another JID than the one "
    "that the password was issued for"
)
ACCEPTED = (
    "ejabberd rejected a new one-time password that warmside had accepted: another program or setting rejects "
    "this user, or warmside's response was lost twice"
)
ONE_TIME_PROBLEMS = {
    RevocationStatus.UNASKED: ("otp-not-asked", OBSERVED["not-asked"]),
    RevocationStatus.ELSEWHERE: ("otp-not-asked", OBSERVED["bosh-elsewhere"]),
    RevocationStatus.ASKED: ("otp-refused", REJECTED),
    RevocationStatus.GONE: ("otp-refused", ACCEPTED),
}

SASL_PROBLEMS = {
    "account-disabled": "ejabberd says that the account is disabled, as after ban_account: enable it there first",
    "credentials-expired": "ejabberd says that the account's credentials have expired: renew them there",
    "temporary-auth-failure": (
        "ejabberd can't check passwords at the moment: its log names the cause, such as a failed database or "
        "extauth_program"
    ),
    "aborted": "ejabberd aborted the authentication",
    "encryption-required": "ejabberd requires TLS before authentication: allow PLAIN for BOSH on loopback",
    "incorrect-encoding": "ejabberd could not decode the authentication request",
    "invalid-authzid": "ejabberd rejected the authorization identity",
    "invalid-mechanism": "ejabberd does not accept the SASL mechanism that it offered",
    "malformed-request": "ejabberd could not read the authentication request",
    "mechanism-too-weak": "ejabberd requires a stronger SASL mechanism for this account",
}
"""SASL conditions that say more than ``not-authorized`` (RFC 6120, 6.5). Each is a problem of the same name."""
BANNED_ADDRESS = {
    "warmside": OBSERVED["banned"],
    "browser": (
        "ejabberd bans the browser's address, which the field address names, and not warmside's: "
        "the usual cause is mod_fail2ban, after failed logins from there"
    ),
    "unknown": (
        "ejabberd bans the browser's address, which the field address names, or warmside's: "
        "the usual cause is mod_fail2ban, after failed logins from there"
    ),
}
"""The cause of a ban, by `Banned.owner`."""


RESTARTING = frozenset(
    {
        "connection-timeout",
        "host-gone",
        "item-not-found",
        "remote-connection-failed",
        "remote-stream-error",
        "reset",
        "resource-constraint",
        "system-shutdown",
    }
)
"""Conditions with which a server that stops, restarts or is overloaded ends sessions (XEP-0124, 17.2; RFC 6120, 4.9.3).
``item-not-found`` means that it lost the session of the login."""


INTERNAL_ERROR = "internal-server-error"


def problem_for(error: Exception) -> Problem | None:
    """Return the problem for a failure of `warmside.sessions`; ``None`` for any other exception."""
    match error:
        case TooManyFailures():
            return Problem("too-many-failures", str(error), headers={"Retry-After": str(error.retry_after)})
        case StoreError():
            return Problem("store", str(error))
        case UnsafeHost():
            detail = f"{error}. Until then warmside rejects every request for this host that needs a one-time password"
            return Problem("unsafe-host", detail)
        case EndedMeanwhile():
            return Problem("ended", str(error))
        case UsersNotKept():
            return Problem("users-not-kept", str(error))
        case SessionsLeft():
            return Problem("sessions-left", str(error))
        case OneTimeRefused():
            name, detail = ONE_TIME_PROBLEMS[error.revocation]
            return Problem(name, detail, step=error.step)
        case PauseTooLong():
            return Problem("field", f"attach_within: {error.seen}", field="attach_within")
        case BoshError():
            return _bosh_problem(error)
    return None


def _bosh_problem(error: BoshError) -> Problem:
    step, detail = error.step, f"{error.seen} (step: {error.step})"
    match error:
        case Refused() | NotAuthenticated() if error.condition in SASL_PROBLEMS:
            detail = f"{SASL_PROBLEMS[error.condition]} (step: {step})"
            return Problem(error.condition, detail, step=step, condition=error.condition)
        case Refused():
            return Problem("password-refused", "ejabberd rejected the user's own password", step=step)
        case NoSessionList():
            cause = "ejabberd needs mod_disco for this host"
            return Problem("no-session-list", f"{detail}; {cause}", step=step, condition=error.condition)
        case ResourceConflict():
            cause = "set resource_conflict: acceptnew, or closeold, for this host in ejabberd.yml"
            return Problem("resource-conflict", f"{detail}; {cause}", step=step)
        case Banned():
            return Problem("banned", f"{detail}; {BANNED_ADDRESS[error.owner]}", step=step)
        case Busy():
            return Problem("busy", detail, step=step)
        case Unreachable():
            return Problem("unreachable", detail, step=step)
        case TimedOut():
            return Problem("timeout", detail, step=step)
        case Terminated() | StreamFailed() if error.condition in RESTARTING or _is_interrupted(error):
            cause = "ejabberd is stopping, restarting or overloaded: retry later"
            return Problem("unreachable", f"{detail}; {cause}", step=step, condition=error.condition)
        case Terminated() if error.condition == INTERNAL_ERROR:
            return Problem(
                "login-failed", f"{detail}; {OBSERVED['unknown-host']}", step=step, condition=error.condition
            )
        case StreamFailed() if error.condition == "invalid-xml":
            cause = "the usual cause is prebind: true at mod_bosh, which allows anonymous logins only: remove it"
            return Problem("login-failed", f"{detail}; {cause}", step=step, condition=error.condition)
        case ConditionError():
            return Problem("login-failed", detail, step=step, condition=error.condition)
    return Problem("login-failed", detail, step=step)


def _is_interrupted(error: Terminated | StreamFailed) -> bool:
    """Return True for ejabberd's condition for an unknown host, if it comes once the host is known to be served."""
    return error.condition == INTERNAL_ERROR and error.step != "session creation"
