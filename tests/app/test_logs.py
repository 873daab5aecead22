"""The log."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure

from warmside.app import logs
from warmside.config.settings import Log


def logger(settings: Log, namespace: str = "warmside.test") -> Logger:
    return Logger(namespace, observer=LogPublisher(logs.observer(settings)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "warmside.log"


def test_text_has_time_level_namespace_and_message(path: Path) -> None:
    logger(Log(path, "text")).warn("half {what} done", what="is")
    line = path.read_text()
    assert line.endswith("+00:00 [warn] warmside.test: half is done\n")


def test_the_facts_of_an_audit_line_are_members_in_json_and_text_in_text(path: Path) -> None:
    facts = {"outcome": "success", "jid": "juliet@example.org", "ms": 4.5}
    logger(Log(path, "json")).info("audit {line}", line='jid="juliet@example.org"', audit=facts)
    assert json.loads(path.read_text())["audit"] == facts
    path.unlink()
    logger(Log(path, "text")).info("audit {line}", line='jid="juliet@example.org"', audit=facts)
    assert path.read_text().endswith(': audit jid="juliet@example.org"\n')


def test_json_is_one_object_a_line(path: Path) -> None:
    log = logger(Log(path, "json"))
    log.info("first\nsecond")
    log.error("ü")
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(event["level"], event["message"]) for event in events] == [("info", "first\nsecond"), ("error", "ü")]
    assert all(event["time"].endswith("+00:00") and event["namespace"] == "warmside.test" for event in events)


def test_text_from_outside_cannot_look_like_an_event(path: Path) -> None:
    logger(Log(path, "text")).info("hello {who}", who="x\n2026-01-01T00:00:00.000+00:00 [info] a: b\rc")
    lines = path.read_text().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("    2026")
    assert "\\rc" in lines[1]


def test_each_event_is_one_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []
    log = logger(Log(path, "text"))
    monkeypatch.setattr(os, "write", lambda _, data: writes.append(data))
    log.failure("it failed", Failure(ValueError("x")))
    assert len(writes) == 1 and b"ValueError" in writes[0]


def test_several_processes_append_to_one_file(path: Path) -> None:
    first, second = logger(Log(path, "text")), logger(Log(path, "text"))
    for number in range(3):
        first.info("first {n}", n=number)
        second.info("second {n}", n=number)
    assert len(path.read_text().splitlines()) == 6


def test_a_file_that_was_moved_is_opened_again(path: Path) -> None:
    log = logger(Log(path, "text"))
    log.info("before")
    path.rename(path.with_suffix(".1"))
    log.info("after")
    assert "before" in path.with_suffix(".1").read_text()
    assert "after" in path.read_text() and "before" not in path.read_text()


def test_messages_about_connections_are_left_out(path: Path) -> None:
    logger(Log(path, "text"), "twisted.web.client").info("Starting factory")
    logger(Log(path, "text"), "warmside.x").debug("detail")
    logger(Log(path, "text"), "twisted.web.client").error("kept")
    assert path.read_text().count("\n") == 1 and "kept" in path.read_text()


def test_default_log_is_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    Logger("warmside.test", observer=LogPublisher(logs.observer(Log(None, "text"), _stderr()))).info("hello")
    out, err = capfd.readouterr()
    assert out == "" and "hello" in err


def _stderr() -> Any:
    return sys.__stderr__


def test_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        logs.observer(Log(tmp_path / "no" / "log", "text"))
