"""Determine the address that a request's failures are counted for."""

import ipaddress
import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

UNIX = "unix"
"""Address of clients of unix sockets without ``X-Forwarded-For``."""

WITH_PORT = re.compile(r"(\[[^]]*\]|[0-9.]+):[0-9]{1,5}")
"""An address with a port, as some proxies write it: ``203.0.113.7:51234``, ``[2001:db8::7]:443``."""

Networks = Sequence[IPv4Network | IPv6Network]


def parse_address(text: str) -> IPv4Address | IPv6Address:
    """Return an IP address. An IPv4 address that is written as IPv6 (``::ffff:203.0.113.7``) is an IPv4 address.

    :raises ValueError: the text is not an IP address.
    """
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def client_address(peer: str | None, forwarded: Sequence[str], trusted: Networks) -> str:
    """Return the address that a request's failures are counted for.

    :param peer: the IP address of the connection's peer; ``None`` for a unix socket, whose peer is a trusted proxy.
    :param forwarded: the values of ``X-Forwarded-For``; only entries that trusted proxies added are used.
    :param trusted: networks of the trusted proxies.
    :returns: an IPv4 address, an IPv6 network of 64 bits, or ``unix``.
    """
    address = _parsed(peer or "")
    hops = [hop for value in forwarded for hop in value.split(",")]
    while hops and (address is None or _is_trusted(address, trusted)):
        hop = _parsed(hops.pop())
        if hop is None:
            break
        address = hop
    if address is None:
        return UNIX
    if isinstance(address, IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    text = text.strip()
    with_port = WITH_PORT.fullmatch(text)
    try:
        return parse_address((with_port[1] if with_port else text).strip("[]").partition("%")[0])
    except ValueError:
        return None


def _is_trusted(address: IPv4Address | IPv6Address, trusted: Networks) -> bool:
    return any(address.version == network.version and address in network for network in trusted)
