"""A daemon behind relays: a real ejabberd, users that differ, restarts, systemd's ways."""

import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from private_ejabberd import free_port

from tests.real.boshclient import BoshClient, Refused
from tests.real.parts import ROOT, TWISTD, WARMSIDE, Server, Site, exchanged, run, until
from tests.real.processes import Folder
from tests.real.test_warm import mint


def unix_sockets() -> list[str]:
    """The kernel's list of unix sockets: in its sixth column is the state, 03 when connected."""
    return Path("/proc/net/unix").read_text().splitlines()[1:]


class Daemon:
    """A twistd with warmside, and an ejabberd that asks it through relays which run as another user."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="warmside-test-"))
        self.folder.chmod(0o755)
        self.socket = self.folder / "runtime" / "extauth.sock"
        self.as_root = os.geteuid() == 0
        self.server = Server(self.folder, program=self.program())
        sample = self.server.toml.read_text()
        self.server.toml.write_text(exchanged(sample, ("[extauth]\n", f'[extauth]\nlisten = "unix:{self.socket}"\n')))
        self.process: subprocess.Popen[bytes] | None = None

    def program(self) -> str:
        """The relay as ejabberd starts it; as root, it is run as the user ejabberd, from a folder that he can read."""
        if not self.as_root:
            return f"{WARMSIDE} relay {self.socket}"
        code = self.folder / "code" / "warmside"
        (code / "extauth").mkdir(parents=True)
        for name in (
            "__init__.py",
            "__main__.py",
            "cli.py",
            "extauth/__init__.py",
            "extauth/frames.py",
            "extauth/relay.py",
        ):
            shutil.copy(ROOT / "warmside" / name, code / name)
        switch = "setpriv --reuid ejabberd --regid ejabberd --clear-groups"
        return f"{switch} /usr/bin/env PYTHONPATH={code.parent} /usr/bin/python3 -m warmside relay {self.socket}"

    def start(self) -> None:
        """Start the daemon; as root, in the group ejabberd, as the unit file has it."""
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(
                [TWISTD, "-n", "--pidfile=", "warmside", "--config", self.server.toml],
                env=self.server.environ,
                cwd=self.folder,
                stdout=subprocess.DEVNULL,
                stderr=log,
                group=grp.getgrnam("ejabberd").gr_gid if self.as_root else None,
            )
        until(self.server.serves)
        if self.relays():
            # They come back one after the other.
            until(lambda: self.socket.exists() and self.connected() >= len(self.relays()))

    def connected(self) -> int:
        """How many relays are connected."""
        return sum(line.split()[5] == "03" and line.endswith(f" {self.socket}") for line in unix_sockets())

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(20)

    def relays(self) -> list[int]:
        """Process IDs of the relays."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            except OSError:
                continue
            if b"relay" in command and str(self.socket).encode() in command:
                found.append(int(entry.name))
        return found

    def close(self) -> None:
        self.server.stop()
        if self.process is not None and self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    running = Daemon()
    try:
        running.start()
        running.server.start()
        yield running
    finally:
        running.close()


def test_a_session_is_warmed_through_relays_of_another_user(daemon: Daemon) -> None:
    reply = daemon.server.warm(jid="juliet@example.org")
    assert reply.status == 200, reply.body
    client = BoshClient(daemon.server.bosh).attach(reply.json())
    assert client.ping()
    client.terminate()
    users = {pwd.getpwuid((Path("/proc") / str(pid)).stat().st_uid).pw_name for pid in daemon.relays()}
    assert users == {"ejabberd" if daemon.as_root else pwd.getpwuid(os.geteuid()).pw_name}


def test_the_folders_have_the_rights_of_the_contract(daemon: Daemon) -> None:
    runtime = daemon.folder / "runtime"
    rights = {path: oct(path.stat().st_mode & 0o777) for path in (runtime, runtime / "private", daemon.socket)}
    assert list(rights.values()) == ["0o750", "0o700", "0o660"]
    if daemon.as_root:
        look = ["setpriv", "--reuid", "ejabberd", "--regid", "ejabberd", "--clear-groups", "ls", runtime / "private"]
        assert "Permission denied" in run(*look).stderr
        look[2] = look[4] = "65534"
        assert "Permission denied" in run(*look[:-2], "ls", runtime).stderr


def test_a_relay_outlives_the_daemon_and_the_next_session_is_warmed(daemon: Daemon) -> None:
    before = sorted(daemon.relays())
    for how in (signal.SIGTERM, signal.SIGKILL):
        daemon.stop(how)
        daemon.start()
        assert daemon.server.warm(jid="juliet@example.org").status == 200
    assert sorted(daemon.relays()) == before
    assert len(before) == 2


