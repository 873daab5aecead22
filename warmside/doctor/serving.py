"""Checks of the processes that serve the configuration, and of what answers where it says."""

import http.client
import json
import os
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from twisted.internet.threads import deferToThread

from warmside.config import running
from warmside.config.endpoints import Place, examine
from warmside.config.folders import SHARED_MEMORY
from warmside.config.running import EVERY_INTERFACE, FOLDER, Running
from warmside.doctor import edits
from warmside.doctor.context import Context
from warmside.findings import RESTART_WARMSIDE, Finding, make

TIMEOUT = 3.0
"""Seconds for one request, and for each read of its response."""
MAX_BODY = 4096
"""Bytes of a response that are read."""


def records(context: Context) -> list[Running]:
    """Return the records of all processes of warmside on this machine that this user can read."""
    runtime = [each.environ.get("RUNTIME_DIRECTORY", "").split(":")[0] for each in context.warmsides if each.environ]
    places = [Path(folder) / FOLDER for folder in dict.fromkeys((*runtime, "/run/warmside")) if folder]
    places += [folder / FOLDER for folder in sorted(SHARED_MEMORY.glob("warmside-*"))]
    found: list[Running] = []
    for place in places:
        with context.missing_on_error(f"processes of warmside in {place}"), suppress(FileNotFoundError):
            if place.stat().st_uid in trusted_users(context):
                found += running.read_records([place])
    return list({(each.process, each.configuration): each for each in found}.values())


def trusted_users(context: Context) -> set[int]:
    """Return the users whose records and stores are used. Any other user could write false ones."""
    return {0, os.geteuid()} | {account.uid for account in (context.user, context.service_user) if account is not None}


def serving(context: Context) -> Running | None:
    """Return a process that serves the configuration; ``None`` if there is none, or its record can't be read."""
    own = str(context.options.config.resolve())
    return next((each for each in records(context) if each.configuration == own and each.serves), None)


def mixed_configurations(context: Context) -> Iterator[Finding]:
    """Find processes of other configurations on the port or in the runtime folder of this one."""
    if context.config is None:
        return
    own, found = str(context.options.config.resolve()), records(context)
    mine = [each for each in found if each.configuration == own]
    if not mine:
        # No process runs with this configuration. One of another configuration may have its port.
        listens = (*context.config.http.listen, *context.config.extauth.listen)
        mine = [Running(0, own, _addresses(listens), "", None, None, running.network_namespace())]
    for other in found:
        shared = next(filter(None, (each.conflict(other) for each in mine)), None)
        if shared is not None:
            fault = f"process {other.process} runs with another configuration, {other.configuration}, {shared}"
            cure = (
                "Run one configuration on one port and in one runtime folder. This command stops the other process. "
                "Remove what starts it, too, or it starts again:\n"
                f"$ kill {other.process}"
            )
            yield make("mixed-configurations", fault=fault, cure=cure)


async def http_listeners(context: Context) -> Iterable[Finding]:
    """Find addresses of ``http.listen`` where nothing answers, or another program."""
    config = context.config
    if config is None:
        return []
    found: list[Finding] = []
    for description in config.http.listen:
        place = examine(description)
        if place.kind == "other":
            context.miss(f"http.listen = {description}: systemd chooses the address")
            continue
        kind, fault = await deferToThread(answer_at, place)
        listen = f'"{description}"'
        if kind == "nothing":
            found.append(make("not-running", listen=listen, fault=fault))
        elif kind == "foreign":
            found.append(make("foreign-listener", listen=listen, fault=fault, cure=_other_port(context, place)))
    return found


def answer_at(place: Place) -> tuple[str, str]:
    """Return what answers at a place, ``warmside``, ``foreign`` or ``nothing``, and the reason."""
    with closing(_Connection(place)) as connection:
        try:
            connection.connect()
        except ssl.SSLError:
            return "foreign", "it does not speak TLS"
        except OSError as error:
            return "nothing", _reason(error)
        try:
            connection.request("GET", "/health")
            response = connection.getresponse()
            body = response.read(MAX_BODY)
        except TimeoutError:
            return "nothing", f"no response within {TIMEOUT:g} s"
        except (OSError, http.client.HTTPException):
            return "foreign", "the response is not HTTP"
        headers = {name.lower() for name in response.headers}
    if response.status == 200 and "x-request-id" in headers and _is_health(body):
        return "warmside", ""
    return "foreign", f"HTTP {response.status}"


class _Connection(http.client.HTTPConnection):
    """A connection to a place. Nothing secret is sent, so that no certificate is verified."""

    def __init__(self, place: Place) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._place = place

    def connect(self) -> None:
        """Connect."""
        place = self._place
        if place.kind == "unix":
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(TIMEOUT)
            self.sock.connect(place.path)
            return
        host = place.interface
        if host in EVERY_INTERFACE:
            host = "::1" if host == "::" else "127.0.0.1"
        self.sock = socket.create_connection((host, place.port), TIMEOUT)
        if place.kind == "tls":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.sock = context.wrap_socket(self.sock)


def _is_health(body: bytes) -> bool:
    try:
        value = json.loads(body)
    except ValueError:
        return False
    return isinstance(value, dict) and value.get("status") == "ok"


def _addresses(descriptions: Iterable[str]) -> tuple[str, ...]:
    return tuple(filter(None, map(running.address_of, descriptions)))


def _reason(error: OSError) -> str:
    return f"no answer within {TIMEOUT:g} s" if isinstance(error, TimeoutError) else os.strerror(error.errno or 0)


def _other_port(context: Context, place: Place) -> str:
    """Return what gives ``http.listen`` a port that is free now."""
    assert context.config is not None
    if place.kind == "unix" or len(context.config.http.listen) > 1:
        return f"Stop that program, or give http.listen another address. {RESTART_WARMSIDE}"
    interface = f":interface={place.interface}".replace("::", "\\:\\:") if place.interface else ""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = edits.set_toml(context.options.config, "http", "listen", f'"tcp:{port}{interface}"')
    return (
        "Stop that program, or give http.listen another port. The web application needs the new one, too. "
        f"{RESTART_WARMSIDE}\n{command}"
    )
