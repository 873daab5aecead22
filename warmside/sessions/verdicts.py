"""Errors for verdicts on hosts, and the text form in which the store keeps one of them."""

import json

from warmside.bosh.errors import BoshError, NotAuthenticated, Refused
from warmside.findings import OBSERVED
from warmside.store.interface import HostState, HostVerdict, RevocationStatus

FINDINGS = {HostState.CACHING: "auth-cache", HostState.ANONYMOUS: "anonymous"}
"""Name of the finding for each unsafe state; `warmside.findings` has its text."""


class UnsafeHost(Exception):
    """ejabberd accepts passwords for this host that it has to reject. The message names the cause and the fix."""

    def __init__(self, host: str, state: HostState) -> None:
        self.host = host
        self.state = state
        super().__init__(OBSERVED[FINDINGS[state]].format(host=host))


class OneTimeRefused(Refused):
    """ejabberd rejected a fresh one-time password. ``revocation`` is the status that its revocation found."""

    def __init__(self, refused: Refused, revocation: RevocationStatus) -> None:
        super().__init__("ejabberd rejected a fresh one-time password", refused.condition)
        self.step = refused.step
        self.revocation = revocation


def facts_of(error: Refused | NotAuthenticated) -> str:
    """Return the facts of an error, for `error_from`. They contain no password."""
    revocation = error.revocation.value if isinstance(error, OneTimeRefused) else None
    refused = isinstance(error, Refused)
    return json.dumps({"condition": error.condition, "step": error.step, "refused": refused, "revocation": revocation})


def error_from(host: str, verdict: HostVerdict) -> UnsafeHost | BoshError:
    """Return the error for a verdict that is not `HostState.SAFE`."""
    if verdict.state.unsafe:
        return UnsafeHost(host, verdict.state)
    facts = json.loads(verdict.facts)
    error: Refused | NotAuthenticated
    if not facts["refused"]:
        error = NotAuthenticated("the server did not authenticate the user", facts["condition"])
        error.step = facts["step"]
        return error
    error = Refused("the server rejected the password", facts["condition"])
    error.step = facts["step"]
    if facts["revocation"] is None:
        return error
    return OneTimeRefused(error, RevocationStatus(facts["revocation"]))
