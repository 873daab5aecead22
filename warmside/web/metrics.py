"""Metrics for ``/metrics``: prometheus-client in its multiprocess mode, summed over all processes of a machine.

Each process counts in the files of a numbered slot, which it locks. The next process that takes the slot continues
with its counts. Counters therefore never decrease, and the number of files is that of the processes that ran at the
same time. No label contains a name, a JID or an address.
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
"""Upper bounds of the histograms' buckets, in seconds."""
EVENTS = ("minted", "redeemed", "refused", "revoked", "expired")
"""Events of one-time passwords."""
OPERATIONS = ("auth", "isuser", "setpass", "tryregister", "removeuser", "removeuser3", "certauth", "")
"""Operations of the extauth protocol; a malformed request has none."""

_opened: "dict[Path, Metrics]" = {}


def open_metrics(folder: Path) -> "Metrics":
    """Return this process's metrics in a folder; they are opened once, even if the service starts again.

    :raises OSError: the files can't be opened.
    """
    if folder not in _opened:
        _opened[folder] = Metrics(folder)
    return _opened[folder]


class Metrics:
    """All metrics of one process.

    :param folder: holds the files; shared by all processes of warmside on this machine, and used for nothing else.
    :raises OSError: the files can't be opened.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock, slot = _take_slot(folder)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()
        self._warm = Counter("warmside_warm", "Replies to POST /warm.", ["outcome"], registry=registry)
        self._credentials = Counter(
            "warmside_credentials", "Replies to POST /credentials.", ["outcome"], registry=registry
        )
        self._end = Counter("warmside_end", "Replies to POST /end.", ["outcome"], registry=registry)
        self._warm_seconds = Histogram(
            "warmside_warm_seconds", "Seconds from a request to its warm session.", registry=registry, buckets=SECONDS
        )
        self._steps = Histogram(
            "warmside_step_seconds", "Seconds for each step of a login.", ["step"], registry=registry, buckets=SECONDS
        )
        passwords = Counter(
            "warmside_one_time_passwords", "Events of one-time passwords.", ["event"], registry=registry
        )
        self._passwords = {event: passwords.labels(event) for event in EVENTS}
        answers = Counter(
            "warmside_extauth_answers", "Responses to ejabberd.", ["operation", "answer"], registry=registry
        )
        self._answers = {
            (operation, accepted): answers.labels(operation or "malformed", "yes" if accepted else "no")
            for operation in OPERATIONS
            for accepted in (True, False)
        }
        self._connections = Gauge(
            "warmside_connections_in_use",
            "Reserved connections to connection managers.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._connections.set(0)

    def warmed(self, outcome: str, seconds: float) -> None:
        """Count a ``POST /warm``, and its seconds if it succeeded."""
        self._warm.labels(outcome).inc()
        if outcome == "success":
            self._warm_seconds.observe(seconds)

    def handed_out(self, outcome: str, seconds: float) -> None:
        """Count a ``POST /credentials``."""
        self._credentials.labels(outcome).inc()

    def ended(self, outcome: str, seconds: float) -> None:
        """Count a ``POST /end``."""
        self._end.labels(outcome).inc()

    def step(self, name: str, seconds: float) -> None:
        """Count the seconds of a step of a login."""
        self._steps.labels(name).observe(seconds)

    def password(self, event: str, number: int) -> None:
        """Count one-time passwords that were minted or revoked, or that expired."""
        self._passwords[event].inc(number)

    def answer(self, request: ExtauthRequest | None, accepted: bool) -> None:
        """Count a response to ejabberd, and the redeemed or rejected one-time password if the request has one.

        :param request: ``None`` if it was malformed.
        """
        self._answers[request.operation if request else "", accepted].inc()
        if request and request.redeems:
            self._passwords["redeemed" if accepted else "refused"].inc()

    def connections(self, change: int) -> None:
        """Count connections that were reserved, or released if the change is negative."""
        self._connections.inc(change)

    def text(self) -> bytes:
        """Return the sum over all processes, in Prometheus' text format."""
        for path in self._folder.glob("gauge_live*_*.db"):
            _remove_if_dead(self._folder, path)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def close(self) -> None:
        """Reset the gauge. The process keeps its slot until it ends, and the counts stay."""
        self._connections.set(0)


def _take_slot(folder: Path) -> tuple[int, int]:
    """Lock the first free slot; return the descriptor of the lock and the number of the slot."""
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
    """Remove the gauges of a process that was killed: they describe a current state."""
    slot = path.stem.rpartition("_")[2]
    lock = _try_lock(folder, int(slot)) if slot.isdigit() else None
    if lock is not None:
        path.unlink(missing_ok=True)
        os.close(lock)