def test_logins_with_ordinary_passwords_wait_for_a_daemon_that_restarts(daemon: Daemon) -> None:
    password = mint(daemon.server, "romeo@example.org", 60)
    daemon.stop()
    started = time.monotonic()
    client = BoshClient(daemon.server.bosh)
    starting = subprocess.Popen(["sleep", "0.5"])
    starting.wait()
    daemon.start()
    client.log_in("romeo", password)
    client.terminate()
    assert time.monotonic() - started < 20


def test_when_ejabberd_starts_anew_every_host_is_tried_out_again(daemon: Daemon) -> None:
    assert daemon.server.warm(jid="juliet@example.org").status == 200
    daemon.server.stop()
    yml = daemon.server.ejabberd._configuration
    try:
        daemon.server.ejabberd._configuration = exchanged(yml, ("auth_use_cache: false", "auth_use_cache: true"))
        daemon.server.start()
        reply = daemon.server.warm(jid="juliet@example.org")
        assert reply.status == 503 and "auth_use_cache: false" in reply.json()["detail"]
    finally:
        daemon.server.stop()
        daemon.server.ejabberd._configuration = yml
        daemon.server.start()
    assert daemon.server.warm(jid="juliet@example.org").status == 200


def test_ready_is_whether_the_connection_manager_answers(daemon: Daemon) -> None:
    def state() -> tuple[int, str]:
        reply = daemon.server.request("GET", "/ready")
        return reply.status, reply.json()["connection_manager"]

    assert state() == (200, "ok")
    connected = daemon.server.connected()
    assert [state() for _ in range(50)] == [(200, "ok")] * 50
    assert daemon.server.connected() == connected
    daemon.server.stop()
    until(lambda: state() == (503, "unreachable"))
    assert daemon.server.request("GET", "/health").status == 200
    daemon.server.start()
    until(lambda: state() == (200, "ok"))


def test_a_peer_that_sends_half_a_frame_holds_nobody_up(daemon: Daemon) -> None:
    with socket.socket(socket.AF_UNIX) as half:
        half.connect(str(daemon.socket))
        half.sendall(b"\0\x20auth:juliet:exam")
        assert daemon.server.warm(jid="juliet@example.org").status == 200
        half.sendall(b"ple.org:wrong-----")
        assert half.recv(4) == b"\0\2\0\0"


def test_a_tcp_port_answers_only_auth_and_isuser(tmp_path: Path) -> None:
    folder, port = Folder(tmp_path), free_port()
    folder.write(f'[extauth]\nusers = "any"\nlisten = "tcp:{port}:interface=127.0.0.1"\n')
    daemon = subprocess.Popen(
        [TWISTD, "-n", "warmside", "--config", folder.toml], env=folder.environ, stderr=subprocess.DEVNULL
    )

    class Store:
        store = tmp_path / "runtime/private/passwords.sqlite"

    def ask(question: bytes) -> bytes:
        relay = subprocess.run(
            [WARMSIDE, "relay", f"tcp:{port}"],
            input=len(question).to_bytes(2, "big") + question,
            capture_output=True,
            check=True,
        )
        return relay.stdout

    try:
        until(lambda: ask(b"isuser:juliet:example.org") == b"\0\2\0\1")
        password = mint(Store, "juliet@example.org").encode()  # type: ignore[arg-type]
        assert ask(b"removeuser:juliet:example.org") == b"\0\2\0\0"
        assert ask(b"auth:juliet:example.org:" + password) == b"\0\2\0\1", "removeuser has revoked nothing"
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(20)


def test_the_unit_file_is_right_and_hardened(tmp_path: Path) -> None:
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


def test_systemd_is_told_when_it_serves_and_when_it_stops(tmp_path: Path) -> None:
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


def test_a_socket_of_systemds_is_served(tmp_path: Path) -> None:
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


def test_the_path_and_the_rights_of_systemds_sockets_stay_as_they_are(tmp_path: Path) -> None:
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
        rights = path.stat().st_mode
        with subprocess.Popen([WARMSIDE, "relay", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as relay:
            assert relay.stdin and relay.stdout
            relay.stdin.write(b"\0\x19isuser:juliet:example.org")
            relay.stdin.flush()
            assert relay.stdout.read(4) == b"\0\2\0\1"
        assert path.stat().st_mode == rights
    finally:
        os.umask(old)
        activator.send_signal(signal.SIGTERM)
        activator.wait(20)
    assert path.stat().st_mode == rights


def test_an_own_login_with_a_wrong_password_is_refused_through_a_relay(daemon: Daemon) -> None:
    with pytest.raises(Refused, match="not-authorized"):
        BoshClient(daemon.server.bosh).log_in("juliet", "wrong")
