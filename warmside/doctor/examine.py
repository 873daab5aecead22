"""Examine a set-up: run every check, and collect what they find.

The checks are independent. One that fails or hangs is named in `Report.unseen`, and the others still run.
"""

import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.defer import TimeoutError as Late
from twisted.python.failure import Failure

from warmside.config.loader import ConfigError, load
from warmside.doctor import authority, files, hosts, listeners, logins, processes, serving, shared
from warmside.doctor.configuration import configuration
from warmside.doctor.context import Context, Options
from warmside.doctor.ejabberd import PLACES, YamlError, find
from warmside.doctor.ejabberd import load as load_ejabberd
from warmside.findings import KINDS, Finding

TIMEOUT = 13.0
"""Seconds for all online checks together, so that a hanging peer holds up the command for at most 15 seconds."""

FileCheck = Callable[[Context], Iterable[Finding]]
OnlineCheck = Callable[[Context], Awaitable[Iterable[Finding]]]

FILE_CHECKS: tuple[FileCheck, ...] = (
    configuration,
    serving.mixed_configurations,
    files.extauth_program,
    files.permissions,
    files.writable_files,
    files.folders,
    files.relay,
    hosts.auth_method,
    hosts.auth_cache,
    listeners.no_handler,
    hosts.missing_modules,
    hosts.unknown_host,
    hosts.anonymous,
    hosts.forbidden_modules,
    hosts.admin_unprotected,
    listeners.c2s_listeners,
    listeners.old_ejabberd,
    hosts.pool,
    hosts.fail2ban,
    hosts.ping_kills,
    hosts.cluster_sessions,
)
"""Checks that read files and ``/proc`` alone. They run first, in this order."""
ONLINE_CHECKS: tuple[OnlineCheck, ...] = (
    serving.http_listeners,
    logins.logins,
    authority.authority,
    authority.tcp_relay,
    shared.shared_redis,
)
"""Checks that open connections. They run at once, and not with ``--offline``."""
SUPERSEDED = {"bosh-elsewhere": "no-handler"}
"""A finding of the first name replaces those of the second."""


@dataclass(frozen=True)
class Report:
    """Result of an examination: errors first, in the order of `KINDS`."""

    findings: tuple[Finding, ...]
    unseen: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if there is no error. Warnings are allowed."""
        return all(finding.severity != "error" for finding in self.findings)


async def examine(context: Context, reactor: Any = None) -> Report:
    """Run all checks.

    :param context: see `prepare`.
    :param reactor: Twisted's; not needed offline.
    """
    found: list[Finding] = []
    for check in FILE_CHECKS:
        context.progress(_name(check))
        try:
            found += check(context)
        except Exception as error:  # a fault of a check must not hide what the others find
            context.miss(f"{_name(check)}: {type(error).__name__}: {error}")
    if not context.options.offline and ONLINE_CHECKS:
        context.progress("connections")
        results = DeferredList([_limited(check, context, reactor) for check in ONLINE_CHECKS])
        by_files = {(finding.name, finding.host) for finding in found if finding.host is not None}
        for _, result in await results:
            found += [finding for finding in result if (finding.name, finding.host) not in by_files]
    replaced = {SUPERSEDED[finding.name] for finding in found if finding.name in SUPERSEDED}
    order = list(KINDS)
    kept = {finding: None for finding in found if finding.name not in replaced}
    kept_sorted = sorted(kept, key=lambda each: (each.severity != "error", order.index(each.name), each.host or ""))
    return Report(tuple(kept_sorted), tuple(context.unseen), tuple(context.notes))


def _limited(check: OnlineCheck, context: Context, reactor: Any) -> "Deferred[list[Finding]]":
    """Run a check for at most `TIMEOUT` seconds. The result is empty after a failure."""

    async def run() -> list[Finding]:
        return list(await check(context))

    def missed(failure: Failure) -> list[Finding]:
        late = failure.check(Late)
        reason = (
            f"no end within {TIMEOUT:g} s" if late else f"{type(failure.value).__name__}: {failure.getErrorMessage()}"
        )
        context.miss(f"{_name(check)}: {reason}")
        return []

    deferred = Deferred.fromCoroutine(run())
    deferred.addTimeout(TIMEOUT, reactor)
    return deferred.addErrback(missed)


def _name(check: "FileCheck | OnlineCheck") -> str:
    return check.__name__.replace("_", " ")


def prepare(options: Options) -> Context:
    """Read the files and find the processes that the checks examine. Nothing is written and no connection opened."""
    context = Context(options)
    running: list[processes.Process] = []
    with context.missing_on_error("the running processes"):
        running = processes.running()
    try:
        context.config = load(options.config)
    except ConfigError:
        pass  # a check reports it
    context.warmsides = processes.warmsides(running, options.config)
    path = options.ejabberd or processes.file_of_ejabberd(context.warmsides) or find()
    if path is None:
        context.miss("ejabberd.yml: not in " + " or ".join(map(str, PLACES)))
    else:
        context.ejabberd_process = next(iter(processes.ejabberds(running, path)), None)
        _read_ejabberd(context, path)
    process = context.ejabberd_process
    context.user = processes.account_of(process.uid) if process else processes.account_named(processes.ACCOUNT)
    services = {each.uid for each in context.warmsides}
    if len(services) == 1:
        context.service_user = processes.account_of(services.pop())
    elif all(line is None or line.kind != "relay" for _, line in files.program_lines(context)):
        context.service_user = context.user
    return context


def _read_ejabberd(context: Context, path: Path) -> None:
    process = context.ejabberd_process
    environ = process.environ if process else os.environ
    try:
        context.ejabberd = load_ejabberd(path, folder=process.folder if process else None, environ=environ)
    except YamlError as error:
        context.miss(str(error))
    else:
        for part in context.ejabberd.unsure:
            context.miss(part)
