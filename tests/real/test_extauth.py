"""``warmside extauth`` as a process with pipes: responses, faults, and the end of stdin."""

import fcntl
import http.client
import os
import pty
import signal
import socket
import statistics
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import bcrypt
import pytest

from tests.real.parts import ADMIN, WARMSIDE, Site, basic, until
from tests.real.processes import NO, Folder, Program, end_of_terminal


@pytest.fixture
def program(folder: Folder) -> Iterator[Program]:
    """Run one process; end it unless the test has done so."""
    running = Program(folder)
    yield running
    if running.process.returncode is None:
        running.end()


def test_responses_that_are_read_late_arrive_complete_and_in_order(folder: Folder) -> None:
    folder.write('[extauth]\nusers = "any"\n')
    program = Program(folder)
    until(lambda: program.ask(b"isuser:juliet:example.org") == b"\0\2\0\1")
    requests, expected = b"", b""
    for number in range(40_000):
        request = b"isuser:juliet:example.org" if number % 3 else b"auth:juliet:example.org:no"
        requests += struct.pack("!H", len(request)) + request
        expected += b"\0\2\0\1" if number % 3 else b"\0\2\0\0"
    assert program.process.stdin and program.process.stdout
    program.process.stdin.write(requests)
    program.process.stdin.flush()
    assert program.process.stdout.read(len(expected)) == expected
    program.end()


def test_extauth_with_a_mistyped_option_rejects_requests_until_stdin_ends() -> None:
    process = subprocess.Popen(
        [WARMSIDE, "extauth", "--confg", "x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin and process.stdout
    request = b"isuser:juliet:example.org"
    process.stdin.write(struct.pack("!H", len(request)) + request)
    process.stdin.flush()
    assert process.stdout.read(4) == NO
    time.sleep(0.5)
    assert process.poll() is None, "ejabberd would start it again at once"
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (2, b"") and b"its command line is wrong" in err


def test_every_request_before_the_end_of_stdin_is_answered(folder: Folder) -> None:
    requests = [b"isuser:u%d:example.org" % number for number in range(2000)]
    frames = b"".join(struct.pack("!H", len(request)) + request for request in requests)
    command: list[str | Path] = [WARMSIDE, "extauth", "--config", folder.toml]
    done = subprocess.run(command, input=frames, capture_output=True, env=folder.environ, check=True, timeout=60)
    assert done.stdout == NO * len(requests)


def test_a_locked_store_blocks_neither_requests_nor_the_start_after_the_lock_is_released(folder: Folder) -> None:
    private = folder.path / "runtime" / "private"
    private.mkdir(parents=True, mode=0o700)
    private.parent.chmod(0o750)
    lock = private / "passwords.sqlite.lock"
    lock.touch(mode=0o600)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        program = Program(folder)
        until(lambda: "another process still holds the lock" in program.log())
        assert program.ask(b"isuser:juliet:example.org") == NO
        program.process.send_signal(signal.SIGHUP)
        assert program.ask(b"isuser:juliet:example.org") == NO
    until(Site(folder.port).serves)
    program.end()


def test_a_lasting_fault_leaks_no_descriptor_and_service_starts_once_it_is_fixed(folder: Folder) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", folder.port))
        taken.listen()
        program = Program(folder)
        until(lambda: "rejecting all extauth requests" in program.log())
        descriptors = Path(f"/proc/{program.process.pid}/fd")
        before = len(list(descriptors.iterdir()))
        time.sleep(3.5)  # three attempts to start, one a second
        assert len(list(descriptors.iterdir())) <= before + 2
    until(Site(folder.port).serves)
    program.end()


def test_the_end_of_stdin_does_not_wait_for_a_slow_program(folder: Folder) -> None:
    slow, started = folder.path / "slow", folder.path / "started"
    slow.write_text(f"#!/bin/sh\n: >{started}\nsleep 20\n")
    slow.chmod(0o755)
    folder.write(f'[extauth]\nprogram = "{slow}"\n')
    program = Program(folder)
    until(Site(folder.port).serves)
    program.send(b"isuser:juliet:example.org")
    until(started.exists)
    took, rest = program.end()
    assert took < 5 and rest == b"" and "stdin has ended" in program.log()


def test_extauth_processes_can_not_share_a_unix_socket(folder: Folder) -> None:
    folder.listen_at(f"unix:{folder.path}/x")
    program = Program(folder)
    until(lambda: "can't share this socket" in program.log())
    program.end()


def test_extauth_answers_requests_and_serves_http(folder: Folder, program: Program) -> None:
    until(Site(folder.port).serves)
    assert program.ask(b"auth:juliet:example.org:wrong") == NO
    assert program.ask(b"isuser:juliet:example.org") == NO
    assert program.ask(b"") == NO
    took, rest = program.end()
    assert (program.process.returncode, rest) == (0, b"")
    assert took < 5, "it exits a second after the end of stdin, five times that on a busy machine; SIGTERM allows ten"


def test_extauth_processes_share_the_port(folder: Folder) -> None:
    programs = [Program(folder) for _ in range(3)]
    site = Site(folder.port)
    until(site.serves)
    for program in programs:
        assert program.ask(b"isuser:juliet:example.org") == NO
    for program in programs[:2]:
        program.end()
    until(site.serves)
    programs[2].end()
    assert not site.serves()


def test_only_responses_reach_stdout(folder: Folder) -> None:
    (folder.path / "sitecustomize.py").write_text(
        "import os, threading, time, warnings\n"
        "def noise():\n"
        "    while True:\n"
        "        time.sleep(0.02)\n"
        "        print('a stray print', flush=True)\n"
        "        os.write(1, b'a stray write\\n')\n"
        "        os.system('echo a stray child')\n"
        "        warnings.warn('a stray warning', stacklevel=1)\n"
        "def begin():\n"
        "    time.sleep(0.5)\n"
        "    noise()\n"
        "threading.Thread(target=begin, daemon=True).start()\n"
    )
    program = Program(folder, [WARMSIDE], PYTHONPATH=str(folder.path), PYTHONWARNINGS="always")
    until(Site(folder.port).serves)
    until(lambda: all(f"a stray {kind}" in program.log() for kind in ("print", "write", "child", "warning")))
    assert [program.ask(b"isuser:juliet:example.org") for _ in range(20)] == [NO] * 20
    assert program.end()[1] == b""


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("configuration", "passwords.lifetime"),
        ("admins", "admins.file"),
        ("port", "another program listens there already"),
        ("store", "is not a database"),
    ],
)
def test_extauth_with_a_fault_rejects_requests_and_starts_once_it_is_fixed(
    folder: Folder, fault: str, said: str
) -> None:
    blocker = socket.socket()
    store = folder.path / "runtime" / "private" / "passwords.sqlite"
    if fault == "configuration":
        folder.write("[passwords]\nlifetime = 0\n")
    elif fault == "admins":
        folder.write("", admins="nowhere")
    elif fault == "port":
        blocker.bind(("127.0.0.1", folder.port))
        blocker.listen()
    else:
        store.parent.mkdir(parents=True, mode=0o700)
        store.parent.parent.chmod(0o750)
        store.write_text("rubbish " * 200)
        store.chmod(0o600)
    program = Program(folder)
    until(lambda: said in program.log())
    assert program.ask(b"auth:juliet:example.org:secret") == NO
    time.sleep(1.2)  # at least one more attempt to start, one a second
    assert program.process.poll() is None
    assert program.log().count("rejecting all extauth requests") == 1
    if fault == "store":
        store.unlink()
    blocker.close()
    folder.write("")
    until(Site(folder.port).serves)
    assert program.ask(b"isuser:juliet:example.org") == NO
    assert program.end()[1] == b""


