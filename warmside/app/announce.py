"""``warmside announce``: announce users in the store itself, from a file or stdin.

The service need not run. It sees the users at once, because all processes read the same file. With ``shared.url``
the users are announced through Redis, to all machines.
"""

import os
import pwd
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from warmside.app.reactorthread import ReactorThread
from warmside.app.resources import StartError, open_users, users_file_errors, users_path
from warmside.app.sharedannounce import open_shared_users
from warmside.config.folders import SYSTEM_STATE
from warmside.config.loader import ConfigError, load
from warmside.config.settings import Config
from warmside.jids import MAX_CHARACTERS, InvalidJID, prepare_uncached
from warmside.store.interface import StoreError, UsersNotKept

Announce = Callable[[list[str]], int]
"""Announces users, and returns how many were new."""

AT_ONCE = 1000
"""Users in one transaction."""
MAX_LINE = 4 * MAX_CHARACTERS
"""Maximum bytes of a line."""
EXIT_FAILED = 1
EXIT_USAGE = 2


class BadLine(Exception):
    """A line has no bare JID that may be announced. The message has its number."""


def run(config_path: Path, source: Path | None) -> int:
    """Announce the users of a file; return the exit status.

    As root, the process first becomes the owner of the users file or of its folder, so that the service can write to
    each file that SQLite makes.

    :param source: bare JIDs in UTF-8, one on each line; ``None`` for stdin. Empty lines are ignored.
    """
    try:
        config = load(config_path)
        lines = sys.stdin.buffer if source is None else source.open("rb")
    except ConfigError as error:
        return _fail(str(error), EXIT_USAGE)
    except OSError as error:
        return _fail(f"{source} can't be read: {error.strerror}", EXIT_USAGE)
    with lines:
        try:
            with users_file_errors(config):
                path = _find_path(config)
            with _opened(config, path) as announce:
                if source is None and lines.isatty():
                    print("enter bare JIDs, one on each line, and end with Ctrl-D", file=sys.stderr)
                return _Announcement(config, announce, "stdin" if source is None else str(source)).run(lines, path)
        except ConfigError as error:
            return _fail(str(error), EXIT_USAGE)
        except StartError as error:
            return _fail(str(error), EXIT_FAILED)


def _opened(config: Config, path: Path | None) -> AbstractContextManager[Announce]:
    return _opened_file(config, path) if config.shared.url is None or path is None else _opened_shared(config, path)


@contextmanager
def _opened_file(config: Config, path: Path | None) -> Iterator[Announce]:
    """Open the users of this machine."""
    users = open_users(config, path)

    def announce(bares: list[str]) -> int:
        results: list[Any] = []
        Deferred.fromCoroutine(users.announce(bares)).addBoth(results.append)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return int(results[0])

    try:
        yield announce
    finally:
        users.close()


@contextmanager
def _opened_shared(config: Config, path: Path) -> Iterator[Announce]:
    """Open the users of several machines. The reactor runs in a thread, since this one waits for lines and signals."""
    with _uninterrupted():  # the new thread never gets an interrupt
        thread = ReactorThread()
    try:
        users = thread.call(lambda: open_shared_users(config, path, thread.reactor))
        try:
            yield lambda bares: thread.call(lambda: users.announce(bares))
        finally:
            thread.call(users.close)
    finally:
        thread.stop()


class _Announcement:
    """One run of the command."""

    def __init__(self, config: Config, announce: Announce, name: str) -> None:
        self._config = config
        self._announce_all = announce
        self._name = name
        self._shows_progress = sys.stderr.isatty()
        self._done = 0
        self._added = 0

    def run(self, lines: BinaryIO, path: Path | None) -> int:
        """Announce the users; return the exit status."""
        try:
            for bares in self._calls(lines):
                self._announce(bares)
        except KeyboardInterrupt:
            self._end_progress()
            return _fail(f"interrupted. {self._summary()}; run the command again to announce all")
        except UsersNotKept as error:
            return _fail(f"{self._config.path}: {error}", EXIT_USAGE)
        except (BadLine, StoreError, OSError) as error:
            self._end_progress()
            return _fail(f"{error}. {self._summary()}; run the command again once this is fixed")
        self._end_progress()
        try:
            place = path if self._config.shared.url is None else f"{path} and Redis"
            print(f"{self._summary()}, in {place}", flush=True)
        except OSError as error:
            sys.stdout = None  # nothing is left to be written at exit
            return _fail(f"{self._summary()}, in {place}. This can't be written to stdout: {error.strerror}")
        return 0

    def _calls(self, lines: BinaryIO) -> Iterator[list[str]]:
        yield []  # fails at once if users are not kept
        bares: list[str] = []
        number = 0
        while line := lines.readline(MAX_LINE):
            number += 1
            try:
                bare = self._read(line)
            except (InvalidJID, UnicodeDecodeError) as error:
                reason = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
                raise BadLine(f"{self._name}: line {number}: {reason}") from None
            if bare is not None:
                bares.append(bare)
            if len(bares) == AT_ONCE:
                yield bares
                bares = []
        yield bares

    def _read(self, line: bytes) -> str | None:
        if len(line) == MAX_LINE:
            raise InvalidJID(f"is longer than {MAX_LINE} bytes")
        text = line.decode("utf-8-sig" if line.startswith(b"\xef\xbb\xbf") else "utf-8").strip()
        if not text:
            return None
        jid = prepare_uncached(text)
        if jid.resource is not None:
            raise InvalidJID("is a full JID: expected a bare JID, LOCAL@HOST")
        bare: str = jid.userhost()
        if not self._config.allows("", bare, jid.host):
            raise InvalidJID("the policy does not allow this account: see [policy] in the configuration")
        return bare

    def _announce(self, bares: list[str]) -> None:
        with _uninterrupted():
            self._added += self._announce_all(bares)
            self._done += len(bares)
        if self._shows_progress:
            print(f"\r{self._summary()}", end="", file=sys.stderr, flush=True)

    def _summary(self) -> str:
        return f"{self._done} users announced, {self._added} of them new"

    def _end_progress(self) -> None:
        if self._shows_progress and self._done:
            print(file=sys.stderr)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Deliver an interrupt at the end of the block, so that the counts match the store."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _find_path(config: Config) -> Path | None:
    """Return the users file; root becomes its owner."""
    if os.geteuid() != 0:
        return users_path(config)
    path = config.extauth.users_file
    place = path.parent if path is not None else _state_folder()
    for candidate in (path, place):
        if candidate is not None and candidate.exists():
            _become(candidate.stat())
            break
    return users_path(config)


def _state_folder() -> Path | None:
    """Return the folder that the service uses, whichever user runs it; ``None`` if only root's own is left."""
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(given) if given else SYSTEM_STATE if SYSTEM_STATE.is_dir() else None


def _become(status: os.stat_result) -> None:
    """Become the owner of a file, for good."""
    if status.st_uid == 0:
        return
    try:
        entry = pwd.getpwuid(status.st_uid)
    except KeyError:
        os.setgroups([])
        os.setgid(status.st_gid)
    else:
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setgid(entry.pw_gid)
    os.setuid(status.st_uid)


def _fail(message: str, status: int = EXIT_FAILED) -> int:
    print(f"warmside: {message}", file=sys.stderr)
    return status
