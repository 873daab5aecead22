"""Find the running processes of ejabberd and warmside, and their users. Reads ``/proc`` and the user database."""

import grp
import os
import pwd
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from warmside.config.loader import DEFAULT_PATH
from warmside.doctor.ejabberd import PLACES

PROC = Path("/proc")
ACCOUNT = "ejabberd"
"""The user that runs ejabberd where no process does: that of Debian's package and of ProcessOne's installer."""
LIBRARIES = ("/usr/lib/*/ejabberd-*", "/usr/lib/ejabberd-*", "/opt/ejabberd-*/lib/ejabberd-*", "/opt/ejabberd/lib/*")
VERSION = re.compile(r"ejabberd-([0-9]+)\.([0-9]+)(?:[.-].*)?")


@dataclass(frozen=True)
class Account:
    """A user, with the groups that its processes have."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    @property
    def group(self) -> str:
        """Name of the main group; its number if it has no name."""
        try:
            return grp.getgrgid(self.gid).gr_name
        except KeyError:
            return str(self.gid)


@dataclass(frozen=True)
class Process:
    """A running process. ``environ`` is ``None`` if it can't be read, and ``root`` is its root folder in ``/proc``."""

    pid: int
    uid: int
    command: tuple[str, ...]
    environ: Mapping[str, str] | None
    root: Path = field(default=Path("/"))

    @property
    def folder(self) -> Path | None:
        """The working folder; ``None`` if it can't be read."""
        try:
            return Path(os.readlink(PROC / str(self.pid) / "cwd"))
        except OSError:
            return None

    def is_file(self, own: str, file: Path) -> bool:
        """True if a path of the process is the given file of this process."""
        try:
            return os.path.samefile(f"{self.root}/{own}", file)
        except OSError:
            return os.path.realpath(own) == os.path.realpath(file)


def account_of(uid: int) -> Account:
    """Return the user with this number, also one that the user database does not have."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(str(uid), uid, uid)
    return Account(entry.pw_name, uid, entry.pw_gid, tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def account_named(name: str) -> Account | None:
    """Return the user with this name; ``None`` if there is none."""
    try:
        return account_of(pwd.getpwnam(name).pw_uid)
    except KeyError:
        return None


def running() -> list[Process]:
    """Return all processes that may be ejabberd's or warmside's."""
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            uid = entry.stat().st_uid
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"ejabberd" in command or b"warmside" in command:
            words = tuple(os.fsdecode(word) for word in command.rstrip(b"\0").split(b"\0"))
            found.append(Process(int(entry.name), uid, words, _environ(entry), entry / "root"))
    return found


def _environ(entry: Path) -> dict[str, str] | None:
    try:
        lines = os.fsdecode((entry / "environ").read_bytes()).split("\0")
    except OSError:
        return None
    return dict(line.split("=", 1) for line in lines if "=" in line)


def ejabberds(processes: list[Process], path: Path) -> list[Process]:
    """Return the processes of ejabberd that run with this configuration file."""
    found = []
    for process in processes:
        if Path(process.command[0]).name not in ("beam.smp", "beam") or "ejabberd" not in process.command:
            continue
        if process.environ is None:  # its file is not known: only the system's ejabberd has the system's account
            account = account_named(ACCOUNT)
            if path in PLACES and account is not None and account.uid == process.uid:
                found.append(process)
            continue
        own = process.environ.get("EJABBERD_CONFIG_PATH") or str(PLACES[0])
        if process.is_file(own, path):
            found.append(process)
    return found


def warmsides(processes: list[Process], config: Path) -> list[Process]:
    """Return the processes of warmside that serve with this configuration file: ``extauth`` and ``twistd``."""
    return [process for process in processes if (own := config_of(process.command)) and process.is_file(own, config)]


def file_of_ejabberd(services: list[Process]) -> Path | None:
    """Return the ``ejabberd.yml`` of the ejabberd that started processes of warmside; ``None`` if not determined."""
    found = {(each.environ or {}).get("EJABBERD_CONFIG_PATH") for each in services}
    path = found.pop() if len(found) == 1 else None
    return Path(path) if path and path.startswith("/") else None


def config_of(command: tuple[str, ...]) -> str | None:
    """Return the configuration file of a command line of warmside; ``None`` if it is no service of warmside."""
    names = [Path(word).name for word in command]
    if "warmside" not in names:
        return None
    is_service = "extauth" in command or any(name.startswith("twistd") for name in names)
    rest = command[names.index("warmside") + 1 :]
    if not is_service:
        return None
    for number, word in enumerate(rest):
        if word in ("--config", "-c") and number + 1 < len(rest):
            return rest[number + 1]
        if word.startswith("--config="):
            return word.partition("=")[2]
    return str(DEFAULT_PATH)


def version_of(process: Process | None) -> str | None:
    """Return ejabberd's version, such as ``23.01``; ``None`` if it can't be determined.

    It is that of the folder ``ejabberd-VERSION`` that the process loads, else that of the installed package.
    """
    if process is None:
        return newest(path.name for pattern in LIBRARIES for path in Path("/").glob(pattern[1:]))
    folders = [word for word in process.command if "/ejabberd-" in word]
    folders += [f"{each}/" for each in (process.environ or {}).get("ERL_LIBS", "").split(":") if each]
    names: list[str] = []
    for folder in folders:
        names += [part for part in folder.split("/") if VERSION.fullmatch(part)]
        if folder.endswith("/"):
            names += _listed(process.root / folder.strip("/"))
    return newest(names) or (newest(_mapped(process)) if process.environ is not None else None) or version_of(None)


def _listed(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir() if (path / "ebin/ejabberd.app").exists()]
    except OSError:
        return []


def _mapped(process: Process) -> Iterator[str]:
    try:
        maps = (PROC / str(process.pid) / "maps").read_text(errors="replace")
    except OSError:
        return
    for line in maps.splitlines():
        yield from (part for part in line.split("/") if VERSION.fullmatch(part))


def newest(names: "Iterator[str] | list[str]") -> str | None:
    """Return the highest version of folders named ``ejabberd-VERSION``; ``None`` if there is none."""
    matches = [match for name in names if (match := VERSION.fullmatch(name))]
    versions = [(int(match[1]), int(match[2]), f"{match[1]}.{match[2]}") for match in matches]
    return max(versions)[2] if versions else None
