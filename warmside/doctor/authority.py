"""Checks of what answers for ordinary passwords, and of a relay to a TCP port. They ask what changes nothing."""

import os
import shlex
import socket
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from select import select
from time import monotonic
from typing import Any

from twisted.internet.threads import deferToThread

from warmside.config.reloading import FileRefused, ReloadingFile
from warmside.doctor import edits, files
from warmside.doctor.context import Context
from warmside.doctor.processes import Account
from warmside.doctor.warming import as_owner
from warmside.extauth.frames import ACCEPTED, REJECTED, to_frame
from warmside.extauth.request import ExtauthRequest
from warmside.extauth.webapp import WebAppAuthority, read_secret
from warmside.findings import RESTART_WARMSIDE, Finding, make

TIMEOUT = 10.0
"""Seconds for an answer."""
USER = "warmside-check"
"""User whose existence is asked."""


async def authority(context: Context) -> Iterable[Finding]:
    """Find a program or web application that does not answer. It is asked whether a user exists."""
    config = context.config
    if config is None:
        return []
    host = next(iter(context.hosts or sorted(config.policy.hosts)), "localhost")
    if config.extauth.program is not None:
        fault = await _program(context, config.extauth.program, host)
        what, key = f"the program {config.extauth.program[0]} (extauth.program)", "program"
    elif config.extauth.url is not None:
        fault = await _web_application(context, host)
        what, key = "the web application (extauth.url)", "url"
    else:
        return []
    if fault is None:
        return []
    cure = (
        f"Correct extauth.{key} in {context.options.config}, or what it names, so that it answers. {RESTART_WARMSIDE}"
    )
    command = edits.unset_toml(context.options.config, "extauth", key)
    if command is not None:
        cure += f" This command does without it: then only one-time passwords are accepted.\n{command}"
    return [make("authority", what=what, fault=fault, cure=cure)]


async def _program(context: Context, words: tuple[str, ...], host: str) -> str | None:
    account = context.service_user
    if account is None or os.geteuid() not in (0, account.uid):
        context.miss("the program of extauth.program: it can be run by root or the user of warmside alone")
        return None
    return await deferToThread(_ask_program, words, host, account)


def _ask_program(words: tuple[str, ...], host: str, account: Account) -> str | None:
    """Run another process of the program as warmside's user; return why it does not answer."""
    rights: dict[str, Any] = {}
    if os.geteuid() != account.uid:
        rights = {"user": account.uid, "group": account.gid, "extra_groups": account.groups}
    try:
        process = subprocess.Popen(  # noqa: S603 - the program of the configuration, with the rights of its user
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/", **rights
        )
    except OSError as error:
        return f"it can't be run: {error.strerror}"
    with process:
        assert process.stdin and process.stdout
        try:
            os.write(process.stdin.fileno(), to_frame(f"isuser:{USER}:{host}".encode()))
            answer, deadline = b"", monotonic() + TIMEOUT
            while len(answer) < len(ACCEPTED):
                if not select([process.stdout], [], [], max(0, deadline - monotonic()))[0]:
                    return f"no answer within {TIMEOUT:g} s"
                part = os.read(process.stdout.fileno(), len(ACCEPTED) - len(answer))
                if not part:
                    return f"it ended with status {process.wait(1)}"
                answer += part
            return None if answer in (ACCEPTED, REJECTED) else "its answer is not the extauth protocol's"
        except BrokenPipeError:
            return f"it ended with status {process.wait(1)}"
        finally:
            process.kill()


async def _web_application(context: Context, host: str) -> str | None:
    from twisted.internet import reactor

    settings = context.config.extauth if context.config else None
    assert settings is not None and settings.url is not None
    secret = None
    try:
        if settings.secret_file is not None:
            with as_owner(settings.secret_file):
                secret = ReloadingFile(settings.secret_file, read_secret)
    except (FileRefused, OSError) as error:
        context.miss(f"the web application of extauth.url: its secret: {error}")
        return None
    application = WebAppAuthority(reactor, settings.url, secret, ca_file=settings.ca_file)
    fault = await application.fault(ExtauthRequest("isuser", USER, host))
    await application.close()
    return fault


async def tcp_relay(context: Context) -> Iterable[Finding]:
    """Find a relay to a TCP port that no daemon listens on."""
    found = []
    for line in dict.fromkeys(line for _, line in files.program_lines(context) if line is not None):
        port = (line.socket or "").removeprefix("tcp:")
        if not (line.socket or "").startswith("tcp:") or not port.isdigit():
            continue
        if not await deferToThread(_accepts, int(port)):
            listen = f'"tcp:{port}:interface=127.0.0.1"'
            found.append(make("relay", where=line.entry.place, socket=shlex.quote(f"tcp:{port}"), listen=listen))
    return found


def _accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), TIMEOUT):
        return True
    return False
