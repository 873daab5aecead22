"""Host names of URLs in Twisted's and hyperlink's clients."""

from typing import Any

from hyperlink import EncodedURL
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.web.client import URI, BrowserLikePolicyForHTTPS
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

CONNECT_TIMEOUT = 5.0
"""Seconds."""


class PreparedURL(EncodedURL):
    """URL whose host is ASCII already: a name or an address, as `warmside.config` accepts it.

    Reason: treq lets `EncodedURL.to_uri` encode the host by IDNA for each request. That rejects ``ejabberd_1``, a name
    of a container, and ``::1``.
    """

    def __init__(self, url: str) -> None:
        parsed = EncodedURL.from_text(url)
        super().__init__(parsed.scheme, parsed.host, parsed.path, parsed.query, port=parsed.port, rooted=True)
        self._text = url.partition("#")[0]

    def to_uri(self) -> "PreparedURL":
        """Return this URL: it is a URI already."""
        return self

    def to_text(self, with_password: bool = False) -> str:
        """Return the URL as text."""
        return self._text


class _PlainHostnameEndpoint(HostnameEndpoint):
    """Endpoint that resolves the host as it is.

    Private: `HostnameEndpoint` calls this method to encode and decode the host by IDNA, and never connects to a host
    that IDNA rejects. The system's resolver knows names with ``_``.
    """

    @staticmethod
    def _hostAsBytesAndText(host: bytes | str) -> tuple[bool, bytes, str]:
        text = host.decode("ascii") if isinstance(host, bytes) else host
        return False, text.encode("ascii"), text


@implementer(IAgentEndpointFactory)
class EndpointFactory:
    """Makes the client endpoint for a URL.

    :param policy: verifies certificates for https.
    """

    def __init__(self, reactor: Any, policy: BrowserLikePolicyForHTTPS) -> None:
        self._reactor = reactor
        self._policy = policy

    def endpointForURI(self, uri: URI) -> Any:
        """See `IAgentEndpointFactory`."""
        host = uri.host.strip(b"[]")
        endpoint = _PlainHostnameEndpoint(self._reactor, host, uri.port, timeout=CONNECT_TIMEOUT)
        if uri.scheme == b"https":
            return wrapClientTLS(self._policy.creatorForNetloc(host, uri.port), endpoint)
        return endpoint
