"""Previously accepted passwords, for all processes of one machine, in volatile memory only.

The file is on a tmpfs, and neither in the file of ``passwords.store`` nor on another machine. It holds keyed
digests; the key is random and goes with the file at a reboot. A user that can read
the file can read the memory of warmside's processes, so a slower digest would protect nothing more.
"""

import hashlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from warmside.store.database import Schema, SQLiteTables

NAME = "accepted-passwords.sqlite"
ACCEPTED_TIMEOUT = 30 * 86_400.0
"""Seconds after the last acceptance until a password expires."""
REFRESH_INTERVAL = 86_400.0
"""Seconds after which a further acceptance extends the time until a password expires."""
MAX_ACCEPTED = 100_000
"""Passwords in the file; the cleanup removes those that expire first."""
FAILED = "store of accepted passwords failed"

ACCEPTED = Schema(
    version=1,
    statements="""
CREATE TABLE IF NOT EXISTS accepted (
    digest BLOB PRIMARY KEY,
    expires REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS digest_key (id INTEGER PRIMARY KEY, key BLOB NOT NULL);
""",
)
PRUNE = "DELETE FROM accepted WHERE digest IN (SELECT digest FROM accepted ORDER BY expires DESC LIMIT -1 OFFSET ?)"


class AcceptedPasswords(SQLiteTables):
    """Keyed digests of accepted passwords.

    :param path: a file on a tmpfs; ``None`` keeps everything in this process's memory.
    :param scope: separates services that share the file, such as the path of the runtime folder.
    :param clock: the time in seconds, the same for all processes.
    :raises StoreError: the file can't be opened.
    """

    def __init__(self, path: Path | None, scope: str = "", clock: Callable[[], float] = time.time) -> None:
        super().__init__(FAILED, path, ACCEPTED)
        self._clock = clock
        self._scope = scope.encode()
        self._change("INSERT OR IGNORE INTO digest_key VALUES (1, ?)", (secrets.token_bytes(32),))
        ((self._key,),) = self._run("SELECT key FROM digest_key")

    def digest(self, *parts: bytes) -> bytes:
        """Return the keyed digest of a password and what belongs to it."""
        joined = b"".join(len(part).to_bytes(4, "big") + part for part in (self._scope, *parts))
        return hashlib.blake2b(joined, key=self._key, digest_size=32).digest()

    def contains(self, digest: bytes) -> bool:
        """Return True if the password was accepted.

        :raises StoreError: the file can't be read.
        """
        rows = self._run("SELECT expires FROM accepted WHERE digest = ?", (digest,))
        return bool(rows) and rows[0][0] > self._clock()

    def add(self, digest: bytes) -> None:
        """Remember an accepted password.

        :raises StoreError: the file can't be written.
        """
        expires = self._clock() + ACCEPTED_TIMEOUT
        # A password of the same day costs no write.
        self._change(
            "INSERT INTO accepted VALUES (?1, ?2) ON CONFLICT (digest) DO UPDATE SET expires = ?2 "
            "WHERE expires < ?2 - ?3",
            (digest, expires, REFRESH_INTERVAL),
        )

    def remove(self, digest: bytes) -> None:
        """Forget a password. Read first: usually nothing is stored, and a read takes no write lock.

        :raises StoreError: the file can't be written.
        """
        if self.contains(digest):
            self._change("DELETE FROM accepted WHERE digest = ?", (digest,))

    def sweep(self) -> None:
        """Remove expired passwords, and those over the limit.

        :raises StoreError: the file can't be written.
        """
        self._change("DELETE FROM accepted WHERE expires <= ?", (self._clock(),))
        self._change(PRUNE, (MAX_ACCEPTED,))

    def close(self) -> None:
        """Close the file. Its content stays."""
        self._database.close()
