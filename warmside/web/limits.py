"""Slowing down whoever guesses admins' passwords: by address, and only the answers that say no."""

import ipaddress
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from twisted.internet.task import deferLater

from warmside.counts import UNLIMITED, ICounts
from warmside.gate import TooManyFailures

MOST_FAILURES, WINDOW = 10, 60.0
"""Failures of one address, and the seconds without a failure after which they are forgotten."""
FAILURE_TIME = 0.75
"""Seconds that an answer of no takes at least, whoever was asked about: a right name is no faster than a wrong one."""
MOST_CHECKS = 4
"""Passwords that are checked at a time for an address with too many failures."""
UNIX = "unix"

Networks = Sequence[IPv4Network | IPv6Network]


class Slowdown:
    """Counts an address's failures, where all processes see them.

    A password that is right passes from any address; what is slowed is the rate of guesses.
    """

    def __init__(self, reactor: Any, counts: ICounts) -> None:
        self._reactor = reactor
        self._counts = counts
        self._checks: Counter[str] = Counter()

    @asynccontextmanager
    async def check(self, address: str) -> AsyncIterator[None]:
        """While a password is checked.

        :raises TooManyFailures: the address has too many failures, and checks under way already.
        """
        count, rest = await self._counts.count(_key(address))
        if count >= MOST_FAILURES and self._checks[address] >= MOST_CHECKS:
            raise TooManyFailures(rest)
        self._checks[address] += 1
        try:
            yield
        finally:
            self._checks[address] -= 1
            if not self._checks[address]:
                del self._checks[address]

    async def failed(self, address: str, since: float) -> None:
        """Count a failure and let its answer wait; ``since`` is when the request came (reactor's seconds).

        :raises TooManyFailures: the address has too many by now.
        """
        await self._counts.add(_key(address), UNLIMITED, WINDOW)
        await deferLater(self._reactor, max(0.0, since + FAILURE_TIME - self._reactor.seconds()))
        count, rest = await self._counts.count(_key(address))
        if count > MOST_FAILURES:
            raise TooManyFailures(rest)


def client_address(peer: str | None, forwarded: Sequence[str], trusted: Networks) -> str:
    """The address that a request counts for.

    :param peer: the IP address at the other end of the connection; ``None`` for a unix socket.
    :param forwarded: the values of ``X-Forwarded-For``, believed as far as trusted proxies wrote them.
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


def _key(address: str) -> str:
    return f"admins {address}"
