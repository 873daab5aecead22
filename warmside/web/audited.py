"""Endpoints for admins, whose calls each leave an audit line in the log.

An audit line is one line of bounded length and contains no secret. A name that is not an admin's is left out,
because people enter passwords in the wrong field.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from warmside.jids import JID
from warmside.web.authenticator import AdminAuthenticator
from warmside.web.endpoint import Call, Endpoint, Handler
from warmside.web.problems import Problem

MAX_SHOWN = 320
"""Maximum number of characters of a value in an audit line."""

Allows = Callable[[str, str, str], bool]
"""Returns True if an admin (name) may act for a bare JID at a host."""

Observe = Callable[[str, float], None]
"""Takes the outcome of a call and its duration in seconds."""


@dataclass(frozen=True, slots=True)
class Access:
    """Decides on a call: the authenticator of admins, and the policy for their accounts."""

    authenticator: AdminAuthenticator
    allows: Allows


class AuditedEndpoint(Endpoint):
    """An endpoint for admins that logs an audit line for each POST and DELETE.

    :param observe: takes the outcome and the duration of each of them.
    """

    def __init__(self, handlers: dict[bytes, Handler], access: Access, observe: Observe) -> None:
        super().__init__(handlers)
        self._access = access
        self._observe = observe

    async def admit(self, call: Call) -> str:
        """Return the name of the admin that a call comes from; see `AdminAuthenticator.admit`."""
        return await self._access.authenticator.admit(call)

    def check_policy(self, call: Call, admin: str, jid: JID) -> None:
        """Reject a call for an account that the policy does not allow to this admin.

        :raises Problem: 403.
        """
        call.jid = jid.full()
        if not self._access.allows(admin, jid.userhost(), jid.host):
            raise Problem(
                "policy", "the policy does not allow this account: see [policy] and [admin.NAME] in the configuration"
            )

    def observe(self, call: Call, outcome: str, status: int | None) -> None:
        """Log the audit line of a POST or DELETE, and report outcome and duration."""
        if call.request.method in (b"POST", b"DELETE"):
            seconds = time.monotonic() - call.started
            self._log_audit_line(call, outcome, status, seconds)
            self._observe(outcome, seconds)

    def _log_audit_line(self, call: Call, outcome: str, status: int | None, seconds: float) -> None:
        facts = {
            "request": _shortened(
                " ".join(part.decode("ascii", "replace") for part in (call.request.method, call.request.path))
            ),
            "outcome": outcome,
            "status": status,
            "admin": _shortened(call.admin),
            "from": self._access.authenticator.address(call),
            "jid": _shortened(call.jid),
            **({} if call.jids is None else {"jids": call.jids}),
            "ms": round(seconds * 1000, 1),
            "id": call.id,
        }
        line = " ".join(f"{name}={json.dumps(value)}" for name, value in facts.items())
        self.log.info("audit {line}", line=line, audit=facts)


def _shortened(value: str | None) -> str | None:
    return value if value is None or len(value) <= MAX_SHOWN else value[: MAX_SHOWN - 1] + "…"
