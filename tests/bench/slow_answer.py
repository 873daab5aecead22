"""``warmside extauth`` that pauses between redeeming a one-time password and answering ejabberd.

    python -m tests.bench.slow_answer FOLDER SECONDS atomic|non-atomic --config FILE

While it pauses, the file FOLDER/PID begins with the byte 1. The file is mapped into memory, so its content
survives a kill. ``non-atomic`` replaces redeeming in one statement by a SELECT followed by a DELETE.
"""

import mmap
import os
import sys
import time
from pathlib import Path

from warmside.cli import main
from warmside.otp import digest
from warmside.store.sqlite import SQLiteStore
from warmside.throttle import accounts

PROGRESS_TIMEOUT = 5.0
"""Seconds after which a probe that a kill has ended no longer counts. 14 kills of probes would stop all logins."""
FIND = "SELECT 1 FROM passwords WHERE digest = ? AND jid = ? AND expires > ?"


def install(folder: Path, pause: float, *, atomic: bool) -> None:
    """Replace `SQLiteStore.redeem` by one that pauses, in this process.

    :param folder: of the files that say where each process is.
    :param pause: seconds between redeeming and answering.
    """
    path = folder / str(os.getpid())
    path.write_bytes(b"\0")
    with path.open("r+b") as file:
        place = mmap.mmap(file.fileno(), 1)
    redeem = SQLiteStore.redeem

    def redeem_in_two_steps(store: SQLiteStore, bare: str, password: bytes) -> bool:
        key = digest(password)
        found = store._database.execute(FIND, (key, bare, time.time())).fetchone() is not None
        time.sleep(pause)
        store._database.execute("DELETE FROM passwords WHERE digest = ?", (key,))
        return found

    def redeem_slowly(store: SQLiteStore, bare: str, password: bytes) -> bool:
        accepted = redeem(store, bare, password) if atomic else redeem_in_two_steps(store, bare, password)
        if accepted:
            place[0] = 1
            time.sleep(pause)
            place[0] = 0
        return accepted

    accounts.PROGRESS_TIMEOUT = PROGRESS_TIMEOUT
    SQLiteStore.redeem = redeem_slowly  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    install(Path(sys.argv[1]), float(sys.argv[2]), atomic=sys.argv[3] == "atomic")
    sys.exit(main(["extauth", *sys.argv[4:]]))
