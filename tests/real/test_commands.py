"""The commands as processes: exit statuses, what is said where, and what stdout carries."""

import fcntl
import http.client
import json
import os
import pty
import signal
import socket
import statistics
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import bcrypt
import pytest
from private_ejabberd import free_port

from tests.real.parts import ADMIN, HASH, TWISTD, WARMSIDE, Site, basic, run, until

YES, NO = b"\x00\x02\x00\x01", b"\x00\x02\x00\x00"


class Folder:
    """A configuration in a folder of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.port = free_port()
        self.toml = path / "warmside.toml"
        (path / "admins").write_text(f"{ADMIN}:{HASH}\n")
        (path / "admins").chmod(0o600)
        self.write("")
        self.environ = dict(os.environ) | {
            "RUNTIME_DIRECTORY": str(path / "runtime"),
            "STATE_DIRECTORY": str(path / "state"),
        }

    def write(self, more: str, admins: str = "admins") -> None:
        listen = f'[http]\nlisten = "tcp:{self.port}:interface=127.0.0.1"\n'
        self.toml.write_text(f'[admins]\nfile = "{self.path}/{admins}"\n{listen}{more}')


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


class Program:
    """A `warmside extauth` with pipes, as ejabberd starts it."""

    def __init__(self, folder: Folder, **environ: str) -> None:
        self.errors = (folder.path / "stderr").open("wb+")
        self.process = subprocess.Popen(
            [WARMSIDE, "extauth", "--config", folder.toml],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=folder.environ | environ,
        )

    def ask(self, question: bytes) -> bytes:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(struct.pack("!H", len(question)) + question)
        self.process.stdin.flush()
        return self.process.stdout.read(4)

    def end(self) -> tuple[float, bytes]:
        """Close stdin; returns how long the end took, and what was left on stdout."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        started = time.monotonic()
        self.process.wait(10)
        took = time.monotonic() - started
        rest = self.process.stdout.read()
        self.process.stdout.close()
        self.errors.close()
        return took, rest

    def log(self) -> str:
        return Path(self.errors.name).read_text()


@pytest.fixture
def program(folder: Folder) -> Iterator[Program]:
    running = Program(folder)
    yield running
    if running.process.returncode is None:
        running.end()


def test_answers_that_are_not_read_for_a_while_come_whole_and_in_order(folder: Folder) -> None:
    folder.write('[extauth]\nusers = "any"\n')
    program = Program(folder)
    until(lambda: program.ask(b"isuser:juliet:example.org") == b"\0\2\0\1")
    questions, expected = b"", b""
    for number in range(40_000):
        question = b"isuser:juliet:example.org" if number % 3 else b"auth:juliet:example.org:no"
        questions += struct.pack("!H", len(question)) + question
        expected += b"\0\2\0\1" if number % 3 else b"\0\2\0\0"
    assert program.process.stdin and program.process.stdout
    program.process.stdin.write(questions)
    program.process.stdin.flush()
    assert program.process.stdout.read(len(expected)) == expected
    program.end()


def test_help_and_version_work() -> None:
    for arguments in (["--help"], ["extauth", "--help"], ["relay", "--help"], ["sample", "--help"], ["--version"]):
        done = run(WARMSIDE, *arguments)
        assert done.returncode == 0 and "warmside" in done.stdout
    assert "hash-password" in run(WARMSIDE, "hash-password", "--help").stdout
    assert "0.1.0" in run(TWISTD, "warmside", "--version").stdout
    assert "--config" in run(TWISTD, "warmside", "--help").stdout


def test_bad_usage_ends_with_2() -> None:
    for arguments in ([], ["nonsense"], ["extauth", "--nonsense"]):
        done = run(WARMSIDE, *arguments, stdin=subprocess.DEVNULL)
        assert (done.returncode, done.stdout) == (2, "") and "usage" in done.stderr