def test_extauth_at_a_terminal_exits_with_2_on_a_fault(folder: Folder) -> None:
    folder.write("[passwords]\nlifetime = 0\n")
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(WARMSIDE, [str(WARMSIDE), "extauth", "--config", str(folder.toml)], folder.environ)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 500, 0, 0))
    status, shown = end_of_terminal(pid, fd)
    assert status == 2
    assert b"passwords.lifetime = 0: give a number from 1 to 3600" in shown


def test_extauth_processes_can_not_share_a_store_in_memory(folder: Folder) -> None:
    folder.write('[passwords]\nstore = "sqlite://:memory:"\n')
    program = Program(folder)
    until(lambda: "passwords.store" in program.log())
    program.end()


def test_a_flood_of_wrong_admin_passwords_does_not_slow_extauth(folder: Folder, program: Program) -> None:
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(10)).decode()
    (folder.path / "admins").write_text(f"{ADMIN}:{hashed}\n")
    until(Site(folder.port).serves)

    def median() -> float:
        took = []
        for _ in range(300):
            started = time.perf_counter()
            assert program.ask(b"auth:juliet:example.org:wrong") == NO
            took.append(time.perf_counter() - started)
        return statistics.median(took)

    over = threading.Event()

    def flood(number: int) -> None:
        while not over.is_set():
            with suppress(OSError, http.client.HTTPException):  # a busy machine may drop the connection
                Site(folder.port).request("GET", "/warm", headers={"Authorization": basic(ADMIN, f"wrong{number}")})
            time.sleep(0.02)

    median()
    quiet = median()
    threads = [threading.Thread(target=flood, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    try:
        flooded = median()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    # Checking one password takes about 60 ms, thousands of times as long as a response.
    assert flooded < max(50 * quiet, 0.02), (quiet, flooded)
