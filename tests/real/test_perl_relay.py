"""etc/relay.pl: Perl between a real ejabberd and a daemon, and the daemon's failures."""

import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.boshclient import BoshClient
from tests.real.parts import ROOT, TWISTD, Server, exchanged, run, until
from tests.real.processes import NO, YES

RELAY = ROOT / "etc/relay.pl"
REQUEST = b"isuser:juliet:example.org"


class Relay:
    """A relay.pl with pipes, as ejabberd starts it."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(["perl", RELAY, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, *requests: bytes) -> bytes:
        """Send requests at once and return the responses."""
        assert self.process.stdin and self.process.stdout
        for request in requests:
            self.process.stdin.write(len(request).to_bytes(2, "big") + request)
        self.process.stdin.flush()
        return self.process.stdout.read(4 * len(requests))

    def end(self) -> int:
        """Close stdin and return the exit status."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(10)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    started = Relay(tmp_path / "extauth.sock")
    try:
        yield started
    finally:
        assert started.end() == 0


def listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


def answer(listener: socket.socket, *responses: bytes, deaf: bool = False) -> threading.Thread:
    """Answer one connection's requests with these bytes, then close it; if ``deaf``, when the relay has closed it."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            for response in responses:
                size = int.from_bytes(connection.recv(2, socket.MSG_WAITALL), "big")
                connection.recv(size, socket.MSG_WAITALL)
                if deaf:
                    connection.shutdown(socket.SHUT_RD)
                connection.sendall(response)
            if deaf:
                poller = select.poll()
                poller.register(connection, 0)
                poller.poll(10_000)  # POLLHUP, which is always reported

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_the_program_is_short_and_needs_no_module_beyond_perl() -> None:
    text = RELAY.read_text()
    assert len(text.splitlines()) <= 30
    used = {line.split()[1].rstrip(";") for line in text.splitlines() if line.startswith("use ")}
    assert used == {"strict", "warnings", "IO::Select", "IO::Socket::UNIX"}
    checked = run("perl", "-cw", RELAY)
    assert checked.stderr.strip().endswith("syntax OK"), checked.stderr


def test_without_a_daemon_requests_are_rejected_until_one_listens(relay: Relay, tmp_path: Path) -> None:
    assert relay.ask(REQUEST, REQUEST) == NO + NO
    with listen(tmp_path / "extauth.sock") as listener:
        thread = answer(listener, YES)
        assert relay.ask(REQUEST) == YES
        thread.join()
        # The daemon has closed the connection meanwhile, as after a restart.
        thread = answer(listener, YES, NO, YES)
        assert relay.ask(REQUEST, REQUEST, REQUEST) == YES + NO + YES
        thread.join()


def test_a_daemon_that_ends_in_the_middle_costs_one_request(relay: Relay, tmp_path: Path) -> None:
    with listen(tmp_path / "extauth.sock") as listener:
        thread = answer(listener, YES[:3])
        assert relay.ask(REQUEST) == NO
        thread.join()
        thread = answer(listener, YES)
        assert relay.ask(REQUEST) == YES
        thread.join()


def test_a_daemon_that_reads_no_more_does_not_end_the_relay(relay: Relay, tmp_path: Path) -> None:
    with listen(tmp_path / "extauth.sock") as listener:
        thread = answer(listener, YES, deaf=True)
        assert relay.ask(REQUEST) == YES
        assert relay.ask(REQUEST) == NO
        thread.join()
        thread = answer(listener, YES)
        assert relay.ask(REQUEST) == YES
        thread.join()


def test_an_invalid_response_is_never_passed_on(relay: Relay, tmp_path: Path) -> None:
    with listen(tmp_path / "extauth.sock") as listener:
        thread = answer(listener, b"\0\2\0\7")
        assert relay.ask(REQUEST) == NO
        thread.join()


def test_a_late_response_is_not_that_of_the_next_request(relay: Relay, tmp_path: Path) -> None:
    with listen(tmp_path / "extauth.sock") as listener:
        started = time.monotonic()
        assert relay.ask(REQUEST) == NO
        assert time.monotonic() - started < 6
        late, _ = listener.accept()
        try:
            late.sendall(YES)
        except BrokenPipeError:
            pass
        thread = answer(listener, NO)
        assert relay.ask(REQUEST) == NO
        thread.join()
        late.close()


def test_the_largest_request_passes(relay: Relay, tmp_path: Path) -> None:
    with listen(tmp_path / "extauth.sock") as listener:
        thread = answer(listener, YES)
        assert relay.ask(b"auth:juliet:example.org:".ljust(65535, b"x")) == YES
        thread.join()


def test_a_session_is_warmed_through_it_also_after_a_restart_of_the_daemon() -> None:
    # A short path, because the path of a unix socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="warmside-test-"))
    path = folder / "runtime" / "extauth.sock"
    server = Server(folder, program=f"/usr/bin/perl {RELAY} {path}")
    sample = server.toml.read_text()
    server.toml.write_text(exchanged(sample, ("[extauth]\n", f'[extauth]\nlisten = "unix:{path}"\n')))

    def daemon() -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [TWISTD, "-n", "--pidfile=", "warmside", "--config", server.toml],
            env=server.environ, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(lambda: server.serves() and path.exists())
        return process

    process = daemon()
    try:
        server.start()
        until(lambda: len(perls(path)) == 2)
        relays = perls(path)
        for _ in range(2):
            reply = server.warm(jid="juliet@example.org")
            assert reply.status == 200, reply.body
            client = BoshClient(server.bosh).attach(reply.json())
            assert client.ping()
            client.terminate()
            process.send_signal(signal.SIGTERM)
            process.wait(20)
            process = daemon()
        assert perls(path) == relays
    finally:
        server.stop()
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        shutil.rmtree(folder)


def perls(path: Path) -> list[int]:
    """Return the process IDs of the relays to a socket."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if os.fsencode(RELAY) in command and os.fsencode(path) in command:
            found.append(int(entry.name))
    return sorted(found)
