"""A resolver that knows the name of a container."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from zope.interface import implementer

CONTAINER = "ejabberd_1"
"""A name that IDNA rejects."""

reactor: Any = _reactor


@implementer(IHostnameResolver, IHostResolution)
class _Resolver:
    """Resolves `CONTAINER` to 127.0.0.1, and every other name as before."""

    name = CONTAINER

    def __init__(self, others: Any) -> None:
        self._others = others

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        """See `IHostnameResolver`."""
        if hostName != CONTAINER:
            return self._others.resolveHostName(
                resolutionReceiver, hostName, portNumber, addressTypes, transportSemantics
            )
        resolutionReceiver.resolutionBegan(self)
        resolutionReceiver.addressResolved(IPv4Address("TCP", "127.0.0.1", portNumber))
        resolutionReceiver.resolutionComplete()
        return self

    def cancel(self) -> None:
        """See `IHostResolution`."""


@contextmanager
def knowing_the_container() -> Iterator[None]:
    """Let the reactor resolve the name of a container."""
    before = reactor.installNameResolver(_Resolver(reactor.nameResolver))
    try:
        yield
    finally:
        reactor.installNameResolver(before)
