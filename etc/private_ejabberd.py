"""Run a private ejabberd: in its own folder, as the current user, on free loopback ports.

The quickstart, the cluster and the tests use it. Standard library only. It changes neither the system's ejabberd nor
its configuration. A single one needs no epmd, no cookie and no node name; `private_cluster` gives them to its nodes.
"""

import glob
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path


class EjabberdFailed(Exception):
    """ejabberd can't be started, or exited unexpectedly. The text has the reason and the ends of its logs."""


_reservations: list[int] = []
"""File descriptors of the sockets that reserve ports for this process."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nothing listens, and reserve it until this process ends.

    No other call returns this port meanwhile, nor does a call in another process: each port has an abstract unix
    socket, which one process can bind. The kernel uses no port below 32768 for outgoing connections.
    """
    while True:
        port = random.randrange(20000, 32768)
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0warmside-port-{port}")
            with socket.socket() as sock:
                sock.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
        else:
            _reservations.append(reservation.detach())
            return port


def answers(port: int) -> bool:
    """Return True if 127.0.0.1 accepts a connection on this port within a second."""
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def library_folder() -> Path | None:
    """Return the folder that holds ``ejabberd-VERSION``, or ``None`` if ejabberd is not installed."""
    patterns = ("/usr/lib/*/ejabberd-[0-9]*", "/usr/lib/ejabberd-[0-9]*", "/opt/ejabberd-*/lib/ejabberd-[0-9]*")
    for pattern in patterns:
        for found in sorted(glob.glob(pattern), reverse=True):
            if (Path(found) / "ebin").is_dir():
                return Path(found).parent
    return None


def version() -> str:
    """Return the version of the installed ejabberd, such as ``23.01``.

    :raises EjabberdFailed: ejabberd is not installed.
    """
    folder = library_folder()
    if folder is None:
        raise EjabberdFailed("ejabberd is not installed")
    return sorted(path.name for path in folder.glob("ejabberd-[0-9]*"))[-1].partition("-")[2]


class PrivateEjabberd:
    """An ejabberd process.

    :param folder: its files and logs; created if it is missing.
    :param configuration: the text of its ``ejabberd.yml``.
    :param port: one of the ports that it listens on; `start` waits for it.
    :param options: further arguments for ``erl``, such as a node name.
    """

    def __init__(self, folder: Path, configuration: str, port: int, options: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.port = port
        self.log = folder / "ejabberd.log"
        self._output = folder / "output.log"
        self._configuration = configuration
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process ID of the Erlang virtual machine."""
        assert self._process is not None
        return self._process.pid

    def start(self, *, environ: dict[str, str] | None = None, within: float = 60) -> None:
        """Start ejabberd and wait until it listens.

        :param environ: the environment; ``None`` means this process's.
        :param within: maximum of seconds until it listens.
        :raises EjabberdFailed: it is not installed, exits, or does not listen in time.
        """
        libraries, erl = library_folder(), shutil.which("erl")
        if libraries is None or erl is None:
            raise EjabberdFailed("ejabberd is not installed")
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "ejabberd.yml").write_text(self._configuration, encoding="utf-8")
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [erl, "-noinput", *self._options, "-mnesia", "dir", f'"{self.folder / "spool"}"', "-s", "ejabberd"],
                cwd=self.folder,
                env=(environ or dict(os.environ))
                | {
                    "ERL_LIBS": str(libraries),
                    "EJABBERD_CONFIG_PATH": str(self.folder / "ejabberd.yml"),
                    "EJABBERD_LOG_PATH": str(self.log),
                    "ERL_CRASH_DUMP": str(self.folder / "erl_crash.dump"),
                    "HOME": str(self.folder),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + within
        while not answers(self.port):
            if self._process.poll() is not None:
                raise EjabberdFailed(f"ejabberd exited unexpectedly:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                self.stop()
                raise EjabberdFailed(
                    f"ejabberd does not listen on port {self.port} within {within:g} s:\n{self.log_tail()}"
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop ejabberd and its extauth programs; kill it after 15 seconds. Return when it has exited."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def running(self) -> bool:
        """Return True if ejabberd was started and has not exited."""
        return self._process is not None and self._process.poll() is None

    def programs(self) -> set[int]:
        """Return the process IDs of its extauth programs: Erlang's helper process starts them."""
        parents: dict[int, int] = {}
        found: set[int] = set()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    if b"extauth" in (entry / "cmdline").read_bytes().split(b"\0"):
                        found.add(int(entry.name))
                except OSError:  # it has exited
                    continue
        return {program for program in found if parents.get(parents[program]) == self.pid}

    def log_tail(self) -> str:
        """Return the last 15 lines of each of its logs."""
        lines: list[str] = []
        for path in (self.log, self._output):
            if path.exists():
                lines += [f"{path}:", *path.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]]
        return "\n".join(lines)
