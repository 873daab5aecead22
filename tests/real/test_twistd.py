"""warmside under twistd: exit statuses, messages on stderr, and files that it writes."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.real.parts import TWISTD, Site, run, until
from tests.real.processes import Folder


@pytest.mark.parametrize("place", ["unix:/no/such/folder/x.sock", "unix:relative.sock", "unix:/tmp/" + "x" * 120])
@pytest.mark.parametrize("key", ["http", "extauth"])
def test_twistd_exits_with_2_if_a_socket_can_not_be_created(folder: Folder, key: str, place: str) -> None:
    folder.write(f'[extauth]\nlisten = "{place}"\n' if key == "extauth" else "")
    if key == "http":
        folder.listen_at(place)
    done = run(TWISTD, "-n", "warmside", "--config", folder.toml, env=folder.environ, cwd=folder.path)
    assert done.returncode == 2 and f'{key}.listen = "{place}"' in done.stderr and "Traceback" not in done.stderr


def test_twistd_exits_with_2_if_one_port_is_configured_twice(folder: Folder) -> None:
    folder.write(f'[extauth]\nlisten = "tcp:{folder.port}:interface=127.0.0.1"\n')
    done = run(TWISTD, "-n", "warmside", "--config", folder.toml, env=folder.environ, cwd=folder.path)
    assert done.returncode == 2 and "another program listens there already" in done.stderr


def test_twistd_exits_with_2_if_listening_fails_after_the_checks(folder: Folder) -> None:
    held = folder.path / "held.sock"
    (folder.path / "held.sock.lock").symlink_to(str(os.getpid()))
    folder.write(f'[extauth]\nlisten = "unix:{held}"\n')
    done = run(TWISTD, "-n", "warmside", "--config", folder.toml, env=folder.environ, cwd=folder.path)
    assert done.returncode == 2 and "extauth.listen" in done.stderr


def test_twistd_lists_the_plugin(tmp_path: Path) -> None:
    assert "warmside" in run(TWISTD, "--help", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("more", "arguments", "said"),
    [
        ("[passwords]\nlifetime = 0\n", ["-n"], "passwords.lifetime = 0"),
        ("", [], "log.file: a daemon has no stderr"),
        ('[log]\nfile = "/no/such/folder/log"\n', ["-n"], 'log.file = "/no/such/folder/log": can\'t be opened'),
        ('[passwords]\nstore = "sqlite:///no/such/x"\n', ["-n"], 'passwords.store = "sqlite:///no/such/x"'),
        ('[extauth]\nusers_file = "/no/such/x"\n', [], "log.file"),
        ('[extauth]\nusers_file = "/no/such/x"\n', ["-n"], 'extauth.users_file = "/no/such/x"'),
        ('[log]\nfile = "FOLDER/log"\n[extauth]\nusers_file = "/no/such/x"\n', [], "extauth.users_file"),
    ],
)
def test_twistd_exits_with_2_and_one_line_on_stderr(folder: Folder, more: str, arguments: list[str], said: str) -> None:
    folder.write(more.replace("FOLDER", str(folder.path)))
    done = run(TWISTD, *arguments, "warmside", "--config", folder.toml, cwd=folder.path, env=folder.environ)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and done.stderr.count("\n") == 1
    assert str(folder.toml) in done.stderr
    assert not (folder.path / "twistd.pid").exists()


def test_twistd_reports_wrong_arguments_on_stderr() -> None:
    done = run(TWISTD, "-n", "warmside", "--nonsense")
    assert (done.returncode, done.stdout) == (2, "") and "nonsense" in done.stderr


def test_twistd_does_not_share_its_port(folder: Folder) -> None:
    with socket.socket() as blocker:
        blocker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        blocker.bind(("127.0.0.1", folder.port))
        blocker.listen()
        done = run(TWISTD, "-n", "warmside", "--config", folder.toml, cwd=folder.path, env=folder.environ)
    assert done.returncode == 2 and "another program listens there already" in done.stderr
    assert "Traceback" not in done.stderr


def test_twistd_logs_to_stderr_and_leaves_no_file_in_its_folder(folder: Folder) -> None:
    folder.write('[passwords]\nstore = "sqlite://:memory:"\n')
    cwd = folder.path / "cwd"
    cwd.mkdir()
    daemon = subprocess.Popen(
        [TWISTD, "-n", "warmside", "--config", folder.toml],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=folder.environ,
    )
    until(Site(folder.port).serves)
    daemon.send_signal(signal.SIGHUP)
    until(Site(folder.port).serves)
    daemon.send_signal(signal.SIGTERM)
    out, err = daemon.communicate(timeout=20)
    assert out == b"" and b"HTTP on" in err and b"admins: read again" in err
    assert list(cwd.iterdir()) == []


def test_twistd_as_a_daemon_serves_and_logs_to_its_file(folder: Folder) -> None:
    log = folder.path / "warmside.log"
    folder.write(f'[log]\nfile = "{log}"\nformat = "json"\n')
    pidfile = folder.path / "pid"
    done = run(TWISTD, "--pidfile", pidfile, "warmside", "--config", folder.toml, cwd=folder.path, env=folder.environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pid = int(until(lambda: pidfile.exists() and pidfile.read_text()))
    try:
        until(Site(folder.port).serves)
        log.rename(folder.path / "old.log")
        os.kill(pid, signal.SIGHUP)
        until(lambda: log.exists() and "read again" in log.read_text())
        assert all(json.loads(line)["message"] for line in log.read_text().splitlines())
        assert "HTTP on" in (folder.path / "old.log").read_text()
    finally:
        os.kill(pid, signal.SIGTERM)
    until(lambda: not pidfile.exists())
    assert not Site(folder.port).serves()
