"""The quickstart, and the cluster, in a fresh checkout without a virtual environment."""

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.real.browser import libraries
from tests.real.parts import ROOT, Site, until

LEFT_OUT = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist")


class Checkout:
    """A copy of this checkout, and a folder for temporary files that marks the quickstart's processes."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "warmside"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        shutil.copytree(ROOT, self.root, ignore=LEFT_OUT)
        # Compiling every module of every dependency takes longer than installing them.
        self.environ = os.environ | {"TMPDIR": str(self.temporary), "PIP_NO_COMPILE": "1"}
        self.environ.pop("COVERAGE_PROCESS_CONFIG", None)

    @contextmanager
    def start(
        self, *arguments: str, path: str | None = None, command: str = "quickstart"
    ) -> "Iterator[subprocess.Popen[str]]":
        """Start the quickstart or another command of ``etc``; end it at the end of the block.

        :param path: the environment's PATH; default: this process's.
        """
        # With this umask, the default of many desktops, the group may write new files. A shell starts a background job
        # with SIGINT ignored.
        with subprocess.Popen(
            ["sh", "-c", 'umask 002; trap "" INT; exec "$0" "$@"', self.root / "etc" / command, *arguments],
            env=self.environ | ({"PATH": path} if path else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.terminate()  # a killed command leaves its servers behind
                try:
                    process.wait(60)
                finally:
                    process.kill()

    def run(self, *arguments: str, path: str | None = None, command: str = "quickstart") -> tuple[int, str, str]:
        """Run the command to its end; return its exit status, stdout and stderr."""
        with self.start(*arguments, path=path, command=command) as process:
            out, err = process.communicate(timeout=600)
            return process.returncode, out, err

    def install_libraries(self) -> None:
        """Link the demo's client libraries, which other tests install, into the checkout."""
        demo = self.root / ".venv/demo"
        demo.mkdir(exist_ok=True)
        if not (demo / "node_modules").exists():
            (demo / "node_modules").symlink_to(libraries())
        shutil.copy(self.root / "etc/demo/package.json", demo)

    def running(self) -> list[str]:
        """Return the command lines of running processes that the quickstart started."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    environ = (entry / "environ").read_bytes().split(b"\0")
                    command = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
                except OSError:  # it has exited, or belongs to another user
                    continue
                if f"TMPDIR={self.temporary}".encode() in environ:
                    found.append(command)
        return found


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """Copy this checkout."""
    folder = tmp_path_factory.mktemp("newcomer")
    yield Checkout(folder)
    shutil.rmtree(folder, ignore_errors=True)


def test_one_command_installs_warms_and_pings(checkout: Checkout) -> None:
    status, out, err = checkout.run("--once")
    assert status == 0, out + err
    assert "creating the virtual environment" in out
    assert "curl -u webapp:" in out and '"sid": "' in out
    assert "answered the ping of juliet@localhost/" in out
    until(lambda: not checkout.running())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_second_start_installs_nothing_and_a_signal_stops_every_process(
    checkout: Checkout, number: signal.Signals
) -> None:
    checkout.install_libraries()
    with checkout.start() as process:
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if "beside your ejabberd" in line:
                    break
            assert "creating the virtual environment" not in said
            assert len(checkout.running()) > 3, "the quickstart, the demo, ejabberd and warmside"
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
            process.send_signal(number)
            process.send_signal(number)  # the second one must not leave ejabberd behind
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    assert "All processes have exited" in rest
    until(lambda: not checkout.running())


def test_a_port_in_use_is_reported(checkout: Checkout) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        status, _, err = checkout.run("--once", "--port", port)
    assert status == 1
    assert f"port {port} is in use by another program" in err and "Traceback" not in err


def test_a_broken_ejabberd_is_reported(checkout: Checkout, tmp_path: Path) -> None:
    broken = tmp_path / "erl"
    broken.write_text("#!/bin/sh\necho 'no such machine' >&2\nexit 1\n")
    broken.chmod(0o755)
    status, _, err = checkout.run("--once", path=f"{tmp_path}:{os.environ['PATH']}")
    assert status == 1
    assert "ejabberd exited unexpectedly" in err and "no such machine" in err


def test_the_cluster_warms_at_each_node_and_sends_a_message(checkout: Checkout) -> None:
    status, out, err = checkout.run("--once", command="cluster")
    assert status == 0, out + err
    assert "ann@localhost: warmed at n1@127.0.0.1, attached at n2@127.0.0.1" in out
    assert "bob@localhost: warmed at n2@127.0.0.1, attached at n1@127.0.0.1" in out
    assert "reached Bob at n1@127.0.0.1: Are you there?" in out
    until(lambda: not checkout.running())


def test_the_cluster_serves_a_demo_for_each_node_until_a_signal(checkout: Checkout) -> None:
    checkout.install_libraries()
    with checkout.start(command="cluster") as process:
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if "docs/CLUSTER.md" in line:
                    break
            else:
                raise AssertionError(said + process.communicate()[1])
            machines = re.findall(r"log in as (\w+), who is warmed at node (\d): +http://([0-9.]+):(\d+)/", said)
            assert [machine[:3] for machine in machines] == [("Ann", "1", "127.0.0.1"), ("Bob", "2", "127.0.0.2")], said
            for user, _, address, port in machines:
                demo = Site(int(port), address)
                cookie = {"Cookie": demo.request("POST", "/login", user.encode()).headers["Set-Cookie"]}
                session = demo.request("POST", "/chat-session", b"", cookie)
                assert session.status == 200, session.body
                assert session.json()["jid"].startswith(f"{user.lower()}@localhost/")
                assert session.json()["bosh_url"] == f"http://{address}:{port}/bosh"
                assert [each["subscription"] for each in session.json()["roster"]] == ["both"]
        finally:
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    assert "All processes have exited" in rest
    until(lambda: not checkout.running())
