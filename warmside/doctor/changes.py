"""Show the changes of `warmside setup`, carry them out, and undo them."""

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from warmside.doctor import atomic, plan, ymledit
from warmside.doctor.plan import Places
from warmside.doctor.survey import Survey
from warmside.doctor.ymledit import Refused

ADMIN = "webapp"
"""Name of the web application in a new admins file."""


@dataclass(frozen=True)
class NewFile:
    """A file to create. ``shown`` is its content in the diff, without what is secret."""

    path: Path
    content: bytes
    mode: int
    gid: int
    shown: str | None = None


@dataclass
class Plan:
    """Everything that ``--apply`` does, in its order: folders, files, and ``ejabberd.yml`` at last."""

    survey: Survey
    edited: bytes
    folders: list[tuple[Path, int, int, int]] = field(default_factory=list)
    """Path, mode, user and group."""
    files: list[NewFile] = field(default_factory=list)
    password: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """True if nothing has to be changed."""
        return not self.folders and not self.files and self.edited == self.survey.current


def diff(planned: Plan) -> str:
    """Return all changes as a unified diff, with folders as comments. It has no secret."""
    lines = [
        f"# new folder {path}, mode {mode:04o}, user {uid}, group {gid}\n" for path, mode, uid, gid in planned.folders
    ]
    for file in planned.files:
        old = file.path.read_text().splitlines(keepends=True) if file.path.exists() else []
        new = (file.shown or file.content.decode()).splitlines(keepends=True)
        lines += difflib.unified_diff(old, new, str(file.path) if old else "/dev/null", str(file.path))
    current, edited = (
        data.decode(errors="replace").splitlines(keepends=True) for data in (planned.survey.current, planned.edited)
    )
    lines += difflib.unified_diff(current, edited, str(planned.survey.path), str(planned.survey.path))
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def carry_out(planned: Plan) -> Path | None:
    """Write everything; ``ejabberd.yml`` comes last. Return the path of its backup.

    :raises Refused: ``ejabberd.yml`` was changed meanwhile.
    :raises OSError: a folder or file can't be written.
    """
    for path, mode, uid, gid in planned.folders:
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, uid, gid)
        path.chmod(mode)
    if planned.password is not None:
        print(f"Name and password of the web application, shown only now: {ADMIN} {planned.password}", flush=True)
    for file in planned.files:
        beside = file.path.name == "warmside.yml"
        uid = planned.survey.path.stat().st_uid if beside else os.geteuid()
        file.path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(file.path, file.content, uid=uid, gid=file.gid, mode=file.mode)
    return _replace(planned.survey, planned.edited)


def _replace(found: Survey, edited: bytes) -> Path | None:
    if edited == found.current:
        return None
    if found.path.read_bytes() != found.current:
        raise Refused(f"{found.path} was changed meanwhile: run it again")
    kept = atomic.backup(found.path)
    atomic.replace(found.path, edited)
    return kept


def remove(path: Path, config: Path, *, places: Places = Places(), say: Callable[[str], None] = print) -> int:  # noqa: B008 - frozen
    """Take out all lines and files of setup. Files that were changed since stay and are named.

    :raises Refused: a line that `ymledit.restore` needs is missing.
    :raises OSError: a file can't be written or deleted.
    """
    path = path.resolve()
    current = path.read_bytes()
    original = ymledit.restore(current)
    done = original != current
    if done:
        atomic.replace(path, original)
        say(f"restored {path}")
    for each in atomic.backups(path):
        if each.exists() and each.read_bytes() == original:
            atomic.delete(each)
            say(f"deleted {each}")
            done = True
    for file in (path.with_name("warmside.yml"), config, config.with_name("admins")):
        done |= _delete(file, say)
    for folder in (config.parent, places.runtime, places.state):
        if folder.is_dir() and (done or places.tmpfiles.exists()):
            try:
                folder.rmdir()
                say(f"deleted {folder}")
            except OSError:
                say(f"kept {folder}, because it has files")
    done |= _delete(places.tmpfiles, say)  # the last, so that a killed run can be finished
    say("Done. Now restart ejabberd." if done else "Nothing to remove.")
    return 0


def _delete(file: Path, say: Callable[[str], None]) -> bool:
    """Delete a file of setup, unless it was changed. Return True if it is deleted."""
    data = file.read_bytes() if file.exists() else b""
    if plan.is_own(data):
        atomic.delete(file)
        say(f"deleted {file}")
        return True
    if data.startswith(plan.HEADER.encode()):
        say(f"kept {file}, because it was changed")
    return False
