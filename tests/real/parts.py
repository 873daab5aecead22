"""Run ejabberd with warmside as its extauth program, from the sample files.

The tests replace ports, paths and the settings under test in the samples, and nothing else.
"""

import base64
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from private_ejabberd import PrivateEjabberd, free_port, version

from tests.real.boshclient import BoshClient

ROOT = Path(__file__).resolve().parents[2]
WARMSIDE = Path(sys.executable).with_name("warmside")
PYTHON = Path(sys.executable)
TWISTD = Path(sys.executable).with_name("twistd")
ADMIN = "webapp"
PASSWORD = "correct horse"
HASH = "$2b$04$kyJsznY2X3rSJNsUrhJ7hO0rMy82dkH52dfbwD.zBH6cFziE94EKG"


INTERNAL = ("auth_method: [external]", "auth_method: [internal, external]")
"""Replacement in ``etc/ejabberd.yml``: users may have passwords in ejabberd, too."""
LARGE_STANZAS = ("    max_stanza_size: 65000\n", "")
"""Replacement in ``etc/ejabberd.yml``. ejabberd applies the limit of its c2s listener to BOSH, too."""


def listeners_of_all_kinds(tls: int, xmpp: int, certificate: Path) -> tuple[str, tuple[str, str]]:
    """Return listeners for BOSH with TLS and for XMPP over TCP, and the replacement in the sample that they need.

    :param tls: port of BOSH with TLS.
    :param xmpp: port of XMPP over TCP.
    :param certificate: PEM file of the certificate and its key.
    """
    listeners = (
        f'  - port: {tls}\n    ip: "127.0.0.1"\n    module: ejabberd_http\n    tls: true\n'
        "    request_handlers:\n      /bosh: mod_bosh\n"
        f'  - port: {xmpp}\n    ip: "127.0.0.1"\n    module: ejabberd_c2s\n'
    )
    return listeners, ("loglevel: info\n", f'loglevel: info\ncertfiles:\n  - "{certificate}"\n')


class Reply(NamedTuple):
    """An HTTP reply."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def exchanged(text: str, *pairs: tuple[str, str]) -> str:
    """Replace the first string of each pair by the second.

    :raises AssertionError: a string is not in the text.
    """
    for old, new in pairs:
        assert old in text, f"{old!r} is not in the sample"
        text = text.replace(old, new)
    return text


def basic(name: str = ADMIN, password: str = PASSWORD) -> str:
    """Return the value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def until(condition: Callable[[], Any], within: float = 60) -> Any:
    """Call a function until its result is true, and return the result.

    :param within: maximum of seconds.
    :raises AssertionError: the time is over.
    """
    deadline = time.monotonic() + within
    while not (result := condition()):
        assert time.monotonic() < deadline, f"the condition is still false after {within:g} s"
        time.sleep(0.05)
    return result