def test_a_mistyped_option_in_ejabberds_configuration_is_waited_out_too() -> None:
    process = subprocess.Popen(
        [WARMSIDE, "extauth", "--confg", "x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin and process.stdout
    question = b"isuser:juliet:example.org"
    process.stdin.write(struct.pack("!H", len(question)) + question)
    process.stdin.flush()
    assert process.stdout.read(4) == NO
    time.sleep(1)
    assert process.poll() is None
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (2, b"") and b"its command line is wrong" in err


def test_every_question_before_the_end_of_stdin_is_answered(folder: Folder) -> None:
    questions = [b"isuser:u%d:example.org" % number for number in range(2000)]
    frames = b"".join(struct.pack("!H", len(question)) + question for question in questions)
    command: list[str | Path] = [WARMSIDE, "extauth", "--config", folder.toml]
    done = subprocess.run(command, input=frames, capture_output=True, env=folder.environ, check=True, timeout=60)
    assert done.stdout == NO * len(questions)


def test_a_program_that_is_stuck_in_nothing_ends_in_time_though_files_are_locked(folder: Folder) -> None:
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


def test_a_fault_that_lasts_costs_nothing_and_is_got_over(folder: Folder) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", folder.port))
        taken.listen()
        program = Program(folder)
        until(lambda: "rejecting all extauth requests" in program.log())
        descriptors = Path(f"/proc/{program.process.pid}/fd")
        time.sleep(2)
        before = len(list(descriptors.iterdir()))
        time.sleep(5)
        assert len(list(descriptors.iterdir())) <= before + 1
    until(Site(folder.port).serves)
    program.end()


@pytest.mark.parametrize("place", ["unix:/no/such/folder/x.sock", "unix:relative.sock", "unix:/tmp/" + "x" * 120])
@pytest.mark.parametrize("key", ["http", "extauth"])
def test_a_socket_that_can_not_be_made_ends_twistd_with_2(folder: Folder, key: str, place: str) -> None:
    folder.write(f'[extauth]\nlisten = "{place}"\n' if key == "extauth" else "")
    if key == "http":
        folder.toml.write_text(folder.toml.read_text().replace(f"tcp:{folder.port}:interface=127.0.0.1", place))
    done = run(TWISTD, "-n", "warmside", "--config", folder.toml, env=folder.environ, cwd=folder.path)
    assert done.returncode == 2 and f'{key}.listen = "{place}"' in done.stderr and "Traceback" not in done.stderr


def test_one_port_for_two_purposes_ends_twistd_with_2(folder: Folder) -> None:
    folder.write(f'[extauth]\nlisten = "tcp:{folder.port}:interface=127.0.0.1"\n')
    done = run(TWISTD, "-n", "warmside", "--config", folder.toml, env=folder.environ, cwd=folder.path)
    assert done.returncode == 2 and "another program listens there already" in done.stderr


def test_a_daemon_that_can_not_listen_after_all_ends_with_2(folder: Folder) -> None:
    held = folder.path / "held.sock"
    (folder.path / "held.sock.lock").symlink_to(str(os.getpid()))
    folder.write(f'[extauth]\nlisten = "unix:{held}"\n')
    done = run(TWISTD, "-n", "warmside", "--config", folder.toml, env=folder.environ, cwd=folder.path)
    assert done.returncode == 2 and "extauth.listen" in done.stderr


def test_after_the_end_of_stdin_a_slow_program_is_not_waited_for(folder: Folder) -> None:
    slow = folder.path / "slow"
    slow.write_text("#!/bin/sh\nsleep 20\n")
    slow.chmod(0o755)
    folder.write(f'[extauth]\nprogram = "{slow}"\n')
    program = Program(folder)
    until(Site(folder.port).serves)
    assert program.process.stdin
    program.process.stdin.write(struct.pack("!H", 25) + b"isuser:juliet:example.org")
    program.process.stdin.flush()
    time.sleep(0.3)
    took, rest = program.end()
    assert took < 5 and rest == b"" and "stdin has ended" in program.log()


def test_copies_can_not_share_a_unix_socket_and_say_so(folder: Folder) -> None:
    folder.toml.write_text(folder.toml.read_text().replace(f"tcp:{folder.port}:interface=127.0.0.1", "unix:/tmp/x"))
    program = Program(folder)
    until(lambda: "can't share this socket" in program.log())
    program.end()


def test_twistd_lists_the_plugin(tmp_path: Path) -> None:
    assert "warmside" in run(TWISTD, "--help", cwd=tmp_path).stdout


def test_a_hash_is_one_that_the_admins_file_takes() -> None:
    hashed = run(WARMSIDE, "hash-password", input="pässword\n")
    assert hashed.returncode == 0 and bcrypt.checkpw("pässword".encode(), hashed.stdout.strip().encode())
    line = run(WARMSIDE, "hash-password", "web", input="secret")
    name, _, rest = line.stdout.strip().partition(":")
    assert name == "web" and bcrypt.checkpw(b"secret", rest.encode())


@pytest.mark.parametrize(
    ("arguments", "password", "why"),
    [
        ([], "", "empty"),
        ([], "\n", "empty"),
        ([], "x" * 73, "72 bytes"),
        ([], "ü" * 37, "72 bytes"),
        ([], "a\nb", "more than one line"),
        ([], "warmside-otp-x", "one-time"),
        (["a:b"], "secret", "colon"),
        ([""], "secret", "name"),
    ],
)
def test_a_password_or_name_that_can_be_no_admins_is_refused(arguments: list[str], password: str, why: str) -> None:
    done = run(WARMSIDE, "hash-password", *arguments, input=password)
    assert (done.returncode, done.stdout) == (2, "") and why in done.stderr
    assert len(password) < 3 or password not in done.stderr


def until_it_ends(pid: int, fd: int) -> tuple[int, bytes]:
    """The exit status of a process at a terminal, and what it still shows there."""
    shown = b""
    try:
        while chunk := os.read(fd, 1024):
            shown += chunk
    except OSError:  # how the end of a terminal looks
        pass
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown


def test_a_password_is_asked_for_twice_at_a_terminal_and_not_shown() -> None:
    def prompt(first: bytes, second: bytes) -> tuple[int, bytes]:
        pid, fd = pty.fork()
        if pid == 0:
            os.execv(WARMSIDE, [str(WARMSIDE), "hash-password"])
        shown = b""
        for wanted, typed in ((b"Password: ", first), (b"Again: ", second)):
            while wanted not in shown:
                shown += os.read(fd, 1024)
            os.write(fd, typed + b"\n")
        status, rest = until_it_ends(pid, fd)
        return status, shown + rest

    status, shown = prompt(b"secret", b"secret")
    assert status == 0 and b"$2b$" in shown and b"secret" not in shown
    status, shown = prompt(b"secret", b"other")
    assert status == 2 and b"differ" in shown


def test_the_program_answers_and_serves(folder: Folder, program: Program) -> None:
    until(Site(folder.port).serves)
    assert program.ask(b"auth:juliet:example.org:wrong") == NO
    assert program.ask(b"isuser:juliet:example.org") == NO
    assert program.ask(b"") == NO
    took, rest = program.end()
    assert (program.process.returncode, rest) == (0, b"")
    assert took < 5, "it ends within a second of stdin's end, and this machine may be slow; SIGTERM gives it ten"


def test_copies_share_the_port(folder: Folder) -> None:
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


def test_nothing_but_answers_gets_to_stdout(folder: Folder) -> None:
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
    program = Program(folder, PYTHONPATH=str(folder.path), PYTHONWARNINGS="always")
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
def test_with_a_fault_the_program_stays_refuses_and_comes_to_life(folder: Folder, fault: str, said: str) -> None:
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
    time.sleep(2.2)
    assert program.process.poll() is None
    assert program.log().count("rejecting all extauth requests") == 1
    if fault == "store":
        store.unlink()
    blocker.close()
    folder.write("")
    until(Site(folder.port).serves)
    assert program.ask(b"isuser:juliet:example.org") == NO
    assert program.end()[1] == b""


def test_at_a_terminal_a_fault_ends_the_program_with_2(folder: Folder) -> None:
    folder.write("[passwords]\nlifetime = 0\n")
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(WARMSIDE, [str(WARMSIDE), "extauth", "--config", str(folder.toml)], folder.environ)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 500, 0, 0))
    status, shown = until_it_ends(pid, fd)
    assert status == 2
    assert b"passwords.lifetime = 0: give a number from 1 to 3600" in shown


