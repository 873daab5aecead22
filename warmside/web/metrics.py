"""What is counted, for ``/metrics``: prometheus-client in its multiprocess mode, one sum over all copies.

Each process counts in files of a numbered slot, which it holds by a lock; the next process that
takes the slot goes on where the last one ended. So counters never go back, and there are never more
files than there were processes at a time. No label carries a name, a JID or an address.
"""

import fcntl
import os
from itertools import count
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess, values
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from warmside.extauth.request import ExtauthRequest

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
"""Upper bounds of the histograms' buckets."""
EVENTS = ("minted", "redeemed", "refused", "revoked", "expired")
OPERATIONS = ("auth", "isuser", "setpass", "tryregister", "removeuser", "removeuser3", "certauth", "")


_opened: "dict[Path, Metrics]" = {}


def open_metrics(folder: Path) -> "Metrics":
    """The metrics that this process counts in a folder; opened once, however often the service is started.

    :raises OSError: they can't be opened.
    """
    if folder not in _opened:
        _opened[folder] = Metrics(folder)
    return _opened[folder]


class Metrics:
    """All metrics of one process.

    :param folder: of the files, shared by all processes of this machine and by nobody else.
    :raises OSError: they can't be opened.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock, slot = _take_slot(folder)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()
        self._warm = Counter("warmside_warm", "Answers to POST /warm.", ["outcome"], registry=registry)
        self._credentials = Counter(
            "warmside_credentials", "Answers to POST /credentials.", ["outcome"], registry=registry
        )
        self._warm_seconds = Histogram(
            "warmside_warm_seconds", "Time from a request to its warm session.", registry=registry, buckets=SECONDS
        )
        self._steps = Histogram(
            "warmside_step_seconds", "Time for each step of warming.", ["step"], registry=registry, buckets=SECONDS
        )
        passwords = Counter(
            "warmside_one_time_passwords", "What became of one-time passwords.", ["event"], registry=registry
        )
        self._passwords = {event: passwords.labels(event) for event in EVENTS}
        answers = Counter(
            "warmside_extauth_answers", "Answers to ejabberd.", ["operation", "answer"], registry=registry
        )
        self._answers = {
            (operation, yes): answers.labels(operation or "malformed", "yes" if yes else "no")
            for operation in OPERATIONS
            for yes in (True, False)
        }
        self._connections = Gauge(
            "warmside_connections_in_use",
            "Connections to connection managers that are reserved now.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._connections.set(0)

    def warmed(self, outcome: str, seconds: float) -> None:
        """A ``POST /warm`` has come to its end."""
        self._warm.labels(outcome).inc()
        if outcome == "success":
            self._warm_seconds.observe(seconds)

    def handed_out(self, outcome: str, seconds: float) -> None:
        """A ``POST /credentials`` has come to its end."""
        self._credentials.labels(outcome).inc()

    def step(self, name: str, seconds: float) -> None:
        """A step of warming was done."""
        self._steps.labels(name).observe(seconds)

    def password(self, event: str, number: int) -> None:
        """One-time passwords were minted or revoked, or have expired."""
        self._passwords[event].inc(number)

    def answer(self, question: ExtauthRequest | None, yes: bool) -> None:
        """ejabberd got an answer, to a malformed question if ``None``; by some, one-time passwords are redeemed."""
        self._answers[question.operation if question else "", yes].inc()
        if question and question.redeems:
            self._passwords["redeemed" if yes else "refused"].inc()

    def connections(self, change: int) -> None:
        """Connections were reserved or let go of."""
        self._connections.inc(change)

    def text(self) -> bytes:
        """The sum over all processes, in Prometheus' text format."""
        for path in self._folder.glob("gauge_live*_*.db"):
            _remove_if_dead(self._folder, path)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def close(self) -> None:
        """Nothing is under way any more. The slot is this process's until it ends; what was counted stays."""
        self._connections.set(0)


def _take_slot(folder: Path) -> tuple[int, int]:
    """The lock of the first slot that nobody holds, and its number."""
    for slot in count():
        lock = _try_lock(folder, slot)
        if lock is not None:
            return lock, slot
    raise AssertionError("not reached")


def _try_lock(folder: Path, slot: int) -> int | None:
    fd = os.open(folder / f"slot-{slot}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _remove_if_dead(folder: Path, path: Path) -> None:
    """Remove what a process that was killed left as its present state."""
    slot = path.stem.rpartition("_")[2]
    lock = _try_lock(folder, int(slot)) if slot.isdigit() else None
    if lock is not None:
        path.unlink(missing_ok=True)
        os.close(lock)
