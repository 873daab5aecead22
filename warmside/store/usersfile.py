"""Each machine's file of known users, where several machines share them.

The file answers `exists` without a round trip, and restores a Redis that has lost its content. All processes of the
machine follow Redis together: their progress is in the file. A step counts only if no other process has made one
meanwhile.
"""

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

from warmside.store.database import store_errors
from warmside.store.sqlite import SQLiteKnownUsers

Row = tuple[str, int]
"""A bare JID and its score."""

APPLY = """
INSERT INTO users (jid, score) VALUES (?, ?)
ON CONFLICT (jid) DO UPDATE SET score = excluded.score, pending = 0 WHERE excluded.score > score
"""
PENDING = "SELECT jid, score / 2 FROM users WHERE pending = 1 LIMIT ?"
PORTION = "SELECT jid, score, pending FROM users WHERE jid > ? ORDER BY jid LIMIT ?"


@dataclass(frozen=True, slots=True)
class Reply:
    """Reply of `warmside.store.userscripts.READ`.

    :param gone: not ``None`` if all has to be read and pushed: Redis has lost its content, or it is too long ago. New
        versions are higher than this one.
    :param events: kind, version and token of each event since.
    :param page: rows after the cursor.
    :param again: rows of the second reading.
    """

    epoch: str
    seen: int
    token: str
    gone: int | None
    events: Sequence[tuple[str, int, str]]
    page: Sequence[Row]
    again: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a machine has read and pushed.

    :param epoch: content of Redis that this is about; empty before the first one.
    :param seen: number of the last event that was read.
    :param token: token of that event.
    :param cursor: score up to which all rows were read.
    :param again: score from which rows up to the cursor are read a second time; ``None`` if they are not.
    :param later: score from which they are read once more after that; ``None`` if they are not.
    :param push: JID up to which the file was pushed to Redis; ``None`` if nothing is left to push.
    :param low: only rows with a higher score are pushed.
    :param highest: highest score that was read. New versions are higher, whatever Redis has lost.
    """

    epoch: str = ""
    seen: int = 0
    token: str = ""
    cursor: int = 0
    again: int | None = None
    later: int | None = None
    push: str | None = None
    low: int = -1
    highest: int = 0

    @property
    def unfinished(self) -> bool:
        """True if there is more to read again, or to push."""
        return self.again is not None or self.push is not None

    def after(self, reply: Reply, node: str) -> "Progress":
        """Return the progress once the rows of a reply are in the file.

        :param node: start of the tokens of the file's own events, whose rows it has already.
        """
        if reply.gone is not None:
            # New changes come first, and all before them meanwhile.
            start = Progress(reply.epoch, reply.seen, reply.token, cursor=2 * reply.gone + 1, highest=self.highest)
            return replace(start, again=0, push="")
        progress = replace(self, seen=reply.seen, token=reply.token)
        if reply.page:
            last = reply.page[-1][1]
            progress = replace(progress, cursor=last, highest=max(last, self.highest))
        if progress.again is not None:
            if reply.again:
                progress = replace(progress, again=reply.again[-1][1])
            else:
                progress = replace(progress, again=self.later, later=None)
        for kind, version, token in reply.events:
            if kind == "lost":
                progress = progress._lost(2 * version + 1)
            elif not token.startswith(node):
                progress = progress._merged(2 * version - 1)
        return progress

    def _lost(self, last: int) -> "Progress":
        """Rows with a higher score may be missing: push them, and read from there."""
        low = last if self.push is None else min(last, self.low)
        return replace(self, cursor=min(self.cursor, last), push="", low=low)

    def _merged(self, before: int) -> "Progress":
        """Rows with a higher score were added: read again what is not read yet by then."""
        if before >= self.cursor or (self.again is not None and before >= self.again):
            return self
        if self.again is None:
            return replace(self, again=before)
        return replace(self, later=before if self.later is None else min(before, self.later))


class SharedUsersFile(SQLiteKnownUsers):
    """The file of `SQLiteKnownUsers` on a machine that shares its users.

    :param path: see `SQLiteKnownUsers`.
    :raises StoreError: the file can't be opened.
    """

    shared = True

    def __init__(self, path: Path | None) -> None:
        super().__init__(path)
        self.node = _node(path)
        """Name of the machine and the file, the same for all processes. A file that is copied gets another one."""

    def pending(self, most: int) -> list[Row]:
        """Return users that are known here and not yet announced, with the version that was known before.

        :raises StoreError: the file can't be read.
        """
        return self._run(PENDING, (most,))

    def portion(self, after: str, most: int) -> list[tuple[str, int, int]]:
        """Return JID, score and ``pending`` of the rows after a JID, in their order.

        :raises StoreError: the file can't be read.
        """
        return self._run(PORTION, (after, most))

    def apply(self, rows: Iterable[Row]) -> None:
        """Write rows of Redis. A row with a higher score stays.

        :raises StoreError: the file can't be written; no row was.
        """
        with store_errors(self._name), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(APPLY, rows)

    def progress(self) -> Progress:
        """Return the progress of this machine.

        :raises StoreError: the file can't be read or written.
        """
        rows = self._run("SELECT state FROM followed")
        if not rows:
            self._change("INSERT OR IGNORE INTO followed VALUES (1, ?)", (_text(Progress()),))
            rows = self._run("SELECT state FROM followed")
        return Progress(**json.loads(rows[0][0]))

    def advance(self, before: Progress, after: Progress, rows: Sequence[Row] = ()) -> bool:
        """Write rows and the progress in one transaction.

        :returns: False if another process has made progress meanwhile; nothing is written then.
        :raises StoreError: the file can't be written.
        """
        if before == after and not rows:
            return True
        with store_errors(self._name), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            values = (_text(after), _text(before))
            if not self._database.execute("UPDATE followed SET state = ? WHERE state = ?", values).rowcount:
                return False
            self._database.executemany(APPLY, rows)
            return True


def _node(path: Path | None) -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        status = path.stat() if path is not None else None
    except OSError:
        status = None
    if status is None:
        return secrets.token_hex(8)
    return sha256(f"{boot} {status.st_dev} {status.st_ino}".encode()).hexdigest()[:16]


def _text(progress: Progress) -> str:
    return json.dumps(asdict(progress))
