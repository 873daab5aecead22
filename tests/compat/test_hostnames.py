"""treq's use of the URLs of `warmside/compat/hostnames.py`: a failure means that a release of treq has changed it."""

from typing import Any

import pytest
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent
from zope.interface import implementer

from warmside.compat.hostnames import PreparedURL


@implementer(IAgent)
class Agent:
    """Records the address of a request."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bytes]] = []

    def request(self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: Any = None) -> Any:
        self.seen.append((method, uri))
        return fail(ConnectionLost())


@pytest.mark.parametrize("host", ["xn--mnchen-3ya.example", "ejabberd_1", "[::1]"])
def test_treq_takes_a_prepared_url_as_it_is(host: str) -> None:
    agent, url = Agent(), PreparedURL(f"http://{host}:5282/bosh?x=%41#y")
    posted: Deferred[Any] = HTTPClient(agent).request("POST", url, data=b"", unbuffered=True)
    posted.addErrback(lambda failure: failure.trap(ConnectionLost))
    assert agent.seen == [(b"POST", f"http://{host}:5282/bosh?x=%41".encode())], (
        "treq.client.HTTPClient.request no longer calls EncodedURL.to_uri and to_text"
    )
