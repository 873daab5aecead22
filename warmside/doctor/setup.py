"""``warmside setup``: create warmside's files and ejabberd's lines, or take them out again."""

import grp
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from warmside.doctor import newconfig, plan, ymledit
from warmside.doctor.changes import ADMIN, NewFile, Plan, carry_out, diff, remove
from warmside.doctor.ejabberd import PLACES, find
from warmside.doctor.plan import Places
from warmside.doctor.processes import Account
from warmside.doctor.survey import Survey, survey
from warmside.doctor.ymledit import Refused
from warmside.web.passwords import hash_line

if TYPE_CHECKING:
    import argparse

EXIT_FAILED, EXIT_USAGE = 1, 2
HIDDEN = ("/home", "/root", "/run/user")
"""Folders that systemd hides from ejabberd: ``ProtectHome`` in Debian's unit."""
PROGRAM_TIMEOUT = 30.0
"""Seconds for a first run of warmside as ejabberd's user."""


def run(parsed: "argparse.Namespace") -> int:
    """Run the command.

    :param parsed: ``ejabberd``, ``config``, ``apply`` and ``remove``.
    :returns: the exit status: 0; 1 if something has to be edited by hand, and nothing was changed; 2 for bad usage.
    """
    config = Path(parsed.config).absolute()
    path = Path(parsed.ejabberd).absolute() if parsed.ejabberd else find()
    if (parsed.apply or parsed.remove) and os.geteuid() != 0:
        return _fail("run it as root, because it writes files of root and of ejabberd", EXIT_USAGE)
    if path is None:
        return _fail(f"no {' or '.join(map(str, PLACES))}: give ejabberd.yml with --ejabberd FILE", EXIT_USAGE)
    try:
        if not path.exists():
            return _fail(f"--ejabberd: {path} does not exist", EXIT_USAGE)
        if parsed.remove:
            return remove(path, config)
        return setup(path, config, apply=parsed.apply)
    except Refused as error:
        return _fail(f"nothing was changed:\n{error}", EXIT_FAILED)
    except OSError as error:
        cure = "correct this and run it again" if os.geteuid() == 0 else "run it as root"
        return _fail(f"{error.filename}: {error.strerror}: {cure}", EXIT_FAILED)


def _fail(reason: str, status: int) -> int:
    print(f"warmside setup: {reason}", file=sys.stderr)
    return status


def program_line(config: Path, account: Account, executable: str = sys.executable) -> str:
    """Return the command line for ``extauth_program``.

    :raises Refused: ejabberd can't run it from its place.
    """
    for path in (executable, os.path.realpath(executable), str(config)):
        hidden = next((folder for folder in HIDDEN if Path(path).is_relative_to(folder)), None)
        if hidden is not None and account.uid != 0:
            raise Refused(
                f"{path} is below {hidden}, which ejabberd's unit hides from it: install warmside elsewhere, such as "
                "with /usr/bin/python3 -m venv /opt/warmside, and keep its configuration in /etc/warmside"
            )
        if " " in path:
            raise Refused(f"{path} has a space, at which ejabberd splits the command line: use another folder")
    short = os.path.join(os.path.dirname(executable), "python")
    if os.path.exists(short) and os.path.samefile(short, executable):
        executable = short
    return f"{executable} -I -m warmside extauth --config {config}"


def check_program(account: Account) -> None:
    """Run warmside's Python as ejabberd's user; without root, do nothing.

    :raises Refused: it does not run.
    """
    if os.geteuid() != 0:
        return
    command = [sys.executable, "-I", "-c", "import warmside.app.program"]
    try:
        done = subprocess.run(  # noqa: S603 - the interpreter of this process
            command, user=account.uid, group=account.gid, extra_groups=account.groups, cwd="/", check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=PROGRAM_TIMEOUT,
        )  # fmt: skip
        fault = "" if done.returncode == 0 else (done.stderr.decode(errors="replace").strip().splitlines() or ["?"])[-1]
    except (OSError, subprocess.TimeoutExpired) as error:
        fault = str(error)
    if fault:
        raise Refused(
            f"the user {account.name} can't run {sys.executable} with warmside ({fault}): install it where "
            "this user can read it, such as with /usr/bin/python3 -m venv /opt/warmside"
        )


