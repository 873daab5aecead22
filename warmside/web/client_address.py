"""Determine the address that a request's failures are counted for."""

import ipaddress
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

UNIX = "unix"
"""Address of all clients of unix sockets."""

Networks = Sequence[IPv4Network | IPv6Network]


def client_address(peer: str | None, forwarded: Sequence[str], trusted: Networks) -> str:
    """Return the address that a request's failures are counted for.

    :param peer: the IP address of the connection's peer; ``None`` for a unix socket.
    :param forwarded: the values of ``X-Forwarded-For``; only entries that trusted proxies added are used.
    :param trusted: networks of the trusted proxies.
    :returns: an IPv4 address, an IPv6 network of 64 bits, or ``unix``.
    """
    address = _parsed(peer or "")
    if address is None:
        return UNIX
    hops = [hop for value in forwarded for hop in value.split(",")]
    while hops and _is_trusted(address, trusted):
        hop = _parsed(hops.pop())
        if hop is None:
            break
        address = hop
    if isinstance(address, IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.strip().strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_trusted(address: IPv4Address | IPv6Address, trusted: Networks) -> bool:
    return any(address.version == network.version and address in network for network in trusted)
