"""The quickstart, as a newcomer runs it: in a checkout of its own, without a virtual environment."""

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.parts import ROOT, Site, run, until

LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", "build")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("newcomer") / "warmside"
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def quickstart(checkout: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    # The umask of many a desktop: what it makes may be written by the group.
    return subprocess.run(
        ["sh", "-c", 'umask 002; exec "$0" "$@"', checkout / "etc/quickstart", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def left_running(checkout: Path) -> list[str]:
    """Command lines of processes that have to do with a checkout."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            except OSError:
                continue
            if "warmside-quickstart-" in command or f"{checkout}/" in command:
                found.append(command)
    return found


def test_one_command_installs_warms_and_pings(checkout: Path) -> None:
    done = quickstart(checkout, "--once")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "creating the virtual environment" in done.stdout
    assert "curl -u webapp:" in done.stdout and '"sid": "' in done.stdout
    assert "answered the ping of juliet@localhost/" in done.stdout
    until(lambda: not left_running(checkout))


def test_a_second_start_installs_nothing_serves_the_demo_and_ctrl_c_leaves_nothing_running(checkout: Path) -> None:
    with subprocess.Popen([checkout / "etc/quickstart"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if "beside your ejabberd" in line:
                    break
            assert "creating the virtual environment" not in said
            pattern = r"(?:two browsers|form in a browser): +http://127\.0\.0\.1:(\d+)/"
            ports = [int(port) for port in re.findall(pattern, said)]
            assert len(ports) == 2, said
            demo, warmside = map(Site, ports)
            assert warmside.request("GET", "/warm").status == 401
            assert b"Verona" in demo.request("GET", "/").body
            assert b"Strophe" in demo.request("GET", "/lib/strophe.js/dist/strophe.umd.min.js").body
            cookie = {"Cookie": demo.request("POST", "/login", b"Juliet").headers["Set-Cookie"].partition(";")[0]}
            session = demo.request("POST", "/chat-session", b"", cookie)
            assert session.status == 200 and session.json()["jid"].startswith("juliet@localhost/")
        finally:
            process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(30) == 0
    assert "All processes have exited" in rest
    until(lambda: not left_running(checkout))


def test_a_taken_port_is_said_in_words(checkout: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = quickstart(checkout, "--once", "--port", port)
    assert done.returncode == 1
    assert f"port {port} is in use by another program" in done.stderr and "Traceback" not in done.stderr


def test_a_broken_ejabberd_is_said_in_words(checkout: Path, tmp_path: Path) -> None:
    broken = tmp_path / "erl"
    broken.write_text("#!/bin/sh\necho 'no such machine' >&2\nexit 1\n")
    broken.chmod(0o755)
    environ = dict(os.environ) | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = run(checkout / "etc/quickstart", "--once", env=environ)
    assert done.returncode == 1
    assert "ejabberd exited unexpectedly" in done.stderr and "no such machine" in done.stderr
