"""``warmside announce`` as a process."""

import grp
import os
import pty
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from tests.app.configuration import HASH
from warmside.store.sqlite import SQLiteKnownUsers

JULIET = "juliet@example.org"


class Place:
    """A folder with a configuration and a state folder, and the command."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.toml = path / "warmside.toml"
        self.state = path / "state"
        self.file = self.state / "users.sqlite"
        (path / "admins").write_text(f"web:{HASH}\n")
        (path / "admins").chmod(0o600)
        self.write("")

    def write(self, more: str) -> None:
        """Write the configuration, with more TOML at its end."""
        self.toml.write_text(f'[admins]\nfile = "{self.path}/admins"\n{more}')

    def start(self, *arguments: str, stdin: "IO[bytes] | int | None" = subprocess.PIPE, **options: Any) -> Any:
        """Start the command. A job in the background of a shell ignores SIGINT; this command does not."""
        interrupts = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return self._start(arguments, stdin, options)
        finally:
            signal.signal(signal.SIGINT, interrupts)

    def _start(self, arguments: Sequence[str], stdin: "IO[bytes] | int | None", options: dict[str, Any]) -> Any:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        environ = dict(os.environ) | {"STATE_DIRECTORY": str(self.state)}
        command = [sys.executable, "-m", "warmside", "announce", "--config", str(self.toml), *arguments]
        return subprocess.Popen(command, stdin=stdin, env=environ, **options)

    def run(self, text: str | bytes, *arguments: str) -> tuple[int, str, str]:
        """Run the command with this text on stdin; return status, output and errors."""
        process = self.start(*arguments)
        output, errors = process.communicate(text.encode() if isinstance(text, str) else text, timeout=60)
        return process.returncode, output.decode(), errors.decode()

    def known(self, jids: Sequence[str]) -> list[bool]:
        """Return which users exist."""
        users = SQLiteKnownUsers(self.file)
        try:
            return [users.exists(jid) for jid in jids]
        finally:
            users.close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_users_of_stdin_or_a_file_are_announced_and_counted(place: Place) -> None:
    done = place.run("\ufeffJuliet@Example.org\r\n\n  \nromeo@example.org\nJULIET@example.org")
    assert done == (0, f"3 users announced, 2 of them new, in {place.file}\n", "")
    assert place.known([JULIET, "romeo@example.org", "x@example.org"]) == [True, True, False]
    (place.path / "list").write_text("romeo@example.org\nj\xfcrgen@b\xfccher.example\n")
    status, output, errors = place.run("", str(place.path / "list"))
    assert (status, errors) == (0, "") and output.startswith("2 users announced, 1 of them new")
    assert place.known(["j\xfcrgen@b\xfccher.example"]) == [True]
    assert place.run("")[:2] == (0, f"0 users announced, 0 of them new, in {place.file}\n")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"romeo", "no local part"),
        (b"romeo@example.org/orchard", "full JID"),
        (b"romeo@example.org benvolio@example.org", "not a domain name"),
        (b"\xff@example.org", "not UTF-8"),
        (b"x" * 70_000, "longer than"),
        (b"Admin@example.org", "policy"),
    ],
)
def test_a_bad_line_is_named_and_nothing_of_its_call_is_done(place: Place, bad: bytes, reason: str) -> None:
    jids = [f"user{number}@example.org" for number in range(1002)]
    text = "\n".join(jids).encode() + b"\n" + bad + b"\nbenvolio@example.org\n"
    status, output, errors = place.run(text)
    assert (status, output) == (1, "")
    assert "stdin: line 1003: " in errors and reason in errors and len(errors.splitlines()) == 1
    assert "1000 users announced, 1000 of them new" in errors
    assert place.known([jids[0], jids[999], jids[1000], "benvolio@example.org"]) == [True, True, False, False]
    status, output, _ = place.run("\n".join(jids))
    assert status == 0 and output.startswith("1002 users announced, 2 of them new")


@pytest.mark.parametrize(
    ("more", "arguments", "status", "named"),
    [
        ("[nonsense]\n", [], 2, "nonsense"),
        ('[extauth]\nusers = "any"\n', [], 2, "extauth.users"),
        ('[extauth]\nurl = "http://127.0.0.1:1/"\n', [], 2, "extauth.url"),
        ("", ["/nonexistent/list"], 2, "/nonexistent/list"),
        ('[extauth]\nusers_file = "/nonexistent/users.sqlite"\n', [], 1, "extauth.users_file"),
    ],
)
def test_a_fault_of_the_set_up_is_named(place: Place, more: str, arguments: list[str], status: int, named: str) -> None:
    place.write(more)
    result = place.run(JULIET, *arguments)
    assert result[:2] == (status, "") and named in result[2] and len(result[2].splitlines()) == 1


def test_progress_is_shown_on_a_terminal_alone(place: Place) -> None:
    ours, terminal = pty.openpty()
    process = place.start(stderr=terminal)
    os.close(terminal)
    output, _ = process.communicate(
        "".join(f"user{number}@example.org\n" for number in range(2500)).encode(), timeout=60
    )
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    counts = re.findall(r"\r(\d+) users announced, \d+ of them new", shown)
    assert counts == ["0", "1000", "2000", "2500"]
    assert output.startswith(b"2500 users announced")


def test_an_interrupt_ends_the_command_and_says_what_was_done(place: Place) -> None:
    process = place.start()
    # Not a whole call: the rest waits for more lines.
    process.stdin.write("".join(f"user{number}@example.org\n" for number in range(1500)).encode())
    process.stdin.flush()
    ours = SQLiteKnownUsers(_made(place.file))
    while not ours.exists("user999@example.org"):
        assert process.poll() is None
    ours.close()
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and output == b""
    assert errors.decode() == (
        "warmside: interrupted. 1000 users announced, 1000 of them new; run the command again to announce all\n"
    )
    assert place.known(["user999@example.org", "user1000@example.org"]) == [True, False]


@pytest.mark.parametrize("full", [False, True], ids=["broken pipe", "/dev/full"])
def test_a_result_that_cannot_be_written_is_an_error_and_all_users_are_announced(place: Place, full: bool) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    if full:
        os.close(writer)
        writer = os.open("/dev/full", os.O_WRONLY)
    process = place.start(stdout=writer)
    os.close(writer)
    _, errors = process.communicate(f"{JULIET}\nromeo@example.org\n".encode(), timeout=60)
    assert process.returncode == 1
    shown = errors.decode().splitlines()
    assert len(shown) == 1 and shown[0].startswith("warmside: 2 users announced, 2 of them new"), errors
    assert place.known([JULIET, "romeo@example.org"]) == [True, True]


@pytest.mark.parametrize("configured", [False, True], ids=["state folder", "users_file"])
def test_all_files_belong_to_the_owner_of_the_folder(configured: bool) -> None:
    """As root, the folder belongs to another user, who could not write to root's files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        place = Place(folder)
        place.state.mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(place.state, "nobody", grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name)
        if configured:
            place.write(f'[extauth]\nusers_file = "{place.file}"\n')
        owner = place.state.stat().st_uid
        for _ in range(2):
            assert place.run(JULIET)[0] == 0
            assert {path.stat().st_uid for path in place.state.iterdir()} == {owner}
        assert place.file.exists()


def _made(file: Path) -> Path:
    """Make the folder of a file."""
    file.parent.mkdir(mode=0o700, exist_ok=True)
    return file
