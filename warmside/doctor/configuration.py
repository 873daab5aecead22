"""Check that warmside's configuration can be used: the TOML file, the admins and the secret."""

import errno
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from warmside.config.loader import ConfigError, load
from warmside.config.reloading import FileRefused
from warmside.config.shared import read_password
from warmside.doctor import edits
from warmside.doctor.context import Context
from warmside.doctor.files import program_lines
from warmside.doctor.rights import OtherUser, denied, rights_of, writable
from warmside.extauth.webapp import read_secret
from warmside.findings import RESTART_WARMSIDE, Finding, make
from warmside.web.admins import read_admins

TOML_LINE = re.compile(r"\(at line ([0-9]+)")
FILE_LINE = re.compile(r"line ([0-9]+):")
ADMINS = '"/etc/warmside/admins"'
WARMSIDE = f"{shlex.quote(sys.executable)} -m warmside"


def configuration(context: Context) -> Iterator[Finding]:
    """Find a configuration that can't be used: the given one, and that of ``extauth_program``."""
    yield from _faults_of(context, context.options.config)
    for _, line in program_lines(context):
        if line is None or line.kind != "extauth":
            continue
        path = Path(line.config)
        if path.is_absolute() and os.path.realpath(path) != os.path.realpath(context.options.config):
            yield from _faults_of(context, path)
    yield from _secrets(context)


def _faults_of(context: Context, path: Path) -> Iterator[Finding]:
    try:
        path.stat()
        can_read = os.access(path, os.R_OK)
    except OSError as error:
        can_read = error.errno != errno.EACCES
    if not can_read:
        context.miss(f"{path}: this user can't read it")
        return
    try:
        load(path)
    except ConfigError as error:
        yield make("config", fault=str(error), cure=_cure(error, path))


def _cure(error: ConfigError, path: Path) -> str:
    if not path.exists():
        folder, quoted = shlex.quote(str(path.parent)), shlex.quote(str(path))
        return f"{RESTART_WARMSIDE}\n$ mkdir -p {folder}\n$ {WARMSIDE} sample warmside.toml > {quoted}"
    match = TOML_LINE.search(str(error))
    table, _, key = error.key.rpartition(".")
    lines = (int(match[1]), int(match[1])) if match else edits.key_lines(path, table, key)
    if lines is None and error.key:
        lines = edits.table_lines(path, error.key)
    if error.key == "admins.file" and lines is None:
        return f"{RESTART_WARMSIDE}\n{edits.set_toml(path, 'admins', 'file', ADMINS)}"
    if lines is None:
        return f"Correct {error.key or 'the file'} in {path}. {RESTART_WARMSIDE}"
    advice = f"Correct the value as said above, or use the default by this command. {RESTART_WARMSIDE}"
    return f"{advice}\n{edits.comment_out_toml(path, *lines)}"


def _secrets(context: Context) -> Iterator[Finding]:
    """Find admins and secrets that warmside would reject. Their rights are the business of other checks."""
    config, account = context.config, context.service_user
    if config is None:
        return
    checks: list[tuple[str, Path | None, Callable[[Path], object], Callable[[Path, str], str]]] = [
        ("admins.file", config.admins.file, lambda path: read_admins(path, config.admins.accounts), _new_admins),
        ("extauth.secret_file", config.extauth.secret_file, read_secret, _new_secret),
        ("shared.password_file", config.shared.password_file, read_password, _new_redis_password),
    ]
    for key, path, read, cure in checks:
        if path is None or account is None:
            continue
        try:
            if path.exists() and (denied(account, path, os.R_OK) or writable(path, account)):
                continue  # named as permissions or writable
            with rights_of(account):
                read(path)
        except OtherUser as error:
            context.miss(f"{path}: {error}")
        except OSError as error:
            context.miss(f"{path}: {error.strerror}")
        except FileRefused as error:
            text = f"{cure(path, str(error))}\n$ chgrp {account.group} {shlex.quote(str(path))}"
            text += f"\n$ chmod 0640 {shlex.quote(str(path))}"
            yield make("config", fault=f"{config.path}: {key} = {path}: {error}", cure=text)


def _new_admins(path: Path, reason: str) -> str:
    match = FILE_LINE.match(reason)
    if match:
        number = int(match[1])
        return edits.comment_out_toml(path, number, number)
    quoted = shlex.quote(str(path))
    generate = "head -c 18 /dev/urandom | base64 | tee /dev/stderr"
    command = f"{generate} | {WARMSIDE} hash-password webapp >> {quoted}"
    return f"This makes the admin webapp and prints its password.\n$ {command}"


def _new_redis_password(path: Path, reason: str) -> str:
    quoted = shlex.quote(str(path))
    return f"Set the new password in Redis, too.\n$ head -c 24 /dev/urandom | base64 > {quoted}"


def _new_secret(path: Path, reason: str) -> str:
    quoted = shlex.quote(str(path))
    return f"Give the new secret to the web application, too.\n$ head -c 24 /dev/urandom | base64 > {quoted}"
