"""systemd: the unit file, folders, notification and sockets."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.bench.activation import measure
from tests.real.parts import PYTHON, ROOT, TWISTD, Site, run, until
from tests.real.processes import Folder


def test_the_unit_file_is_valid_and_hardened(tmp_path: Path) -> None:
    unit = tmp_path / "warmside.service"
    unit.write_text((ROOT / "etc/warmside.service").read_text().replace("/opt/warmside/bin/twistd", str(TWISTD)))
    verified = run("systemd-analyze", "verify", unit)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    scored = run("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit)
    assert scored.returncode == 0, scored.stdout
    broken = unit.with_name("broken.service")
    broken.write_text(unit.read_text().replace("ExecStart=", "ExecStat="))
    assert run("systemd-analyze", "verify", broken).returncode != 0


def test_the_tmpfiles_make_the_folders(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group"):
        shutil.copy(f"/etc/{name}", tmp_path / "etc" / name)
    done = run("systemd-tmpfiles", "--create", f"--root={tmp_path}", ROOT / "etc/warmside.tmpfiles")
    assert done.returncode == 0, done.stderr
    made = [tmp_path / "run/warmside", tmp_path / "var/lib/warmside"]
    assert [oct(path.stat().st_mode & 0o777) for path in made] == ["0o750", "0o700"]
    assert {path.owner() for path in made} == {"ejabberd"}


def test_systemd_is_notified_of_start_and_stop(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(20)
        daemon = subprocess.Popen(
            [TWISTD, "-n", "warmside", "--config", folder.toml],
            env=folder.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")},
            stderr=subprocess.DEVNULL,
        )
        assert notified.recv(100) == b"READY=1"
        connection = socket.create_connection(("127.0.0.1", folder.port))
        connection.close()
        daemon.send_signal(signal.SIGTERM)
        assert notified.recv(100) == b"STOPPING=1"
        assert daemon.wait(20) in (0, -signal.SIGTERM)


def test_a_socket_from_systemd_is_served(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.toml.write_text(
        folder.toml.read_text().replace(f"tcp:{folder.port}:interface=127.0.0.1", "systemd:domain=INET:name=http")
    )
    alone = run(TWISTD, "-n", "warmside", "--config", folder.toml, env=folder.environ)
    assert alone.returncode == 2 and "systemd has passed no such socket" in alone.stderr
    activator = subprocess.Popen(
        ["systemd-socket-activate", "--fdname=http", "-l", f"127.0.0.1:{folder.port}", "-E", "RUNTIME_DIRECTORY", "-E",
         "STATE_DIRECTORY", sys.executable, TWISTD, "-n", "warmside", "--config", folder.toml],
        env=folder.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(Site(folder.port).serves)
    finally:
        activator.send_signal(signal.SIGTERM)
        activator.wait(20)


def test_a_restart_behind_a_socket_from_systemd_loses_no_request(tmp_path: Path) -> None:
    outcomes = measure(Folder(tmp_path), requests=500, restarts=2, clients=4)
    assert outcomes.total() >= 500
    assert set(outcomes) == {"answered"}, outcomes


def test_path_and_mode_of_a_socket_from_systemd_are_kept(tmp_path: Path) -> None:
    folder, path = Folder(tmp_path), tmp_path / "extauth.sock"
    folder.write('[extauth]\nusers = "any"\nlisten = "systemd:domain=UNIX:name=extauth"\n')
    old = os.umask(0o177)
    activator = subprocess.Popen(
        ["systemd-socket-activate", "--fdname=extauth", "-l", path, "-E", "RUNTIME_DIRECTORY", "-E", "STATE_DIRECTORY",
         sys.executable, TWISTD, "-n", "warmside", "--config", folder.toml],
        env=folder.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(path.exists)
        os.umask(old)
        mode = path.stat().st_mode
        with subprocess.Popen(
            [PYTHON, "-I", "-m", "warmside", "relay", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as relay:
            assert relay.stdin and relay.stdout
            relay.stdin.write(b"\0\x19isuser:juliet:example.org")
            relay.stdin.flush()
            assert relay.stdout.read(4) == b"\0\2\0\1"
        assert path.stat().st_mode == mode
    finally:
        os.umask(old)
        activator.send_signal(signal.SIGTERM)
        activator.wait(20)
    assert path.stat().st_mode == mode
