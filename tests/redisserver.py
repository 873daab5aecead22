"""Start real Redis servers: each in a folder of its own, on a free port, without the system's configuration."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import hiredis
from private_ejabberd import free_port

from warmside.config.settings import RedisPlace, Shared

START_TIMEOUT = 30.0
"""Seconds within which a server has to answer."""


class RedisServer:
    """A redis-server process. It listens on a port and on a unix socket, and writes nothing to its folder.

    :param options: words of its command line, such as ``"--requirepass", "secret"``.
    :param tls: file with a certificate and its key: then the port speaks TLS alone.
    """

    def __init__(self, *options: str, tls: Path | None = None, bind: str = "127.0.0.1") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="warmside-redis-"))
        self.path = self.folder / "redis.sock"
        self.host = "127.0.0.1"
        self.port, self._cluster_port = free_port(), free_port()
        self.tls = tls is not None
        self._options = list(options)
        self._bind = bind
        self._process: subprocess.Popen[bytes] | None = None
        self._certificate = tls

    def start(self) -> "RedisServer":
        """Start the process, and wait until it answers."""
        ports = ["--port", str(self.port)]
        if self._certificate is not None:
            file = str(self._certificate)
            ports = ["--port", "0", "--tls-port", str(self.port), "--tls-cert-file", file, "--tls-key-file", file]
            ports += ["--tls-auth-clients", "no", "--tls-ca-cert-file", file]
        command = ["redis-server", *ports, "--bind", self._bind, "--unixsocket", str(self.path), "--save", ""]
        command += ["--cluster-port", str(self._cluster_port)]  # without it: 10,000 above the port, and maybe in use
        command += ["--dir", str(self.folder), "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen([*command, *self._options], stdout=log, stderr=log, cwd=self.folder)
        self.until_it_answers()
        return self

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The process. It was started before."""
        assert self._process is not None
        return self._process

    def until_it_answers(self) -> None:
        """Wait until the server answers on its unix socket, also with an error such as ``NOAUTH``."""
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            with suppress(OSError, hiredis.ReplyError):
                if not isinstance(self.reply("PING"), hiredis.ReplyError):
                    return
                if b"LOADING" not in str(self.reply("PING")).encode():
                    return
            log = (self.folder / "redis.log").read_text()
            assert self.process.poll() is None, log
            assert time.monotonic() < deadline, log
            time.sleep(0.01)

    def reply(self, *command: str | bytes | int) -> Any:
        """Send one command on the unix socket; return the reply, also an error."""
        return self.replies(command)[0]

    def replies(self, *commands: "tuple[Any, ...]") -> list[Any]:
        """Send commands on one connection; return the replies, also errors."""
        found: list[Any] = []
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(START_TIMEOUT)
            sock.connect(str(self.path))
            sock.sendall(b"".join(hiredis.pack_command(words) for words in commands))
            reader = hiredis.Reader()
            while len(found) < len(commands):
                data = sock.recv(1 << 16)
                if not data:
                    raise ConnectionResetError
                reader.feed(data)
                while (one := reader.gets()) is not False:
                    found.append(one)
        return found

    def command(self, *command: str | bytes | int) -> Any:
        """Send one command on the unix socket; return the reply.

        :raises hiredis.ReplyError: the reply is an error.
        """
        reply = self.reply(*command)
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def info(self, section: str = "default") -> dict[str, str]:
        """Return the fields of ``INFO``."""
        lines = self.command("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def settings(self, *, unix: bool = False, prefix: str = "warmside:", ca_file: Path | None = None) -> Shared:
        """Return the table ``[shared]`` that leads to this server."""
        if unix:
            return Shared(f"redis+unix://{self.path}", RedisPlace("", 0, False, self.path, None, 0), prefix=prefix)
        host = "localhost" if self.tls else self.host
        place = RedisPlace(host, self.port, self.tls, None, None, 0)
        return Shared(self.url, place, ca_file=ca_file, prefix=prefix)

    @property
    def url(self) -> str:
        """The value of ``shared.url``."""
        return f"rediss://localhost:{self.port}" if self.tls else f"redis://{self.host}:{self.port}"

    def replicate(self, primary: "RedisServer | None") -> None:
        """Become a replica of another server and wait until it is in step; ``None``: become a primary."""
        if primary is None:
            self.command("REPLICAOF", "NO", "ONE")
            return
        self.command("REPLICAOF", "127.0.0.1", primary.port)
        deadline = time.monotonic() + START_TIMEOUT
        while self.info("replication").get("master_link_status") != "up":
            assert time.monotonic() < deadline, (self.folder / "redis.log").read_text()
            time.sleep(0.01)

    def freeze(self) -> None:
        """Stop the process as SIGSTOP does: it accepts connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the process go on."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process and wait for its end. `start` starts it again, empty."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Kill the process, if it runs, and remove its folder."""
        if self._process is not None and self._process.poll() is None:
            with suppress(OSError):
                os.kill(self._process.pid, signal.SIGCONT)
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def running_server() -> Iterator[RedisServer]:
    """Run a server; stop it at the end. For fixtures."""
    server = RedisServer().start()
    yield server
    server.stop()