@pytest.mark.parametrize(
    ("more", "arguments", "said"),
    [
        ("[passwords]\nlifetime = 0\n", ["-n"], "passwords.lifetime = 0"),
        ("", [], "log.file: a daemon has no stderr"),
        ('[log]\nfile = "/no/such/folder/log"\n', ["-n"], 'log.file = "/no/such/folder/log": can\'t be opened'),
        ('[passwords]\nstore = "sqlite:///no/such/x"\n', ["-n"], 'passwords.store = "sqlite:///no/such/x"'),
        ('[extauth]\nusers_file = "/no/such/x"\n', [], "log.file"),
        ('[extauth]\nusers_file = "/no/such/x"\n', ["-n"], 'extauth.users_file = "/no/such/x"'),
        ('[log]\nfile = "/tmp/warmside-test.log"\n[extauth]\nusers_file = "/no/such/x"\n', [], "extauth.users_file"),
    ],
)
def test_twistd_ends_with_2_and_one_line_on_stderr(folder: Folder, more: str, arguments: list[str], said: str) -> None:
    folder.write(more)
    done = run(TWISTD, *arguments, "warmside", "--config", folder.toml, cwd=folder.path, env=folder.environ)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and done.stderr.count("\n") == 1
    assert str(folder.toml) in done.stderr
    assert not (folder.path / "twistd.pid").exists()


def test_twistd_says_what_is_wrong_with_its_arguments_on_stderr() -> None:
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


def test_twistd_serves_logs_to_stderr_and_leaves_nothing_in_its_folder(folder: Folder) -> None:
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


def test_copies_can_not_share_a_memory(folder: Folder) -> None:
    folder.write('[passwords]\nstore = "sqlite://:memory:"\n')
    program = Program(folder)
    until(lambda: "passwords.store" in program.log())
    program.end()


def test_python_dash_m_is_the_command() -> None:
    assert run(sys.executable, "-m", "warmside", "--version").stdout.startswith("warmside 0.")


def test_a_flood_of_wrong_passwords_does_not_slow_the_answers(folder: Folder, program: Program) -> None:
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
            with suppress(OSError, http.client.HTTPException):  # on a busy machine he may get no answer
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
    # One check of a password takes about 60 ms, thousands of times as long as an answer.
    assert flooded < max(50 * quiet, 0.02), (quiet, flooded)


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
