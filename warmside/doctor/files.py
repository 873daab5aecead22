"""Checks of warmside's own files: configuration, rights, folders, the program and the relay's socket."""

import os
import shlex
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from warmside.config.files import shebang_fault
from warmside.doctor import edits, program
from warmside.doctor.context import Context
from warmside.doctor.processes import Account
from warmside.doctor.program import ProgramLine
from warmside.doctor.rights import OtherUser, denied, writable
from warmside.findings import RESTART, RESTART_WARMSIDE, Finding, make

RUNTIME, STATE = Path("/run/warmside"), Path("/var/lib/warmside")
VERBS = {os.R_OK: "read", os.W_OK: "connect to", os.X_OK: "run"}
LISTENING = 0x10000
"""Flag of a listening socket in /proc/net/unix."""
MAX_SOCKETS = 8 << 20
"""Bytes of /proc/net/unix that are read."""


def program_lines(context: Context) -> list[tuple[str, ProgramLine | None]]:
    """Return the line ``extauth_program`` of each served host."""
    return [] if context.ejabberd is None else program.lines(context.ejabberd, context.hosts)


def new_line(context: Context) -> str:
    """Return a valid value of ``extauth_program`` for this installation."""
    return f'"{sys.executable} -I -m warmside extauth --config {context.options.config}"'


def extauth_program(context: Context) -> Iterator[Finding]:
    """Find hosts whose program can't be started."""
    if context.ejabberd is None:
        return
    for host, line in program_lines(context):
        if line is None:
            where: object = context.ejabberd.path
            fault: str | None = "is not set"
        else:
            where, fault = line.entry.place, _program_fault(line)
        if fault:
            cure = edits.set_option(context.ejabberd, "extauth_program", new_line(context), host, is_secret=True)
            yield make("program", host=host, where=where, fault=fault, cure=cure)


def _program_fault(line: ProgramLine) -> str | None:
    word = line.words[0] if line.words else ""
    path = line.executable
    if path is None:
        return None if word and not word.startswith("/") else "is empty"
    try:
        is_file = path.is_file()
    except OSError:
        return None
    if not is_file:
        for count in range(2, len(line.words) + 1):
            joined = " ".join(line.words[:count])
            if os.path.isfile(joined):
                return f"has a space in its path {joined!r}: ejabberd splits the line there"
        return f"names {path}, which is {'no file' if path.exists() else 'missing'}"
    if not path.stat().st_mode & 0o111:
        return f"names {path}, which is not executable"
    shebang = shebang_fault(path)
    if shebang is not None:
        return f"names {path}, which can't be run: {shebang}"
    if line.kind == "none":
        return "lacks a subcommand of warmside: extauth --config FILE, or relay SOCKET"
    return "lacks the socket of warmside relay" if line.kind == "relay" and not line.arguments else None


def _needed(context: Context) -> Iterator[tuple[Account | None, Path, int, str]]:
    """Return the user that needs each file, the file, the right, and what it is."""
    for path in context.ejabberd.files if context.ejabberd else ():
        yield context.user, path, os.R_OK, "ejabberd's configuration"
    started = [line for _, line in program_lines(context) if line is not None and _program_fault(line) is None]
    for executable in {line.executable for line in started}:
        if executable is not None:
            yield context.user, executable, os.X_OK, "the program"
    for line in started:
        if line.socket is not None and line.socket.startswith("/"):
            yield context.user, Path(line.socket), os.W_OK, "the relay's socket"
    if context.config is not None and context.config.extauth.program is not None:
        yield context.service_user, Path(context.config.extauth.program[0]), os.X_OK, "the program"
    for path, what in _own_files(context):
        yield context.service_user, path, os.R_OK, what


def _own_files(context: Context) -> Iterator[tuple[Path, str]]:
    """Return the files that warmside reads."""
    yield context.options.config, "the configuration"
    config = context.config
    if config is None:
        return
    files = [(config.admins.file, "the admins"), (config.extauth.secret_file, "the secret")]
    files.append((config.shared.password_file, "the password of Redis"))
    authorities = [
        config.extauth.ca_file,
        config.shared.ca_file,
        *(it.ca_file for it in (config.bosh, *config.host.values())),
    ]
    files += [(path, "the certificate authority") for path in authorities]
    for path, what in files:
        if path is not None:
            yield path, what


def permissions(context: Context) -> Iterator[Finding]:
    """Find files that the user that needs them can't use."""
    for account, path, mode, what in dict.fromkeys(_needed(context)):
        if account is None:
            context.miss(f"{path}: the user that needs it is not known, because no process runs")
            continue
        verb = VERBS[mode]
        try:
            culprit = denied(account, path, mode)
        except OtherUser as error:
            context.miss(f"{path}: {error}")
            continue
        if culprit is not None:
            which = f"search the folder {culprit.path}" if culprit.is_folder else "do that by its mode"
            fault = f"can't {verb} {what} {path}: it can't {which}"
            cure = _grant(account, culprit.path, folder=culprit.is_folder, mode=mode)
            yield make("permissions", user=account.name, fault=fault, cure=cure)
        elif mode == os.X_OK and _is_hidden(context, path):
            fault = f"can't run {path}: its unit hides the folder (ProtectHome or PrivateTmp)"
            yield make("permissions", user=account.name, fault=fault, cure=_move(path))


def _grant(account: Account, path: Path, *, folder: bool, mode: int) -> str:
    """Return commands that give a user the right that it lacks, and other users as little as possible."""
    quoted = shlex.quote(str(path))
    if folder and (path == Path("/root") or path.parent == Path("/home")):
        return _move(path)
    if not folder and mode == os.X_OK:
        return f"$ chmod a+rx {quoted}"
    letter = "x" if folder else "w" if mode == os.W_OK else "r"
    group = path.stat().st_gid
    if folder and group not in (0, account.gid):
        return f"$ chmod o+x {quoted}"
    chgrp = "" if group == account.gid else f"$ chgrp {account.group} {quoted}\n"
    return f"{chgrp}$ chmod g+{letter} {quoted}"


def _move(path: Path) -> str:
    return (
        f"Move what is in {path} to a folder that the user can search. For the program: install warmside in /opt, and "
        f"write the new path into extauth_program. {RESTART}"
    )


def _is_hidden(context: Context, path: Path) -> bool:
    """True if ejabberd's process has another view of the file system, in which a file is missing."""
    process = context.ejabberd_process
    if process is None or not process.root.exists():
        return False
    return path.exists() and not Path(f"{process.root}{path}").exists()


def writable_files(context: Context) -> Iterator[Finding]:
    """Find files, and their folders, that other users can replace or change."""
    guarded: list[tuple[Path, Account | None]] = [
        (path, context.service_user) for path, what in _own_files(context) if what != "the certificate authority"
    ]
    guarded += [
        (line.executable, context.user)
        for _, line in program_lines(context)
        if line is not None and line.executable is not None
    ]
    if context.config is not None and context.config.extauth.program is not None:
        guarded.append((Path(context.config.extauth.program[0]), context.service_user))
    seen: set[Path] = set()
    for path, account in guarded:
        for each in (path, path.parent, path.resolve(), path.resolve().parent):
            if each in seen:
                continue
            seen.add(each)
            try:
                reason = writable(each, account)
            except OSError as error:
                if not isinstance(error, FileNotFoundError | NotADirectoryError):
                    context.miss(f"{each}: {error.strerror}")
                continue
            if reason is not None:
                quoted = shlex.quote(str(each))
                command = f"$ chown root {quoted}\n" if reason == "owner" else ""
                user = account.name if account else "this one"
                yield make("writable", user=user, path=each, cure=f"{command}$ chmod go-w {quoted}")


def folders(context: Context) -> Iterator[Finding]:
    """Find a runtime or state folder that is missing or belongs to another user."""
    account = context.service_user
    if account is None:
        context.miss("the runtime and state folders: the user of warmside is not known")
        return
    process = context.warmsides[0] if context.warmsides else context.ejabberd_process
    environ = process.environ if process is not None else os.environ
    if environ is None:
        context.miss("the runtime and state folders: the environment of warmside's process can't be read")
        return
    # The environment of this process says where the folders are, but not those that its user has by default.
    own: Mapping[str, str] = environ if process is not None else {}
    base = own.get("XDG_RUNTIME_DIR")
    fallback = Path(base or "/tmp", "warmside" if base else f"warmside-{account.uid}")  # noqa: S108
    base = own.get("XDG_STATE_HOME")
    state = Path(base) / "warmside" if base else _home_state(account, own)
    choices = (
        ("the runtime folder", environ.get("RUNTIME_DIRECTORY", "").split(":")[0], RUNTIME, fallback, "0750"),
        ("the state folder", environ.get("STATE_DIRECTORY", "").split(":")[0], STATE, state, "0700"),
    )
    for what, given, standard, other, mode in choices:
        path = Path(given) if given else standard
        if not given and not standard.exists() and other.is_dir() and other.stat().st_uid == account.uid:
            path = other
        fault = _folder_fault(path, account)
        if fault is not None:
            owner, quoted = f"{account.name}:{account.group}", shlex.quote(str(path))
            commands = f"$ install -d -o {account.name} -g {account.group} -m {mode} {quoted}"
            if path.exists():
                commands = f"$ chown -R {owner} {quoted}"
            yield make("folders", what=what, path=path, fault=fault, cure=f"{RESTART_WARMSIDE}\n{commands}")


def _home_state(account: Account, environ: Mapping[str, str]) -> Path:
    """Return the state folder that warmside makes where there is no other."""
    return Path(environ.get("HOME") or os.path.expanduser(f"~{account.name}")) / ".local/state/warmside"


def _folder_fault(path: Path, account: Account) -> str | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return "is missing"
    except OSError:
        return None
    if not stat.S_ISDIR(status.st_mode):
        return "is no folder"
    return None if status.st_uid == account.uid else f"belongs to another user than {account.name}"


def relay(context: Context) -> Iterator[Finding]:
    """Find a relay whose socket no process listens on, by the list of the kernel."""
    for socket, line in {line.socket: line for _, line in program_lines(context) if line is not None}.items():
        path = (socket or "").removeprefix("unix:").partition(":")[0]
        if not path.startswith("/"):
            continue
        try:
            with open("/proc/net/unix", errors="replace") as file:
                rows = [row.split(maxsplit=7) for row in file.read(MAX_SOCKETS).splitlines()[1:]]
        except OSError:
            continue
        names = {path, os.path.realpath(path)}
        listening = any(len(row) == 8 and row[7] in names and int(row[3], 16) & LISTENING for row in rows)
        if not listening:
            yield make("relay", where=line.entry.place, socket=path, listen=f'"unix:{path}"')