class Site:
    """An HTTP client for warmside's interface."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self.port = port
        self._address = address

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """Send one request on a new connection and return the reply."""
        connection = http.client.HTTPConnection(self._address, self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def warm(self, accept: str = "application/json", /, **fields: object) -> Reply:
        """Send ``POST /warm`` as the admin, with JSON."""
        return self.post("/warm", accept, **fields)

    def post(self, path: str, accept: str = "application/json", /, **fields: object) -> Reply:
        """Send a POST request as the admin, with JSON."""
        headers = {"Authorization": basic(), "Accept": accept, "Content-Type": "application/json"}
        return self.request("POST", path, json.dumps(fields).encode(), headers)

    def serves(self) -> bool:
        """Return True if ``/health`` answers 200."""
        try:
            return self.request("GET", "/health").status == 200
        except OSError:
            return False

    def metrics(self) -> str:
        """Return the metrics once every process has written its counts: a scrape writes those of its process."""
        return [self.request("GET", "/metrics").body.decode() for _ in range(24)][-1]


class Server(Site):
    """A private ejabberd with warmside as its extauth program.

    :param folder: all files of both.
    :param yml: replacements in ``etc/ejabberd.yml``, see `exchanged`.
    :param toml: text appended to ``etc/warmside.toml``.
    :param listeners: text appended to ejabberd's listeners.
    :param program: command line of the extauth program; default: ``python -I -m warmside extauth``.
    :param erl: further arguments of ``erl``.
    """

    def __init__(
        self,
        folder: Path,
        *yml: tuple[str, str],
        toml: str = "",
        listeners: str = "",
        program: str | None = None,
        erl: tuple[str, ...] = (),
    ) -> None:
        super().__init__(free_port())
        self.folder = folder
        self.bosh = free_port()
        self.api = free_port()
        self.toml = folder / "warmside.toml"
        self.admins = folder / "admins"
        self.store = folder / "runtime" / "private" / "passwords.sqlite"
        self.users = folder / "state" / "users.sqlite"
        self.admins.write_text(f"{ADMIN}:{HASH}\n")
        self.admins.chmod(0o600)
        self.toml.write_text(self.sample_toml() + toml)
        api = (
            f'  - port: {self.api}\n    ip: "127.0.0.1"\n    module: ejabberd_http\n'
            "    request_handlers:\n      /api: mod_http_api\n"
        )
        permissions = 'api_permissions:\n  tests:\n    who:\n      - ip: 127.0.0.0/8\n    what: "*"\n'
        text = exchanged(
            (ROOT / "etc/ejabberd.yml").read_text(),
            ("port: 5282", f"port: {self.bosh}"),
            ("port: 5222\n", f'port: {free_port()}\n    ip: "127.0.0.1"\n'),
            (
                "/opt/warmside/bin/python -I -m warmside extauth --config /etc/warmside/warmside.toml",
                program or f"{PYTHON} -I -m warmside extauth --config {self.toml}",
            ),
            ("listen:\n", permissions + "listen:\n" + api + listeners),
            ("modules:\n", "modules:\n  mod_http_api: {}\n  mod_admin_extra: {}\n"),
            *yml,
        )
        self.ejabberd = PrivateEjabberd(folder / "ejabberd", text, self.bosh, erl)

    def sample_toml(self) -> str:
        """Return the sample configuration with this server's ports and paths."""
        return exchanged(
            (ROOT / "etc/warmside.toml").read_text(),
            ('"/etc/warmside/admins"', f'"{self.admins}"'),
            ('# listen = "tcp:5281:interface=127.0.0.1"', f'listen = "tcp:{self.port}:interface=127.0.0.1"'),
            ('# url = "http://127.0.0.1:5282/bosh"', f'url = "http://127.0.0.1:{self.bosh}/bosh"', ),
        )  # fmt: skip

    def attached(self, jid: str, **fields: object) -> BoshClient:
        """Warm a session with ``wait`` of one second, and attach to it."""
        reply = self.warm(jid=jid, **{"wait": 1} | fields)
        assert reply.status == 200, reply.body
        return BoshClient(self.bosh, jid.partition("@")[2].partition("/")[0]).attach(reply.json())

    @property
    def environ(self) -> dict[str, str]:
        """The environment of warmside's processes, with this server's folders."""
        return dict(os.environ) | {
            "RUNTIME_DIRECTORY": str(self.folder / "runtime"),
            "STATE_DIRECTORY": str(self.folder / "state"),
        }

    def start(self, *, serving: bool = True) -> "Server":
        """Start ejabberd; wait for warmside unless ``serving`` is False."""
        self.ejabberd.start(environ=self.environ)
        if serving:
            until(self.serves)
        return self

    def stop(self) -> None:
        """Stop ejabberd, and thereby warmside."""
        self.ejabberd.stop()

    def command(self, name: str, **arguments: object) -> Any:
        """Run an ejabberd command and return its result.

        Later releases have several versions of a command; version 0 is the one of 23.01.

        :param name: the command's name, or with a version ``NAME/v1``.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.api, timeout=30)
        path = f"/api/{name}/v0" if version() >= "24" and "/" not in name else f"/api/{name}"
        connection.request("POST", path, json.dumps(arguments), {"Content-Type": "application/json"})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        assert response.status == 200, (name, response.status, body)
        return json.loads(body)

    def connected(self) -> int:
        """Return the number of connected sessions."""
        return len(self.command("connected_users"))

    def offline_messages(self, user: str) -> int:
        """Return the number of messages that wait for a user."""
        name = "get_offline_count/v1" if version() >= "24" else "get_offline_count"  # v0 of 24.12 is always 400
        answer = self.command(name, user=user, host="example.org")
        return int(answer["value"] if isinstance(answer, dict) else answer)

    def sessions(self, user: str) -> list[str]:
        """Return the full JIDs of a user's sessions; a name with a final ``*`` is a prefix of names."""
        start = user.removesuffix("*") if user.endswith("*") else f"{user}@"
        return [jid for jid in self.command("connected_users") if jid.startswith(start)]

    def programs(self) -> list[int]:
        """Return the process IDs of this ejabberd's extauth programs."""
        marker = str(self.toml)
        parents: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                except OSError:
                    continue
                if marker in command and "extauth" in command and "python" in command[0]:
                    parents[int(entry.name)] = parent
        # A forked child has the command line of its parent until it calls exec.
        return [process for process, parent in parents.items() if parent not in parents]

    def output(self) -> str:
        """Return the log of ejabberd and warmside."""
        return (self.folder / "ejabberd" / "output.log").read_text()


def run(*command: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, for at most 60 seconds, and capture its output."""
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, timeout=60, **options
    )
