"""Look at a set-up before `warmside setup` changes it: ejabberd's files, its user, version and accounts."""

import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from warmside.doctor import processes, ymledit
from warmside.doctor.ejabberd import PLACES, Ejabberd, YamlError, load
from warmside.doctor.processes import Account
from warmside.doctor.ymledit import Refused

SPOOLS = {PLACES[0]: "/var/lib/ejabberd", PLACES[1]: "/opt/ejabberd/database/*"}
"""Folders of ejabberd's database by its configuration file: Debian's package, and ProcessOne's installer."""
TABLE = ("passwd.DCD", "passwd.DCL", "passwd.DAT")
"""Files of the table of internal accounts (Mnesia)."""
MAX_TABLE = 64 << 20
"""Bytes of such a file that are searched."""


@dataclass(frozen=True)
class Survey:
    """The set-up as it is. ``original`` is ``ejabberd.yml`` without the lines that setup added before.

    ``ejabberd`` has the options of ``original`` and of the files that it includes. ``accounts`` is True if internal
    accounts exist, False if none exist, ``None`` if this can't be determined; ``reason`` says how it was found.
    ``folder`` and ``environ`` are those of ejabberd's process, see `warmside.doctor.ejabberd.load`.
    """

    path: Path
    current: bytes
    original: bytes
    ejabberd: Ejabberd
    account: Account
    version: str | None
    accounts: bool | None
    reason: str
    folder: Path | None
    environ: Mapping[str, str]


def survey(given: Path) -> Survey:
    """Examine the set-up of an ``ejabberd.yml``. Nothing is written.

    :raises Refused: the file can't be used. The message says what to change.
    """
    path = given.resolve()
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Refused(f"{given} is not a file: give ejabberd.yml with --ejabberd")
        current = path.read_bytes()
    except OSError as error:
        raise Refused(f"{given} can't be read: {error.strerror}: run it as root, or give --ejabberd FILE") from None
    original = ymledit.restore(current)
    found = processes.ejabberds(processes.running(), path)
    process = found[0] if found else None
    environ: Mapping[str, str] = process.environ or {} if process else os.environ
    folder = process.folder if process else None
    options = options_of(path, original, folder, environ)
    account = processes.account_of(process.uid) if process else processes.account_named(processes.ACCOUNT)
    account = account or processes.account_of(status.st_uid)
    spools = _spools(path, process.command if process else ())
    accounts, reason = internal_accounts(spools, options.hosts, known=process is not None or path in SPOOLS)
    version = processes.version_of(process)
    return Survey(path, current, original, options, account, version, accounts, reason, folder, environ)


def options_of(
    path: Path,
    content: bytes,
    folder: Path | None,
    environ: Mapping[str, str],
    included: Mapping[str, str] | None = None,
) -> Ejabberd:
    """Return the options of an ``ejabberd.yml`` with a given content.

    :param path: its place, for messages.
    :param included: new content of files that it includes, by path.
    :raises Refused: the content can't be used.
    """
    with tempfile.TemporaryDirectory(prefix="warmside-setup-") as name:
        main = Path(name) / "ejabberd.yml"
        for number, (file, text) in enumerate((included or {}).items()):
            other = Path(name) / f"{number}.yml"
            other.write_text(text, encoding="utf-8")
            content = content.replace(ymledit.flow(file).encode(), ymledit.flow(str(other)).encode())
        main.write_bytes(content)
        try:
            found = load(main, folder=folder, environ=environ)
        except YamlError as error:
            raise Refused(str(error).replace(str(main), str(path))) from None
        if found.unsure:
            raise Refused("; ".join(found.unsure).replace(str(main), str(path)))
        return found


def _spools(path: Path, command: tuple[str, ...]) -> list[Path]:
    if "-mnesia" in command and "dir" in command:
        return [Path(command[command.index("dir") + 1].strip('"'))]
    pattern = SPOOLS.get(path)
    return sorted(Path("/").glob(pattern[1:])) if pattern else []


def internal_accounts(spools: list[Path], hosts: tuple[str, ...], *, known: bool) -> tuple[bool | None, str]:
    """Search ejabberd's database for accounts with an internal password.

    :param known: True if the place of the database is known.
    :returns: True, False or ``None`` (not determined), and the reason.
    """
    keys = [b"m" + len(host.encode()).to_bytes(4, "big") + host.encode() for host in hosts]
    for spool in spools:
        for file in (spool / name for name in TABLE):
            try:
                with file.open("rb") as opened:
                    content = opened.read(MAX_TABLE + 1)
            except FileNotFoundError:
                continue
            except OSError as error:
                return None, f"{file} can't be read: {error.strerror}"
            if len(content) > MAX_TABLE or any(key in content for key in keys):
                return True, f"{file} has accounts"
    if not known:
        return None, "the database of this ejabberd is unknown, because it does not run"
    return False, f"no internal account in {', '.join(map(str, spools)) or 'a database: there is none'}"
