"""What ejabberd's environment, its descriptors and its command line can't do to warmside."""

import os
import pty
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.extauth.support import frame
from tests.real.parts import PYTHON, TWISTD, WARMSIDE, Server, Site, until
from tests.real.processes import LINE, NO, YES, Folder, Program, end_of_terminal

ISUSER = b"isuser:juliet:example.org"
OLD_ENUM = "class Enum:\n    pass\n"
WITH_CORES = ("sh", "-c", 'ulimit -c "$(ulimit -H -c)"; exec "$@"', "sh")
"""A command that starts another one with the highest limit of core dumps."""


def old_python(folder: Path) -> Path:
    """Make a folder with an old ``enum.py``."""
    path = folder / "old"
    path.mkdir()
    (path / "enum.py").write_text(OLD_ENUM)
    return path


def closed(descriptor: int, *command: str | Path) -> list[str | Path]:
    """Return a command with a closed descriptor."""
    return ["sh", "-c", f'exec "$@" {descriptor}>&-', "sh", *command]


def start(command: Sequence[str | Path], **environ: str) -> "subprocess.Popen[bytes]":
    """Start a process with pipes."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ) | environ,
    )


def response(process: "subprocess.Popen[bytes]") -> bytes:
    """Send a request and return the response."""
    assert process.stdin and process.stdout
    process.stdin.write(frame(ISUSER))
    process.stdin.flush()
    return process.stdout.read(4)


def relay_beside(listener: socket.socket, command: Sequence[str | Path], **environ: str) -> None:
    """Start a relay, and let it carry one request over each of two connections."""
    process = start([*command, "relay", f"tcp:{listener.getsockname()[1]}"], **environ)
    assert process.stdin and process.stdout
    try:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                process.stdin.write(frame(ISUSER))
                process.stdin.flush()
                assert connection.recv(100) == frame(ISUSER)
                connection.sendall(YES)
                assert process.stdout.read(4) == YES
    finally:
        out, _ = process.communicate()
    assert (process.returncode, out) == (0, b"")


@pytest.fixture
def hostile(tmp_path: Path) -> dict[str, str]:
    """An environment that ends any Python that heeds it."""
    (tmp_path / "startup.py").write_text("raise SystemExit(1)\n")
    return {
        "PYTHONPATH": str(old_python(tmp_path)),
        "PYTHONHOME": "/no/such/folder",
        "PYTHONSTARTUP": str(tmp_path / "startup.py"),
        "PYTHONWARNINGS": "error",
        "PYTHONIOENCODING": "no-such-encoding",
        "PYTHONUNBUFFERED": "1",
        "PYTHONINSPECT": "1",
    }


def test_ejabberd_with_an_old_enum_on_its_pythonpath_warms_sessions(tmp_path: Path, hostile: dict[str, str]) -> None:
    server = Server(tmp_path)
    try:
        server.ejabberd.start(environ=server.environ | hostile)
        until(server.serves)
        reply = server.warm(jid="juliet@example.org")
        assert reply.status == 200, reply.body
    finally:
        server.stop()


def test_python_variables_reach_neither_extauth_nor_relay(folder: Folder, hostile: dict[str, str]) -> None:
    folder.write('[extauth]\nusers = "any"\n')
    program = Program(folder, **hostile)
    until(lambda: program.ask(ISUSER) == YES)
    assert program.end()[1] == b"" and program.process.returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        relay_beside(listener, LINE, **hostile)


def test_an_old_enum_alone_ends_only_a_program_that_is_not_isolated(folder: Folder, tmp_path: Path) -> None:
    folder.write('[extauth]\nusers = "any"\n')
    environ = {"PYTHONPATH": str(old_python(tmp_path))}
    unprotected = subprocess.run([PYTHON, "-m", "warmside", "--version"], env=os.environ | environ, capture_output=True)
    assert unprotected.returncode != 0 and b"enum" in unprotected.stderr
    program = Program(folder, **environ)
    until(lambda: program.ask(ISUSER) == YES)
    assert program.end()[1] == b"" and program.process.returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        relay_beside(listener, LINE, **environ)


def test_strict_warnings_harm_neither_extauth_nor_relay_without_isolation(folder: Folder) -> None:
    folder.write('[extauth]\nusers = "any"\n')
    program = Program(folder, [WARMSIDE], PYTHONWARNINGS="error", PYTHONUNBUFFERED="1")
    until(lambda: program.ask(ISUSER) == YES)
    until(Site(folder.port).serves)
    assert program.end()[1] == b"" and program.process.returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        relay_beside(listener, [WARMSIDE], PYTHONWARNINGS="error")


def test_strict_warnings_become_warnings() -> None:
    code = (
        "import warnings\nfrom warmside import startup\nstartup.prepare()\n"
        "warnings.warn('is shown', DeprecationWarning)\nprint('lives')"
    )
    for name in ("error", "error::DeprecationWarning", "ignore,error"):
        environ = dict(os.environ) | {"PYTHONWARNINGS": name}
        done = subprocess.run([PYTHON, "-c", code], env=environ, capture_output=True, text=True, check=False)
        assert done.stdout == "lives\n" and "DeprecationWarning: is shown" in done.stderr


def test_a_closed_stderr_harms_neither_extauth_nor_relay(folder: Folder) -> None:
    folder.write('[extauth]\nusers = "any"\n')
    program = Program(folder, closed(2, *LINE))
    until(lambda: program.ask(ISUSER) == YES)
    assert Path(f"/proc/{program.process.pid}/fd/2").readlink() == Path(os.devnull)
    assert program.end()[1] == b"" and program.process.returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        relay_beside(listener, closed(2, *LINE))


@pytest.mark.parametrize("command", ["extauth", "relay"])
def test_a_closed_stdout_ends_neither_extauth_nor_relay(folder: Folder, command: str) -> None:
    rest: list[str | Path] = (
        ["extauth", "--config", folder.toml] if command == "extauth" else ["relay", folder.path / "none.sock"]
    )
    process = subprocess.Popen(
        closed(1, *LINE, *rest), stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=folder.environ
    )
    assert process.stdin and process.stderr
    process.stdin.write(frame(ISUSER))
    process.stdin.flush()
    assert process.stderr.readline()
    if command == "extauth":
        until(Site(folder.port).serves)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and b"Traceback" not in errors


def test_a_closed_stdin_is_no_pipe() -> None:
    for rest in (["extauth", "--confg"], ["relay"], []):
        done = subprocess.run(closed(0, *LINE, *rest), capture_output=True, check=False, timeout=60)
        assert done.returncode == 2 and done.stdout == b"" and b"Traceback" not in done.stderr


@pytest.mark.parametrize("command", [LINE, (WARMSIDE,)])
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["--nonsense"],
        ["--config", "x", "extauth"],
        ["--nonsense", "extauth"],
        ["extauth", "--confg", "x"],
        ["extauth", "more"],
        ["relay"],
        ["relay", "a", "b"],
    ],
)
def test_with_a_pipe_a_wrong_command_line_rejects_requests_until_stdin_ends(
    command: Sequence[str | Path], arguments: list[str]
) -> None:
    process = start([*command, *arguments])
    assert [response(process), response(process)] == [NO, NO]
    assert process.poll() is None
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, b"")
    assert b"rejecting all extauth requests: its command line is wrong" in err


def test_the_reason_is_logged_without_a_request() -> None:
    process = start([*LINE])
    assert process.stderr
    lines = iter(process.stderr.readline, b"")
    assert next(line for line in lines if b"rejecting" in line).endswith(b"a subcommand is missing, such as extauth\n")
    process.communicate()
    assert process.returncode == 2


@pytest.mark.parametrize(
    "arguments",
    [["sample", "a", "b"], ["sample", "nonsense"], ["hash-password", "a", "b"], ["--nonsense", "hash-password"]],
)
def test_with_a_pipe_a_wrong_use_of_another_subcommand_exits_at_once(arguments: list[str]) -> None:
    process = start([*LINE, *arguments])
    assert process.wait(60) == 2, "its stdin is still open"
    out, err = process.communicate()
    assert out == b"" and b"warmside" in err


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["extauth", "--help"], ["relay", "--help"]])
def test_with_a_pipe_help_and_version_exit_with_0(arguments: list[str]) -> None:
    process = start([*LINE, *arguments])
    assert process.wait(60) == 0
    assert b"warmside" in process.communicate()[0]


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["extauth", "--confg"], ["relay"]])
def test_at_a_terminal_a_wrong_command_line_exits_with_2(arguments: list[str]) -> None:
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(PYTHON, [str(PYTHON), *map(str, LINE[1:]), *arguments])
    status, shown = end_of_terminal(pid, fd)
    assert status == 2 and b"warmside" in shown


def test_an_installation_that_can_not_be_loaded_rejects_requests_until_stdin_ends(folder: Folder) -> None:
    (folder.path / "twisted.py").write_text("raise RuntimeError('this is an old Twisted')\n")
    process = start([WARMSIDE, "extauth", "--config", folder.toml], PYTHONPATH=str(folder.path))
    assert response(process) == NO
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, b"")
    assert b"rejecting all extauth requests: warmside can't be loaded: RuntimeError: this is an old Twisted" in err


def test_no_process_leaves_a_core_dump(folder: Folder, tmp_path: Path) -> None:
    child = folder.path / "child"
    child.write_text(f"#!/bin/sh\nulimit -S -c >{folder.path}/soft; ulimit -H -c >{folder.path}/hard; exec cat\n")
    child.chmod(0o755)
    folder.write(f'[extauth]\nprogram = "{child}"\nprogram_copies = 1\n')
    work = tmp_path / "work"
    work.mkdir()
    commands: tuple[Sequence[str | Path], ...] = (
        [*LINE, "extauth", "--config", folder.toml],
        [TWISTD, "-n", "warmside", "--config", folder.toml],
        [*LINE, "relay", tmp_path / "none.sock"],
        [*LINE, "relay"],
    )
    for command in commands:
        process = subprocess.Popen(
            [*WITH_CORES, *command],
            cwd=work,
            env=folder.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            assert process.stderr
            assert process.stderr.readline()  # it logs, so that it has begun to work
            if "relay" not in command:
                until(Site(folder.port).serves)
                until(lambda: (folder.path / "hard").exists() and (folder.path / "hard").read_text())
                for name in ("soft", "hard"):
                    assert (folder.path / name).read_text() == "0\n", "programs that it starts have the limit, too"
                    (folder.path / name).unlink()
            limits = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
            (cores,) = (line.split()[4:6] for line in limits if line.startswith("Max core file size"))
            assert cores == ["0", "0"], command
        finally:
            process.send_signal(signal.SIGABRT)
            process.communicate(timeout=60)
        assert process.returncode == -signal.SIGABRT
        assert [path.name for path in work.iterdir() if "core" in path.name] == []
