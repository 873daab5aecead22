"""A configuration in a temporary folder, for tests of the code that connects the parts."""

import os
import shutil
import socket
import sqlite3
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet import reactor as installed_reactor
from twisted.trial.unittest import TestCase

from warmside.app import listening
from warmside.app.service import WarmsideService
from warmside.config.loader import load
from warmside.config.settings import Config
from warmside.store import database

reactor: Any = installed_reactor
ADMIN = "webapp"
PASSWORD = "correct horse"
HASH = "$2b$04$kyJsznY2X3rSJNsUrhJ7hO0rMy82dkH52dfbwD.zBH6cFziE94EKG"


class Folder:
    """A folder with a configuration, an admins file, a runtime folder and a state folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.toml = path / "warmside.toml"
        self.admins = path / "admins"
        self.private = path / "runtime" / "private"
        self.write_admins(ADMIN)
        self.write()

    def write_admins(self, *names: str) -> None:
        """Write an admins file; every admin has the same password."""
        self.admins.write_text("".join(f"{name}:{HASH}\n" for name in names))
        self.admins.chmod(0o600)

    def write(self, more: str = "", listen: str = "tcp:0:interface=127.0.0.1") -> None:
        """Write the configuration file."""
        self.toml.write_text(f'[admins]\nfile = "{self.admins}"\n[http]\nlisten = "{listen}"\n{more}')

    def load(self) -> Config:
        """Read the configuration file."""
        return load(self.toml)

    def make_private(self) -> None:
        """Make the folder for one-time passwords."""
        self.private.mkdir(parents=True, mode=0o700)
        self.private.parent.chmod(0o750)


def folder_for(test: TestCase) -> Folder:
    """A folder for one test, named in the environment."""
    path = tempfile.mkdtemp()
    test.addCleanup(shutil.rmtree, path)
    given = {"RUNTIME_DIRECTORY": f"{path}/runtime", "STATE_DIRECTORY": f"{path}/state"}
    environ = patch.dict(os.environ, given)
    environ.start()
    test.addCleanup(environ.stop)
    return Folder(Path(path))


class Databases:
    """Record the databases that are opened during one test."""

    def __init__(self, test: TestCase) -> None:
        self.opened: list[str] = []
        self.connections: list[sqlite3.Connection] = []
        self._open_database = database.open_database
        test.patch(database, "open_database", self._open)

    def _open(self, path: Path | None, schema: Any, **options: Any) -> sqlite3.Connection:
        self.connections.append(self._open_database(path, schema, **options))
        self.opened.append(path.name if path is not None else "memory")
        return self.connections[-1]

    def open(self) -> int:
        """Number of connections that are not closed."""
        return sum(not _is_closed(connection) for connection in self.connections)


class ServiceCase(TestCase):
    """Make services, and record what they open."""

    timeout = 60

    def setUp(self) -> None:
        self.folder = folder_for(self)
        self.databases = Databases(self)
        self.sockets: list[socket.socket] = []
        bind = listening._bound_socket

        def recorded(*arguments: Any, **options: Any) -> socket.socket:
            self.sockets.append(bind(*arguments, **options))
            return self.sockets[-1]

        self.patch(listening, "_bound_socket", recorded)

    def made(self, *, shared: bool = True) -> WarmsideService:
        return WarmsideService(self.folder.load(), reactor, shared=shared)


def _is_closed(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return True
    return False
