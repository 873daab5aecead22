"""warmside as a process: a configuration in its own folder, and ``warmside extauth`` with pipes."""

import os
import struct
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from private_ejabberd import free_port

from tests.real.parts import ADMIN, HASH, PYTHON

YES, NO = b"\x00\x02\x00\x01", b"\x00\x02\x00\x00"
"""Responses of the extauth protocol."""
LINE = (PYTHON, "-I", "-m", "warmside")
"""The command that ejabberd runs, before the subcommand."""


class Folder:
    """A folder with a configuration, one admin and a free HTTP port."""

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
        """Write the configuration, with more TOML at its end."""
        listen = f'[http]\nlisten = "tcp:{self.port}:interface=127.0.0.1"\n'
        self.toml.write_text(f'[admins]\nfile = "{self.path}/{admins}"\n{listen}{more}')

    def listen_at(self, endpoint: str) -> None:
        """Replace the HTTP endpoint of the configuration."""
        self.toml.write_text(self.toml.read_text().replace(f"tcp:{self.port}:interface=127.0.0.1", endpoint))


class Program:
    """A ``warmside extauth`` with pipes, as ejabberd starts it.

    :param command: the command before the subcommand.
    """

    def __init__(self, folder: Folder, command: Sequence[str | Path] = LINE, **environ: str) -> None:
        self.errors = (folder.path / "stderr").open("wb+")
        self.process = subprocess.Popen(
            [*command, "extauth", "--config", folder.toml],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=folder.environ | environ,
        )

    def send(self, request: bytes) -> None:
        """Write one request."""
        assert self.process.stdin
        self.process.stdin.write(struct.pack("!H", len(request)) + request)
        self.process.stdin.flush()

    def ask(self, request: bytes) -> bytes:
        """Send one request and return the response."""
        assert self.process.stdout
        self.send(request)
        return self.process.stdout.read(4)

    def end(self) -> tuple[float, bytes]:
        """Close stdin; return the seconds until the process exited, and the unread output."""
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
        """Return the text that the process logged to stderr."""
        return Path(self.errors.name).read_text()


def end_of_terminal(pid: int, fd: int) -> tuple[int, bytes]:
    """Wait for a process at a pseudo-terminal; return its exit status and the rest of its output."""
    shown = b""
    try:
        while chunk := os.read(fd, 1024):
            shown += chunk
    except OSError:  # Linux reports the end of a terminal as EIO
        pass
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown
