"""A daemon behind relays of a real ejabberd: different users, and restarts of both."""

import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from private_ejabberd import free_port

from tests.real.boshclient import BoshClient, Refused
from tests.real.parts import PYTHON, ROOT, TWISTD, WARMSIDE, Server, exchanged, run, until
from tests.real.processes import Folder
from tests.real.test_warm import mint


class Daemon:
    """A daemon, and an ejabberd that reaches it through relays, which run as another user if possible."""

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
        """Return the command of the relay. As root, it runs as the user ejabberd from a folder that it can read."""
        if not self.as_root:
            return f"{PYTHON} -I -m warmside relay {self.socket}"
        environment = self.folder / "venv"
        subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", environment], check=True)
        (code,) = (each / "warmside" for each in environment.glob("lib/python3*/site-packages"))
        (code / "extauth").mkdir(parents=True)
        for name in (
            "__init__.py",
            "__main__.py",
            "cli.py",
            "startup.py",
            "extauth/__init__.py",
            "extauth/frames.py",
            "extauth/relay.py",
            "extauth/relaycommand.py",
        ):
            shutil.copy(ROOT / "warmside" / name, code / name)
        switch = "setpriv --reuid ejabberd --regid ejabberd --clear-groups"
        return f"{switch} {environment}/bin/python -I -m warmside relay {self.socket}"

    def start(self) -> None:
        """Start the daemon, as root in the group ejabberd like the unit file."""
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
        until(self.socket.exists)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(20)

    def relays(self) -> list[int]:
        """Return the process IDs of the relays."""
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


def test_the_folders_have_the_documented_permissions(daemon: Daemon) -> None:
    runtime = daemon.folder / "runtime"
    modes = {path: oct(path.stat().st_mode & 0o777) for path in (runtime, runtime / "private", daemon.socket)}
    assert list(modes.values()) == ["0o750", "0o700", "0o660"]
    if daemon.as_root:
        look = ["setpriv", "--reuid", "ejabberd", "--regid", "ejabberd", "--clear-groups", "ls", runtime / "private"]
        assert "Permission denied" in run(*look).stderr
        look[2] = look[4] = "65534"
        assert "Permission denied" in run(*look[:-2], "ls", runtime).stderr


def test_a_relay_keeps_running_while_the_daemon_restarts(daemon: Daemon) -> None:
    before = sorted(daemon.relays())
    for how in (signal.SIGTERM, signal.SIGKILL):
        daemon.stop(how)
        daemon.start()
        assert daemon.server.warm(jid="juliet@example.org").status == 200
    assert sorted(daemon.relays()) == before
    assert len(before) == 2


def test_a_password_from_before_a_restart_of_the_daemon_is_accepted_after_it(daemon: Daemon) -> None:
    password = mint(daemon.server, "romeo@example.org", 60)
    daemon.stop()
    started = time.monotonic()
    client = BoshClient(daemon.server.bosh)
    daemon.start()
    client.log_in("romeo", password)
    client.terminate()
    assert time.monotonic() - started < 20


def test_every_host_is_probed_again_when_ejabberd_restarts(daemon: Daemon) -> None:
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


def test_ready_says_if_the_connection_manager_responds(daemon: Daemon) -> None:
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


def test_a_peer_that_sends_half_a_frame_delays_no_other(daemon: Daemon) -> None:
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

    def response(request: bytes) -> bytes:
        relay = subprocess.run(
            [WARMSIDE, "relay", f"tcp:{port}"],
            input=len(request).to_bytes(2, "big") + request,
            capture_output=True,
            check=True,
        )
        return relay.stdout

    try:
        until(lambda: response(b"isuser:juliet:example.org") == b"\0\2\0\1")
        password = mint(Store, "juliet@example.org").encode()  # type: ignore[arg-type]
        assert response(b"removeuser:juliet:example.org") == b"\0\2\0\0"
        assert response(b"auth:juliet:example.org:" + password) == b"\0\2\0\1", "removeuser must not revoke"
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(20)


def test_a_login_with_a_wrong_password_is_rejected_through_a_relay(daemon: Daemon) -> None:
    with pytest.raises(Refused, match="not-authorized"):
        BoshClient(daemon.server.bosh).log_in("juliet", "wrong")


def test_every_failure_during_a_restart_of_ejabberd_is_503_with_a_time_to_retry(daemon: Daemon) -> None:
    server, replies, stopped = daemon.server, [], threading.Event()
    until(lambda: server.warm(jid="load@example.org").status == 200)

    def load(number: int) -> None:
        fields = {"fetch": "roster"} if number % 2 else {}
        while not stopped.is_set():
            replies.append(server.warm(jid=f"load{number}@example.org", **fields))

    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(load, number) for number in range(6)]
        try:
            for _ in range(3):
                seen = len(replies)
                until(lambda seen=seen: any(reply.status == 200 for reply in replies[seen:]))  # type: ignore[misc]
                server.ejabberd.stop()
                server.ejabberd.start(environ=server.environ)
        finally:
            stopped.set()
        for each in running:
            each.result()
    failed = [reply for reply in replies if reply.status != 200]
    assert len(failed) > 10
    assert [reply.body for reply in failed if reply.status not in (503, 504)] == []
    assert all(int(reply.headers["Retry-After"]) > 0 for reply in failed)
