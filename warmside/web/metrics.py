"""Metrics for ``/metrics``: prometheus-client in its multiprocess mode, summed over all processes of a machine.

Each process counts in the files of a numbered slot, which it locks. The next process that takes the slot continues
with its counts. Counters therefore never decrease, and the number of files is that of the processes that ran at the
same time. No label contains a name, a JID or an address.

Counts are added up in memory. `Metrics.flush` writes them: each second while there are any, and before a scrape of
this process. Another process's scrape is therefore up to a second behind, and a kill loses up to a second of counts.
"""

import fcntl
import os
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess, values
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from warmside.extauth.request import ExtauthRequest

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
"""Upper bounds of the histograms' buckets, in seconds."""
REDIS_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
"""Upper bounds of the buckets for commands of Redis, in seconds. A command is late after 1 s."""
EVENTS = ("minted", "redeemed", "refused", "revoked", "expired", "fenced")
"""Events of one-time passwords."""
OPERATIONS = ("auth", "isuser", "setpass", "tryregister", "removeuser", "removeuser3", "certauth", "")
"""Operations of the extauth protocol; a malformed request has none."""

FLUSH_INTERVAL = 1.0
"""Seconds between writes of the counts."""

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
        self._pending: list[_Buffered] = []
        values.ValueClass = _buffered(values.MultiProcessValue(lambda: slot), self._pending)  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()

        def replies(name: str, call: str) -> Callable[[str], Counter]:
            return cache(Counter(name, f"Replies to {call}.", ["outcome"], registry=registry).labels)

        self._warm = replies("warmside_warm", "POST /warm")
        self._credentials = replies("warmside_credentials", "POST /credentials")
        self._end = replies("warmside_end", "POST /end")
        self._announce = replies("warmside_announce", "POST /users")
        self._remove = replies("warmside_remove", "DELETE /users/JID")
        self._warm_seconds = Histogram(
            "warmside_warm_seconds", "Seconds from a request to its warm session.", registry=registry, buckets=SECONDS
        )
        steps = Histogram(
            "warmside_step_seconds", "Seconds for each step of a login.", ["step"], registry=registry, buckets=SECONDS
        )
        self._steps = cache(steps.labels)
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
        self._redis_seconds = Histogram(
            "warmside_redis_seconds", "Seconds for each command of Redis.", registry=registry, buckets=REDIS_SECONDS
        )
        self._redis_connects = Counter(
            "warmside_redis_connects", "Connections to Redis that could be used.", registry=registry
        )
        self._connections = Gauge(
            "warmside_connections_in_use",
            "Reserved connections to connection managers.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._connections.set(0)

    def warmed(self, outcome: str, seconds: float) -> None:
        """Count a ``POST /warm``, and its seconds if it succeeded."""
        self._warm(outcome).inc()
        if outcome == "success":
            self._warm_seconds.observe(seconds)

    def handed_out(self, outcome: str, seconds: float) -> None:
        """Count a ``POST /credentials``."""
        self._credentials(outcome).inc()

    def ended(self, outcome: str, seconds: float) -> None:
        """Count a ``POST /end``."""
        self._end(outcome).inc()

    def announced(self, outcome: str, seconds: float) -> None:
        """Count a ``POST /users``."""
        self._announce(outcome).inc()

    def removed(self, outcome: str, seconds: float) -> None:
        """Count a ``DELETE /users/JID``."""
        self._remove(outcome).inc()

    def step(self, name: str, seconds: float) -> None:
        """Count the seconds of a step of a login."""
        self._steps(name).observe(seconds)

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

    def redis_command(self, seconds: float) -> None:
        """Count the seconds of a command of Redis."""
        self._redis_seconds.observe(seconds)

    def redis_connected(self) -> None:
        """Count a connection to Redis that can be used."""
        self._redis_connects.inc()

    def fenced(self) -> None:
        """Count a one-time password that another instance of Redis stored."""
        self._passwords["fenced"].inc()

    def flush(self) -> None:
        """Write the counts that were added up."""
        pending = self._pending[:]
        self._pending.clear()
        for value in pending:
            value.flush()

    def text(self) -> bytes:
        """Return the sum over all processes, in Prometheus' text format."""
        self.flush()
        for path in self._folder.glob("gauge_live*_*.db"):
            _remove_if_dead(self._folder, path)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def close(self) -> None:
        """Reset the gauge and write the counts. The process keeps its slot until it ends, and the counts stay."""
        self.flush()
        self._connections.set(0)


class _Buffered(Protocol):
    """Value of a metric, with what was added since it was written last."""

    def flush(self) -> None: ...


def _buffered(base: Any, pending: list[_Buffered]) -> type:
    """Return a subclass of prometheus-client's value that adds up in memory.

    :param pending: gets each value that has something to write.
    """

    class BufferedValue(base):  # type: ignore[misc] # a class that a function returns
        added = 0.0

        def inc(self, amount: float) -> None:
            if not self.added:
                pending.append(self)
            self.added += amount

        def flush(self) -> None:
            added, self.added = self.added, 0.0
            super().inc(added)

    return BufferedValue


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
