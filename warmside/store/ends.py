"""Ended users, in the file of the one-time passwords: logins that began before are not handed out."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from warmside.store.database import BUSY_TIMEOUT, Schema, SQLiteTables, store_errors
from warmside.store.sqlite import PASSWORDS, STORE

MARK_LIFETIME = 600.0
"""Seconds for which a mark is kept: longer than any login may take (``bosh.timeout`` is at most 300 s)."""

ENDS = Schema(
    version=PASSWORDS.version,
    statements="""
CREATE TABLE IF NOT EXISTS ends (
    jid TEXT PRIMARY KEY,
    ended REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ending (
    jid TEXT PRIMARY KEY,
    lease TEXT NOT NULL,
    until REAL NOT NULL
) WITHOUT ROWID;
""",
)
# The time starts at 0 with each boot. In a file that survives a boot, a time in the future is of an earlier one.
ENDED = "SELECT 1 FROM ends WHERE jid IN ({marks}) AND ended BETWEEN ? AND ?"
# A process that has waited for the file's lock has an earlier time than the one that held it. A mark from the future is
# of an earlier boot.
MARK = """
INSERT INTO ends (jid, ended) VALUES (:jid, :ended)
ON CONFLICT (jid) DO UPDATE SET ended = excluded.ended
WHERE ended < excluded.ended OR ended > :now + :waited
"""
BEGIN = """
INSERT INTO ending (jid, lease, until) VALUES (:jid, :lease, :now + :seconds)
ON CONFLICT (jid) DO UPDATE SET lease = excluded.lease, until = excluded.until
WHERE until <= :now OR until > :now + :longest
RETURNING 1
"""


class SQLiteEnds(SQLiteTables):
    """`SessionEnds` in SQLite.

    :param path: the file; ``None`` keeps everything in this process's memory.
    :param clock: seconds since the boot, the same for all processes of the machine.
    :raises StoreError: the file can't be opened.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(STORE, path, ENDS)
        self.now = clock

    async def begin(self, bare: str, lease: str, seconds: float) -> bool:
        """See `SessionEnds.begin`."""
        values = {"jid": bare, "lease": lease, "seconds": seconds, "longest": MARK_LIFETIME, "now": self.now()}
        return bool(self._run(BEGIN, values))

    async def release(self, bare: str, lease: str) -> None:
        """See `SessionEnds.release`."""
        self._change("DELETE FROM ending WHERE jid = ? AND lease = ?", (bare, lease))

    async def mark(self, jid: str) -> None:
        """See `SessionEnds.mark`."""
        self.mark_at({jid: self.now()})

    def mark_at(self, marks: Mapping[str, float]) -> None:
        """Mark JIDs as ended at given times, in one transaction. A later mark of a JID stays.

        :param marks: times in seconds of the clock `now`, by JID.
        """
        now = self.now()
        with store_errors(STORE), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(
                MARK,
                [{"jid": jid, "ended": ended, "now": now, "waited": 2 * BUSY_TIMEOUT} for jid, ended in marks.items()],
            )

    async def ended_since(self, began: float, *jids: str) -> bool:
        """See `SessionEnds.ended_since`."""
        marks = ", ".join("?" * len(jids))
        return bool(self._run(ENDED.format(marks=marks), (*jids, began, self.now())))

    async def sweep(self) -> None:
        """See `SessionEnds.sweep`."""
        now = self.now()
        self._change("DELETE FROM ends WHERE ended NOT BETWEEN ? AND ?", (now - MARK_LIFETIME, now))
        self._change("DELETE FROM ending WHERE until NOT BETWEEN ? AND ?", (now, now + MARK_LIFETIME))

    def close(self) -> None:
        """See `SessionEnds.close`."""
        self._database.close()
