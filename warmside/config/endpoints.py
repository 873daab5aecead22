"""Examine Twisted's endpoint strings without listening."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

KINDS = ("tcp:", "tcp6:", "ssl:", "tls:", "unix:", "systemd:")
"""Prefixes of the endpoint strings that a server can listen on."""

MAPPED_BITS = 96
"""Length of the prefix of IPv4 addresses that are written as IPv6."""

SYSTEMD = re.compile(r"systemd:domain=(INET6?|UNIX):(index=[0-9]{1,4}|name=.+)")


@dataclass(frozen=True, slots=True)
class Place:
    """The place that an endpoint string names.

    ``kind`` is ``tcp``, ``tls``, ``unix`` or ``other`` (socket activation). An empty ``interface`` means every
    interface. ``path`` is that of a unix socket.
    """

    kind: str
    interface: str = ""
    port: int = 0
    path: str = ""


def is_loopback(host: str) -> bool:
    """True if a host name or address is on loopback. The DNS is not queried."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback
    except ValueError:
        return False


def examine(description: str) -> Place:
    """Return the place that an endpoint string names.

    :raises ValueError: Twisted rejects the string; the message says why.
    """
    found: list[Place] = []
    if not description.startswith(KINDS):
        raise ValueError("expected one of " + ", ".join(KINDS))
    if description.startswith("systemd:"):
        if not SYSTEMD.fullmatch(description):
            raise ValueError("expected systemd:domain=DOMAIN:index=NUMBER or systemd:domain=DOMAIN:name=NAME")
        return Place("other")
    try:
        endpoint = serverFromString(_Recorder(found), description)
        failures: list[Failure] = []
        endpoint.listen(Factory()).addErrback(failures.append)
        for failure in failures:
            failure.raiseException()
    except Exception as error:  # parsers and the certificate library raise many types
        raise ValueError(f"Twisted rejects it ({str(error)[:100] or type(error).__name__})") from None
    return found[0]


class _Recorder:
    """A stand-in for the reactor that records the place."""

    def __init__(self, found: list[Place]) -> None:
        self._found = found

    def listenTCP(self, port: int, factory: Factory, backlog: int = 50, interface: str = "") -> None:
        if not 0 <= port <= 65535:
            raise ValueError(f"port {port} is not from 0 to 65535")
        self._found.append(Place("tcp", interface, port))

    def listenSSL(
        self, port: int, factory: Factory, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> None:
        self._found.append(Place("tls", interface, port))

    def listenUNIX(self, address: str, factory: Factory, **_: Any) -> None:
        self._found.append(Place("unix", path=address))


def read_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return a network of IP addresses. One that is written as IPv6 (``::ffff:10.0.0.0/104``) is an IPv4 network.

    :raises ValueError: the text is not a network.
    """
    network = ipaddress.ip_network(text)
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < MAPPED_BITS:
        return network
    return ipaddress.IPv4Network((mapped, network.prefixlen - MAPPED_BITS))
