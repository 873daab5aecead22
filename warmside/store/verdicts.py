"""Verdicts on hosts in SQLite, usually in the file of the one-time passwords."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from warmside.store.database import Schema, SQLiteTables
from warmside.store.interface import HostState, HostVerdict
from warmside.store.sqlite import PASSWORDS, STORE

MAX_HOSTS = 1000
"""Verdicts that are kept; beyond, the oldest are removed."""
KEEP_REFUSED_TIME = 600.0
"""Seconds after the end of a back-off for which the number of failures is kept."""

VERDICTS = Schema(
    version=PASSWORDS.version,
    statements="""
CREATE TABLE IF NOT EXISTS verdicts (
    host TEXT PRIMARY KEY,
    state TEXT,
    probed_at REAL NOT NULL DEFAULT 0,
    valid_until REAL NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    facts TEXT NOT NULL DEFAULT '',
    lease TEXT NOT NULL,
    lease_until REAL NOT NULL
) WITHOUT ROWID;
""",
)
COLUMNS = "state, probed_at, valid_until, failures, facts"
BEGIN = """
INSERT INTO verdicts (host, lease, lease_until) VALUES (:host, :lease, :now + :seconds)
ON CONFLICT (host) DO UPDATE SET lease = :lease, lease_until = :now + :seconds WHERE lease_until <= :now
RETURNING 1
"""
RECORD = """
UPDATE verdicts SET state = ?, probed_at = ?, valid_until = ?, failures = ?, facts = ?, lease = '', lease_until = 0
WHERE host = ? AND lease = ?
"""
REMOVE_LEASED = """
DELETE FROM verdicts WHERE host = :host AND lease = :lease AND (state IS NOT 'safe' OR valid_until <= :now)
"""
RELEASE = "UPDATE verdicts SET lease = '', lease_until = 0 WHERE host = :host AND lease = :lease"
SWEEP = f"""
DELETE FROM verdicts WHERE lease_until <= :now AND (
    state IS NULL
    OR (state = 'safe' AND valid_until <= :now)
    OR (state = 'refused' AND valid_until <= :now - {KEEP_REFUSED_TIME})
)
"""  # noqa: S608
TRIM = """
DELETE FROM verdicts WHERE host IN (
    SELECT host FROM verdicts ORDER BY max(probed_at, lease_until) DESC LIMIT -1 OFFSET ?
)
"""


class SQLiteVerdicts(SQLiteTables):
    """A `VerdictStore` in SQLite.

    :param path: the file; ``None`` keeps everything in this process's memory.
    :param clock: the time in seconds, the same for all processes.
    :raises StoreError: the file can't be opened.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.time) -> None:
        super().__init__(STORE, path, VERDICTS)
        self.now = clock

    def get(self, host: str) -> HostVerdict | None:
        """See `VerdictStore.get`."""
        rows = self._run(f"SELECT {COLUMNS} FROM verdicts WHERE host = ? AND state IS NOT NULL", (host,))  # noqa: S608
        return _verdict(rows[0]) if rows else None

    def begin(self, host: str, lease: str, seconds: float) -> bool:
        """See `VerdictStore.begin`."""
        return bool(self._run(BEGIN, {"host": host, "lease": lease, "seconds": seconds, "now": self.now()}))

    def extend(self, host: str, lease: str, seconds: float) -> bool:
        """See `VerdictStore.extend`."""
        values = (self.now() + seconds, host, lease)
        return self._change("UPDATE verdicts SET lease_until = ? WHERE host = ? AND lease = ?", values) > 0

    def record(self, host: str, lease: str, verdict: HostVerdict) -> bool:
        """See `VerdictStore.record`."""
        result = (verdict.state.value, verdict.probed_at, verdict.valid_until, verdict.failures, verdict.facts)
        return self._change(RECORD, (*result, host, lease)) > 0

    def release(self, host: str, lease: str) -> None:
        """See `VerdictStore.release`."""
        for statement in (REMOVE_LEASED, RELEASE):
            self._change(statement, {"host": host, "lease": lease, "now": self.now()})

    def drop(self, host: str | None = None) -> None:
        """See `VerdictStore.drop`."""
        if host is None:
            self._change("DELETE FROM verdicts")
        else:
            self._change("DELETE FROM verdicts WHERE host = ? AND state IS NOT 'refused'", (host,))

    def end_back_off(self, host: str) -> None:
        """See `VerdictStore.end_back_off`. Read first: a read takes no write lock, and usually nothing is stored."""
        if self._run("SELECT 1 FROM verdicts WHERE host = ? AND state = 'refused'", (host,)):
            self._change("DELETE FROM verdicts WHERE host = ? AND state = 'refused'", (host,))

    def unsafe(self) -> list[str]:
        """See `VerdictStore.unsafe`."""
        rows = self._run("SELECT host FROM verdicts WHERE state IN ('caching', 'anonymous') ORDER BY host")
        return [host for (host,) in rows]

    def probed_before(self, time: float) -> dict[str, HostVerdict]:
        """See `VerdictStore.probed_before`."""
        states = "('safe', 'caching', 'anonymous')"
        rows = self._run(
            f"SELECT {COLUMNS}, host FROM verdicts WHERE state IN {states} AND probed_at <= ? AND lease_until <= ?",  # noqa: S608
            (time, self.now()),
        )
        return {host: _verdict(values) for *values, host in rows}

    def sweep(self) -> None:
        """See `VerdictStore.sweep`."""
        self._change(SWEEP, {"now": self.now()})
        self._change(TRIM, (MAX_HOSTS,))

    def close(self) -> None:
        """See `VerdictStore.close`."""
        self._database.close()


def _verdict(values: Any) -> HostVerdict:
    state, *rest = values
    return HostVerdict(HostState(state), *rest)
