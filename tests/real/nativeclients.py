"""The chat clients of etc/examples/clients, each in its own process."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from tests.real.parts import ROOT, until

CLIENTS = ROOT / "etc/examples/clients"
PROGRAMS = {"xmpp": "xmpp_client.mjs", "stanza": "stanza_client.mjs", "slixmpp": "slixmpp_client.py"}


def packages() -> Path:
    """Return the folder with the clients' npm packages; npm installs them unless they are there."""
    folder = ROOT / ".venv/clients"
    folder.mkdir(exist_ok=True)
    with (ROOT / ".venv/clients.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # against another worker of the same test run
        wanted = (CLIENTS / "package.json").read_text()
        stamp = folder / "installed.json"
        if not stamp.exists() or stamp.read_text() != wanted:
            (folder / "package.json").write_text(wanted)
            npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
            subprocess.run(npm, check=True, capture_output=True, timeout=300)
            stamp.write_text(wanted)
    return folder / "node_modules"


def installed(folder: Path) -> Path:
    """Put the clients and their packages into an empty folder, and return it."""
    for path in CLIENTS.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "node_modules").symlink_to(packages())
    return folder


class NativeClient:
    """A running client of one user.

    :param name: a key of `PROGRAMS`, and the name of its user.
    :param folder: the folder of `installed`.
    :param environ: what the client reads from the environment.
    """

    def __init__(self, name: str, folder: Path, **environ: str) -> None:
        self.name = name
        program = folder / PROGRAMS[name]
        command = [sys.executable if program.suffix == ".py" else "node", str(program)]
        self._output = folder / f"{name}.log"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(command, env=os.environ | environ, stdout=output, stderr=output)

    def lines(self) -> list[str]:
        """Return what the client has printed."""
        return self._output.read_text().splitlines()

    def await_line(self, *starts: str, after: int = 0) -> str:
        """Wait for a line that begins with one of the texts, and return it.

        :param after: number of lines to leave out.
        """

        def found() -> list[str]:
            return [line for line in self.lines()[after:] if line.startswith(starts)]

        try:
            return str(until(found)[0])
        except AssertionError as error:
            raise AssertionError(f"{self.name} printed none of {starts}: {self.lines()[after:]}") from error

    def close(self) -> None:
        """Stop the client."""
        self.process.kill()
        self.process.wait(10)