def make(found: Survey, config: Path, program: str, places: Places) -> Plan:
    """Plan the set-up of what `warmside.doctor.survey.survey` found.

    :raises Refused: something has to be edited by hand first.
    """
    included = found.path.with_name("warmside.yml")
    there = included.read_bytes() if included.exists() else None
    earlier = there.decode() if there is not None and found.current != found.original else ""
    if there is not None and not earlier and not plan.is_own(there):
        raise Refused(f"{included} is not from warmside setup, or was changed: rename it")
    previous = next((line[13:] for line in earlier.splitlines() if line.startswith("auth_method: ")), None)
    existing = newconfig.existing_config(config)
    want = plan.wanted(found, program, existing[0] if existing else None, previous)
    if existing and want.program and (existing[1] or "").split() != want.program.split():
        want.by_hand.append(f'{config}: add to [extauth]: program = "{want.program}"')
    if want.by_hand:
        raise Refused("\n".join(f"edit {each}" for each in want.by_hand))
    text = "".join(f"{line}\n" for line in want.lines)
    if earlier and there is not None and not plan.is_own(there):
        edited, content = found.current, None  # changed by hand since: it stays as it is
    elif not want.lines:
        edited, content = found.original, None
    else:
        edited, content = ymledit.edit(found.path, found.original, want.replaced, included), plan.own(text)
        plan.check_effective(found, edited, included, text)
    planned = Plan(found, edited, notes=want.notes)
    account = found.account
    _plan_config(planned, config, None if existing else newconfig.config_text(found, want, config.with_name("admins")))
    tmpfiles = "".join(
        f"d {folder} {mode:04o} {account.name} {_group(account)} -\n"
        for folder, mode in ((places.runtime, 0o750), (places.state, 0o700))
    )
    if not places.tmpfiles.exists():
        planned.files.append(NewFile(places.tmpfiles, plan.own(tmpfiles), 0o644, os.getegid()))
    for folder, mode in ((places.runtime, 0o750), (places.state, 0o700)):
        if not folder.exists():
            planned.folders.append((folder, mode, account.uid, account.gid))
        elif folder.stat().st_uid != account.uid:
            raise Refused(f"{folder} belongs to another user than {account.name}: chown it, or remove it")
    if content is not None and there != content:
        status = found.path.stat()
        planned.files.append(NewFile(included, content, status.st_mode & 0o7777, status.st_gid))
    return planned


def _plan_config(planned: Plan, config: Path, text: str | None) -> None:
    gid, admins = planned.survey.account.gid, config.with_name("admins")
    if not config.parent.exists():
        planned.folders.append((config.parent, 0o750, os.geteuid(), gid))
    if text is None:
        return
    if not admins.exists():
        planned.password = secrets.token_urlsafe(18)
        content = plan.own(f"{hash_line(planned.password, ADMIN)}\n")
        planned.files.append(NewFile(admins, content, 0o640, gid, f"{ADMIN}:<hash of a generated password>\n"))
    planned.files.append(NewFile(config, plan.own(text), 0o640, gid))


def _group(account: Account) -> str:
    try:
        return grp.getgrgid(account.gid).gr_name
    except KeyError:
        return str(account.gid)


def setup(path: Path, config: Path, *, apply: bool, places: Places = Places(), program: str | None = None) -> int:  # noqa: B008 - frozen
    """Print the plan, and carry it out with ``apply``. Return the exit status.

    :raises Refused: something has to be edited by hand; nothing was changed.
    :raises OSError: a file can't be written; each file is old or new, whole.
    """
    found = survey(path)
    line = program or program_line(config, found.account)
    if program is None:
        check_program(found.account)
    planned = make(found, config, line, places)
    print(
        f"ejabberd {found.version or '(unknown version)'}: {found.path}, user {found.account.name}, "
        f"hosts {', '.join(found.ejabberd.hosts)}"
    )
    for note in planned.notes:
        print(note)
    if planned.is_done:
        print("Nothing to change: everything is set up.")
        return 0
    print(diff(planned), end="")
    if not apply:
        print("Nothing was changed. To do this, run it again with --apply.")
        return 0
    kept = carry_out(planned)
    print("Done. Now restart ejabberd, and check it:\n  systemctl restart ejabberd\n  warmside check USER@HOST")
    print("How to go back: warmside setup --remove" + (f". The old file is {kept}" if kept else ""))
    return 0
