"""The audit line: who asked, from where, for whom, what came out, how long it took.

It is one line whatever came from outside, and there is nothing secret in it: a name that is no
admin's is left out, since people type passwords into the wrong field.
"""

import json

from twisted.logger import Logger

from warmside.web.endpoint import Call

MAX_SHOWN = 320
"""Characters of a value that are shown."""


def audit(log: Logger, call: Call, address: str, outcome: str, status: int | None, seconds: float) -> None:
    """Write the audit line of a call that has come to its end.

    :param address: the one that the call counts for.
    :param seconds: how long it took.
    """
    facts = {
        "request": _bounded(f"{call.request.method.decode('ascii')} {call.request.path.decode('ascii', 'replace')}"),
        "outcome": outcome,
        "status": status,
        "admin": _bounded(call.admin),
        "from": address,
        "jid": _bounded(call.jid),
        "ms": round(seconds * 1000, 1),
        "id": call.id,
    }
    log.info("audit {line}", line=" ".join(f"{name}={json.dumps(value)}" for name, value in facts.items()), audit=facts)


def _bounded(value: str | None) -> str | None:
    return value if value is None or len(value) <= MAX_SHOWN else value[: MAX_SHOWN - 1] + "…"
