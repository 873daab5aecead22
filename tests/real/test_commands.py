"""The command line: help, exit statuses, and ``warmside hash-password``."""

import os
import pty
import subprocess
import sys

import bcrypt
import pytest

from tests.real.parts import TWISTD, WARMSIDE, run
from tests.real.processes import end_of_terminal


def test_help_and_version_work() -> None:
    for arguments in (["--help"], ["extauth", "--help"], ["relay", "--help"], ["sample", "--help"], ["--version"]):
        done = run(WARMSIDE, *arguments)
        assert done.returncode == 0 and "warmside" in done.stdout
    assert "hash-password" in run(WARMSIDE, "hash-password", "--help").stdout
    assert "0.1.0" in run(TWISTD, "warmside", "--version").stdout
    assert "--config" in run(TWISTD, "warmside", "--help").stdout


def test_a_wrong_command_line_exits_with_2() -> None:
    for arguments in ([], ["nonsense"], ["extauth", "--nonsense"]):
        done = run(WARMSIDE, *arguments, stdin=subprocess.DEVNULL)
        assert (done.returncode, done.stdout) == (2, "") and "usage" in done.stderr


def test_hash_password_prints_a_line_of_the_admins_file() -> None:
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
def test_hash_password_rejects_a_password_or_name_that_no_admin_can_have(
    arguments: list[str], password: str, why: str
) -> None:
    done = run(WARMSIDE, "hash-password", *arguments, input=password)
    assert (done.returncode, done.stdout) == (2, "") and why in done.stderr
    assert len(password) < 3 or password not in done.stderr


def test_hash_password_asks_twice_at_a_terminal_without_echo() -> None:
    def prompt(first: bytes, second: bytes) -> tuple[int, bytes]:
        pid, fd = pty.fork()
        if pid == 0:
            os.execv(WARMSIDE, [str(WARMSIDE), "hash-password"])
        shown = b""
        for wanted, typed in ((b"Password: ", first), (b"Again: ", second)):
            while wanted not in shown:
                shown += os.read(fd, 1024)
            os.write(fd, typed + b"\n")
        status, rest = end_of_terminal(pid, fd)
        return status, shown + rest

    status, shown = prompt(b"secret", b"secret")
    assert status == 0 and b"$2b$" in shown and b"secret" not in shown
    status, shown = prompt(b"secret", b"other")
    assert status == 2 and b"differ" in shown


def test_python_m_warmside_is_the_command() -> None:
    assert run(sys.executable, "-m", "warmside", "--version").stdout.startswith("warmside 0.")
