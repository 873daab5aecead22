"""Endpoint strings: where one would listen, without listening."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

KINDS = ("tcp:", "tcp6:", "ssl:", "tls:", "unix:", "systemd:")
"""The endpoints of Twisted's that a server can listen on."""


SYSTEMD = re.compile(r"systemd:domain=(INET6?|UNIX):(index=[0-9]{1,4}|name=.+)")


@dataclass(frozen=True, slots=True)
class Place:
    """What an endpoint string asks for.

    ``kind`` is ``tcp``, ``tls``, ``unix`` or ``other`` (socket activation). An empty ``interface`` is
    every one of the machine's; ``path`` is a unix socket's.
    """

    kind: str
    interface: str = ""
    port: int = 0
    path: str = ""


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own, without asking the DNS."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def examine(description: str) -> Place:
    """Say where an endpoint string would listen, without listening.

    :raises ValueError: it is not an endpoint string; the message says what Twisted found wrong.
    """
    found: list[Place] = []
    if not description.startswith(KINDS):
        raise ValueError("it is none of " + ", ".join(KINDS))
    if description.startswith("systemd:"):
        if not SYSTEMD.fullmatch(description):
            raise ValueError("it is not systemd:domain=DOMAIN:index=NUMBER, or with name=NAME for index")
        return Place("other")
    try:
        endpoint = serverFromString(_Recorder(found), description)
        failures: list[Failure] = []
        endpoint.listen(Factory()).addErrback(failures.append)
        for failure in failures:
            failure.raiseException()
    except Exception as error:  # whatever a parser or a library of certificates raises
        raise ValueError(f"Twisted can't use it ({str(error)[:100] or type(error).__name__})") from None
    return found[0]


class _Recorder:
    """Stands in for the reactor while an endpoint string is examined."""

    def __init__(self, found: list[Place]) -> None:
        self._found = found

    def listenTCP(self, port: int, factory: Factory, backlog: int = 50, interface: str = "") -> None:
        if not 0 <= port <= 65535:
            raise ValueError(f"there is no port {port}")
        self._found.append(Place("tcp", interface, port))

    def listenSSL(
        self, port: int, factory: Factory, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> None:
        self._found.append(Place("tls", interface, port))

    def listenUNIX(self, address: str, factory: Factory, **_: Any) -> None:
        self._found.append(Place("unix", path=address))
