"""The log: to stderr or a file, as text or JSON, never to stdout.

A file is opened for appending and each event is one write, so that several processes can share it. A file that was
moved away is opened again.
"""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from twisted.logger import (
    FilteringLogObserver,
    ILogFilterPredicate,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    PredicateResult,
    eventAsText,
)
from zope.interface import implementer, provider

from warmside.config.settings import Log

QUIET = ("twisted.internet", "twisted.web", "twisted.python.log", "log_legacy", "twisted.protocols")
"""Namespaces that log every factory and connection at the level ``info``."""


class LogFile:
    """A file that is opened for appending, and opened again after it was moved."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = self._open()

    def write(self, text: str) -> None:
        """Append a text in one write."""
        try:
            there, ours = os.stat(self._path), os.fstat(self._fd)
            moved = (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)
        except OSError:
            moved = True
        if moved:
            self.reopen()
        os.write(self._fd, text.encode("utf-8", "backslashreplace"))

    def reopen(self) -> None:
        """Open the file again; if that fails, keep the old one."""
        try:
            fd = self._open()
        except OSError:
            return
        os.close(self._fd)
        self._fd = fd

    def _open(self) -> int:
        # Without O_NONBLOCK, opening a pipe would wait for a reader.
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
        os.set_blocking(fd, True)
        return fd


class StreamLog:
    """A stream such as stderr; each event is one write."""

    def __init__(self, stream: TextIO) -> None:
        self._fd = stream.fileno()

    def write(self, text: str) -> None:
        """Write a text; it is lost if the stream has no reader."""
        try:
            os.write(self._fd, text.encode("utf-8", "backslashreplace"))
        except OSError:
            pass


@implementer(ILogObserver)
class Observer:
    """Writes events as text or as JSON."""

    def __init__(self, out: LogFile | StreamLog, form: str) -> None:
        self._out = out
        self._format = _as_json if form == "json" else _as_text

    def __call__(self, event: LogEvent) -> None:
        """Write one event."""
        self._out.write(self._format(event) + "\n")


def observer(settings: Log, stderr: TextIO | None = None) -> ILogObserver:
    """The observer for the ``[log]`` table of the configuration.

    :raises OSError: the log file can't be opened.
    """
    out = LogFile(settings.file) if settings.file is not None else StreamLog(stderr or sys.__stderr__ or sys.stderr)
    filtered: ILogObserver = FilteringLogObserver(
        Observer(out, settings.format), [_quiet, LogLevelFilterPredicate(LogLevel.info)]
    )
    return filtered


@provider(ILogFilterPredicate)
def _quiet(event: LogEvent) -> Any:
    """Drop the events of factories and connections."""
    namespace = str(event.get("log_namespace", ""))
    level = event.get("log_level")
    if level is not None and level <= LogLevel.info and namespace.startswith(QUIET):
        return PredicateResult.no
    return PredicateResult.maybe


def _as_text(event: LogEvent) -> str:
    """Time, level, namespace and message; further lines are indented, so that no text can imitate an event."""
    level = getattr(event.get("log_level"), "name", "info")
    text = eventAsText(event, includeTimestamp=False, includeSystem=False).rstrip("\n")
    lines = text.replace("\r", "\\r").split("\n")
    return f"{_time(event)} [{level}] {event.get('log_namespace', '-')}: " + "\n    ".join(lines)


def _as_json(event: LogEvent) -> str:
    line = {
        "time": _time(event),
        "level": getattr(event.get("log_level"), "name", "info"),
        "namespace": str(event.get("log_namespace", "-")),
        "message": eventAsText(event, includeTimestamp=False, includeSystem=False),
    }
    if "audit" in event:
        line["audit"] = event["audit"]
    return json.dumps(line, ensure_ascii=False)


def _time(event: LogEvent) -> str:
    return datetime.fromtimestamp(event.get("log_time", 0.0), UTC).isoformat(timespec="milliseconds")
