"""Records of the running processes: which configuration each one serves, where it listens, and its folders.

Processes of one configuration share a port and a runtime folder. Two configurations that did so would share requests
and one-time passwords by chance. So each process writes a record, and a process that finds another configuration on
its port or in its runtime folder is rejected. The record of a rejected process stays as long as the process does.

A record is a file that its process keeps locked: the lock ends with the process, also when the process is killed.
Records are in the runtime folder, and in a folder of the user that all runtime folders of a machine share.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from warmside.config import folders
from warmside.config.endpoints import examine
from warmside.config.locks import file_lock

FOLDER = "processes"
"""Name of the folder of records in the runtime folder."""
LOCK = "lock"
"""Name of the file that a process locks while it compares the records and writes its own."""
LOCK_TIMEOUT = 2.0
"""Seconds to wait for other processes that write their records, which takes milliseconds."""
MAX_RECORD = 1 << 16
"""Bytes of a record that are read."""
MAX_RECORDS = 1000
"""Records of one folder that are read."""
EVERY_INTERFACE = ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound


class OtherConfiguration(Exception):
    """Another configuration is served on the same port or in the same runtime folder. The message names both."""


@dataclass(frozen=True, slots=True)
class Running:
    """One process.

    :param process: the process ID.
    :param configuration: real path of the configuration file.
    :param listens: addresses such as ``tcp:127.0.0.1:5281`` or ``unix:/run/warmside/extauth.sock``.
    :param runtime: real path of the runtime folder.
    :param store: real path of the file of one-time passwords; ``None`` if they are in the memory of the process.
    :param users: real path of the file of known users; ``None`` without one.
    :param network: number of the network namespace, to which the ports belong.
    :param serves: False if the process was rejected because of another configuration.
    """

    process: int
    configuration: str
    listens: tuple[str, ...]
    runtime: str
    store: str | None
    users: str | None
    network: int
    serves: bool = True

    def conflict(self, other: "Running") -> str | None:
        """Return what two processes of different configurations share, in words; ``None`` if there is nothing."""
        if self.configuration == other.configuration:
            return None
        if self.network == other.network:
            for mine in self.listens:
                if any(_same_address(mine, theirs) for theirs in other.listens):
                    return f"on {mine}"
        return f"in the runtime folder {self.runtime}" if self.runtime == other.runtime else None


class ProcessRecord:
    """The record of this process. Call `claim` before the process listens, and `withdraw` when it has ended."""

    def __init__(self) -> None:
        self._held: list[tuple[Path, int]] = []

    def claim(self, running: Running) -> None:
        """Record that this process serves its configuration.

        :raises OtherConfiguration: a running process serves another one; this process is recorded as rejected.
        :raises OSError: a record can't be written.
        :raises UnsafeFolder: other users can write to a folder of records.
        """
        places = [folders.subfolder(Path(running.runtime), FOLDER)]
        shared = folders.shared_folder()
        if shared is not None:
            places.append(folders.subfolder(shared, FOLDER))
        with ExitStack() as locks:
            for place in places:
                locks.enter_context(file_lock(place / LOCK, LOCK_TIMEOUT))
            self.withdraw()
            others = [other for other in read_records(places, remove_stale=True) if other.serves]
            reason = next(filter(None, (_reason(running, other) for other in others)), None)
            for place in places:
                self._held.append(_write(place, running, serves=reason is None))
        if reason is not None:
            raise OtherConfiguration(reason)

    def renew(self) -> None:
        """Write the record again with the present process ID: a daemon claims before it forks.

        :raises OSError: the record can't be written.
        """
        old, self._held = self._held, []
        for path, fd in old:
            before = _parse(os.pread(fd, MAX_RECORD, 0))
            if before is None or before.process == os.getpid():
                self._held.append((path, fd))
                continue
            self._held.append(_write(path.parent, replace(before, process=os.getpid()), serves=before.serves))
            path.unlink(missing_ok=True)
            os.close(fd)

    def withdraw(self) -> None:
        """Remove the record."""
        for path, fd in self._held:
            path.unlink(missing_ok=True)
            os.close(fd)
        self._held.clear()


def describe(
    configuration: Path, endpoints: Iterable[str], runtime: Path, store: Path | None, users: Path | None
) -> Running:
    """Return the description of this process.

    :param endpoints: endpoint strings that it listens on.
    :param store: the file of one-time passwords.
    :param users: the file of known users.
    """
    return Running(
        os.getpid(),
        str(configuration.resolve()),
        tuple(filter(None, map(address_of, endpoints))),
        str(runtime.resolve()),
        str(store.resolve()) if store is not None else None,
        str(users.resolve()) if users is not None else None,
        network_namespace(),
    )


def network_namespace() -> int:
    """Return the number of this process's network namespace; 0 if it is not known."""
    try:
        return os.stat("/proc/self/ns/net").st_ino
    except OSError:
        return 0


def read_records(places: Iterable[Path], *, remove_stale: bool = False) -> list[Running]:
    """Return the records of all running processes in folders of records, each process once.

    :param remove_stale: remove the records of processes that have ended.
    :raises PermissionError: a folder can't be read.
    """
    found: dict[tuple[int, str], Running] = {}
    for place in places:
        with suppress(FileNotFoundError, NotADirectoryError):
            for path in sorted(place.iterdir())[:MAX_RECORDS]:
                if path.suffix == ".json":
                    running = _read(path, remove_stale=remove_stale)
                    if running is not None:
                        found[running.process, running.configuration] = running
    return list(found.values())


def _reason(running: Running, other: Running) -> str | None:
    shared = running.conflict(other)
    if shared is None:
        return None
    return (
        f"process {other.process} serves another configuration, {other.configuration}, {shared}: stop that process, "
        "or give this configuration another http.listen and another RUNTIME_DIRECTORY"
    )


def address_of(endpoint: str) -> str | None:
    """Return the address of an endpoint string; ``None`` if the system or systemd chooses it."""
    place = examine(endpoint)
    if place.kind == "unix":
        return f"unix:{os.path.realpath(place.path)}"
    return f"tcp:{place.interface}:{place.port}" if place.port else None


def _same_address(one: str, other: str) -> bool:
    if one == other:
        return True
    (kind, _, one_rest), (other_kind, _, other_rest) = one.partition(":"), other.partition(":")
    (host, _, port), (other_host, _, other_port) = one_rest.rpartition(":"), other_rest.rpartition(":")
    return (
        kind == other_kind == "tcp"
        and port == other_port
        and (host in EVERY_INTERFACE or other_host in EVERY_INTERFACE)
    )


def _write(place: Path, running: Running, *, serves: bool) -> tuple[Path, int]:
    """Write a record. It is locked before it gets the name by which others find it."""
    path = place / f"{secrets.token_hex(8)}.json"
    new = path.with_suffix(".new")
    fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(fd, json.dumps(asdict(running) | {"serves": serves}).encode())
        os.rename(new, path)
    except BaseException:
        os.close(fd)
        new.unlink(missing_ok=True)
        raise
    return path, fd


def _read(path: Path, *, remove_stale: bool) -> Running | None:
    """Return a record; ``None`` if its process has ended, or if it is no record."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # removed meanwhile, or a symbolic link
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _parse(os.read(fd, MAX_RECORD))
    else:
        if remove_stale:
            path.unlink(missing_ok=True)
        return None
    finally:
        os.close(fd)


def _parse(text: bytes) -> Running | None:
    try:
        values: dict[str, Any] = json.loads(text)
        return Running(**values | {"listens": tuple(values["listens"])})
    except (ValueError, TypeError, KeyError):
        return None
