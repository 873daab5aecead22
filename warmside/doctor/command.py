"""The command line of ``warmside check``."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from warmside.doctor.context import Context, Options
from warmside.doctor.examine import Report, examine, prepare
from warmside.jids import InvalidJID
from warmside.jids import prepare as prepare_jid

if TYPE_CHECKING:
    import argparse

EXIT_FAILED = 1
EXIT_USAGE = 2


def run(parsed: "argparse.Namespace") -> int:
    """Examine a set-up and print the report.

    :param parsed: ``config``, ``ejabberd``, ``json``, ``offline`` and ``jid``.
    :returns: the exit status: 0 without an error, 1 with one, 2 for bad usage.
    """
    try:
        jid = prepare_jid(parsed.jid) if parsed.jid is not None else None
        if jid is not None and parsed.offline:
            raise InvalidJID("a JID needs a connection: leave out --offline or the JID")
    except InvalidJID as error:
        if parsed.json:
            print(json.dumps({"ok": False, "findings": [], "unseen": [f"everything: JID: {error}"]}))
        print(f"warmside check: JID: {error}", file=sys.stderr)
        return EXIT_USAGE
    ejabberd = Path(parsed.ejabberd).absolute() if parsed.ejabberd else None
    context = prepare(Options(Path(parsed.config).absolute(), ejabberd, parsed.offline, jid))
    if sys.stderr.isatty():
        context.progress = lambda what: print(f"examining {what} ...", file=sys.stderr, flush=True)
    report = _examined(context)
    if parsed.json:
        print(as_json(report))
    else:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        print(as_text(report))
    return 0 if report.ok else EXIT_FAILED


def _examined(context: Context) -> Report:
    """Run the checks; with Twisted's reactor unless no connection is to be opened."""
    if context.options.offline:
        return _result(Deferred.fromCoroutine(examine(context)))
    from twisted.internet import reactor
    from twisted.logger import globalLogBeginner

    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)
    results: list[Report] = []

    def start() -> None:
        deferred = Deferred.fromCoroutine(examine(context, reactor))
        deferred.addCallback(results.append)
        deferred.addBoth(lambda failure: failures.append(failure) if failure is not None else None)
        deferred.addBoth(lambda _: running.stop())

    failures: list[Any] = []
    running: Any = reactor
    running.callWhenRunning(start)
    running.run()
    for failure in failures:
        failure.raiseException()
    if not results:
        raise KeyboardInterrupt
    return results[0]


def _result(deferred: "Deferred[Report]") -> Report:
    """Return the result of a deferred that waits for nothing."""
    results: list[Report] = []
    failures: list[Any] = []
    deferred.addCallbacks(results.append, failures.append)
    for failure in failures:
        failure.raiseException()
    return results[0]


def as_json(report: Report) -> str:
    """Return the report as one JSON object."""
    findings = [
        {name: getattr(finding, name) for name in ("name", "severity", "host", "says", "cure")}
        for finding in report.findings
    ]
    return json.dumps({"ok": report.ok, "findings": findings, "unseen": list(report.unseen)}, indent=2)


def as_text(report: Report) -> str:
    """Return the report for a person."""
    lines: list[str] = []
    for finding in report.findings:
        where = f" ({finding.host})" if finding.host else ""
        lines += [f"{finding.severity}: {finding.name}{where}: {finding.says}"]
        lines += [f"    {line}".rstrip() for line in finding.cure.splitlines()] + [""]
    lines += [f"not examined: {what}" for what in report.unseen]
    if report.unseen:
        lines.append("")
    if report.notes:
        lines += [*report.notes, ""]
    errors = sum(finding.severity == "error" for finding in report.findings)
    lines.append(f"errors: {errors}, warnings: {len(report.findings) - errors}")
    return "\n".join(lines)
