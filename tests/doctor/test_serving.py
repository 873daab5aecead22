"""What answers at an address, and records of processes that can't be read."""

import os
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.app.configuration import HASH
from warmside.config import folders, running
from warmside.config.endpoints import Place
from warmside.config.loader import load
from warmside.config.running import FOLDER, ProcessRecord
from warmside.doctor import serving
from warmside.doctor.context import Context, Options


class Foreign(BaseHTTPRequestHandler):
    """Responds to ``/health`` as another program may."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status": "ok"}')

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def foreign() -> Iterator[Place]:
    """Run another HTTP server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Foreign)
    Thread(target=server.serve_forever, daemon=True).start()
    yield Place("tcp", "127.0.0.1", server.server_port)
    server.shutdown()
    server.server_close()


def test_another_program_is_foreign(foreign: Place) -> None:
    assert serving.answer_at(foreign) == ("foreign", "HTTP 200")
    assert serving.answer_at(Place("tls", "127.0.0.1", foreign.port)) == ("foreign", "it does not speak TLS")


def test_nothing_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert serving.answer_at(Place("unix", path=f"{tmp_path}/none")) == ("nothing", "No such file or directory")
    monkeypatch.setattr(serving, "TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        place = Place("tcp", "", deaf.getsockname()[1])
        assert serving.answer_at(place) == ("nothing", "no response within 0.1 s")


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """The context of a configuration on a machine without other processes."""
    (tmp_path / "admins").write_text(f"webapp:{HASH}\n")
    (tmp_path / "admins").chmod(0o600)
    toml = tmp_path / "warmside.toml"
    toml.write_text(f'[admins]\nfile = "{tmp_path}/admins"\n[http]\nlisten = "tcp:4711:interface=127.0.0.1"\n')
    monkeypatch.setattr(serving, "SHARED_MEMORY", tmp_path / "shm")
    monkeypatch.setattr(folders, "shared_folder", lambda: tmp_path / "shm/warmside-0")
    (tmp_path / "shm/warmside-0").mkdir(parents=True, mode=0o700)
    return Context(Options(toml), load(toml))


def claimed(tmp_path: Path, name: str) -> ProcessRecord:
    """The record of a process on the port of the context."""
    (tmp_path / name).mkdir(mode=0o750)
    record, listens = ProcessRecord(), ["tcp:4711:interface=127.0.0.1"]
    record.claim(running.describe(tmp_path / f"{name}.toml", listens, tmp_path / name, None, None))
    return record


def test_a_process_of_another_configuration_is_found_though_none_of_this_one_runs(
    context: Context, tmp_path: Path
) -> None:
    assert list(serving.mixed_configurations(context)) == [] and context.unseen == []
    record = claimed(tmp_path, "other")
    try:
        (finding,) = serving.mixed_configurations(context)
        expected = (
            f"process {os.getpid()} runs with another configuration, {tmp_path}/other.toml, on tcp:127.0.0.1:4711"
        )
        assert finding.says == expected and finding.cure.endswith(f"\n$ kill {os.getpid()}")
        assert serving.serving(context) is None
    finally:
        record.withdraw()


def test_processes_of_one_configuration_are_no_fault(context: Context, tmp_path: Path) -> None:
    records = [claimed(tmp_path, "warmside"), ProcessRecord()]
    try:
        assert list(serving.mixed_configurations(context)) == []
        found = serving.serving(context)
        assert found is not None and found.runtime == str(tmp_path / "warmside")
    finally:
        for record in records:
            record.withdraw()


def test_records_of_another_user_are_not_believed(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = claimed(tmp_path, "other")
    try:
        monkeypatch.setattr(serving, "trusted_users", lambda context: {os.geteuid() + 1})
        assert serving.records(context) == []
    finally:
        record.withdraw()


def test_records_that_can_not_be_read_are_unseen(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "shm/warmside-0" / FOLDER
    place.mkdir()

    def denied(path: Path) -> list[Path]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", denied)
    assert serving.records(context) == []
    assert f"processes of warmside in {place}: Permission denied" in context.unseen
