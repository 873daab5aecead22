"""Two configurations on one port or in one runtime folder, with real processes; and the line of a start."""

import json
import os
import pty
from collections.abc import Iterator
from pathlib import Path

import pytest
from private_ejabberd import free_port

from tests.real.parts import HASH, TWISTD, WARMSIDE, Site, exchanged, run, until
from tests.real.processes import NO, YES, Folder, Program, end_of_terminal
from warmside import __version__
from warmside.config.running import FOLDER, read_records


@pytest.fixture
def first(tmp_path: Path) -> Iterator[Folder]:
    """A folder whose configuration a process of ``warmside extauth`` serves."""
    (tmp_path / "first").mkdir()
    folder = Folder(tmp_path / "first")
    folder.write('[extauth]\nusers = "any"\n')
    program = Program(folder)
    until(Site(folder.port).serves)
    yield folder
    program.end()


def second(first: Folder, *, port: int, runtime: Path) -> Folder:
    """A folder with another configuration, on a port and with a runtime folder."""
    path = first.path.parent / "second"
    path.mkdir()
    folder = Folder(path)
    folder.port = port
    folder.write('[extauth]\nusers = "any"\n')
    folder.environ["RUNTIME_DIRECTORY"] = str(runtime)
    return folder


@pytest.mark.parametrize("shared", ["port", "runtime folder", "both"])
def test_a_second_configuration_is_rejected_until_the_first_ends(tmp_path: Path, shared: str) -> None:
    (tmp_path / "first").mkdir()
    one = Folder(tmp_path / "first")
    one.write('[extauth]\nusers = "any"\n')
    program = Program(one)
    until(Site(one.port).serves)
    port = free_port() if shared == "runtime folder" else one.port
    runtime = tmp_path / "second" / "runtime" if shared == "port" else one.path / "runtime"
    other = second(one, port=port, runtime=runtime)
    rejected = Program(other)
    try:
        assert rejected.ask(b"isuser:juliet:example.org") == NO
        where = f"in the runtime folder {runtime}" if shared == "runtime folder" else f"on tcp:127.0.0.1:{port}"
        reason = f"process {program.process.pid} serves another configuration, {one.toml}, {where}: stop that process"
        until(lambda: f"{other.toml}: {reason}" in rejected.log())
        assert program.ask(b"isuser:juliet:example.org") == YES
        # The rejected process leaves a trace, for as long as it lives.
        records = {each.configuration: each.serves for each in read_records([runtime / FOLDER])}
        assert records[str(other.toml)] is False
        program.end()
        until(lambda: "the error is fixed" in rejected.log())
        assert rejected.ask(b"isuser:juliet:example.org") == YES
    finally:
        if program.process.poll() is None:
            program.end()
        rejected.end()
    assert read_records([runtime / FOLDER]) == []


def test_a_second_configuration_ends_the_daemon_and_a_terminal_with_status_2(first: Folder) -> None:
    other = second(first, port=first.port, runtime=first.path / "other")
    ended = run(TWISTD, "-n", "warmside", "--config", other.toml, env=other.environ, cwd=other.path)
    assert ended.returncode == 2 and f"serves another configuration, {first.toml}, on tcp:" in ended.stderr
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(WARMSIDE, [str(WARMSIDE), "extauth", "--config", str(other.toml)], other.environ)
    status, shown = end_of_terminal(pid, fd)
    assert status == 2 and b"serves another configuration" in shown


def test_processes_of_one_file_share_port_and_folder_by_any_name_of_it(first: Folder) -> None:
    link = first.path / "link.toml"
    link.symlink_to(first.toml)
    first.toml = link
    program = Program(first)
    try:
        assert until(lambda: program.ask(b"isuser:juliet:example.org") == YES)
        assert "another configuration" not in program.log()
    finally:
        program.end()


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_line_of_a_start_has_what_decides_where_requests_go_and_no_secret(folder: Folder, form: str) -> None:
    (folder.path / "admins").write_text(f"webapp:{HASH}\nother:{HASH}\n")
    (folder.path / "secret").write_text("very-secret-text\n")
    (folder.path / "secret").chmod(0o600)
    folder.write(
        '[extauth]\nurl = "http://127.0.0.1:9/check?token=hidden"\n'
        f'secret_file = "{folder.path}/secret"\n[log]\nformat = "{form}"\n[bosh]\nurl = "http://127.0.0.1:7/bosh"\n'
    )
    folder.toml.write_text(exchanged(folder.toml.read_text(), ("[admins]\n", '[admins]\naccounts = ["boss@a.b"]\n')))
    program = Program(folder)
    try:
        until(Site(folder.port).serves)
        line = until(lambda: next((each for each in program.log().splitlines() if "; HTTP on " in each), None))
        if form == "json":
            line = json.loads(line)["message"]
        assert line.endswith(
            f"warmside {__version__} serves {folder.toml}; 3 admins; authority http://127.0.0.1:9/check; "
            f"bosh.url http://127.0.0.1:7/bosh; HTTP on tcp:{folder.port}:interface=127.0.0.1; "
            f"runtime folder {folder.path}/runtime; no state folder"
        )
        for secret in ("very-secret-text", "hidden", HASH):
            assert secret not in program.log()
    finally:
        program.end()
