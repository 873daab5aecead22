"""Private interfaces of wokkel and domish: each test names the one that it checks.

A failure here means that a release has changed an interface that `warmside/compat/xmpp.py` describes.
"""

import xml.etree.ElementTree as ET
from typing import Any

import wokkel
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.words.protocols.jabber.xmlstream import STREAM_AUTHD_EVENT, STREAM_CONNECTED_EVENT
from twisted.words.xish.domish import Element
from twisted.words.xish.utility import EventDispatcher

from tests.support import now
from warmside.compat import xmpp


def test_wokkel_has_no_release_after_18() -> None:
    assert str(wokkel.__version__).startswith("18."), (
        "wokkel has a new release: check whether warmside.compat still needs its DeprecationWarning filter"
    )


class Stream(EventDispatcher):
    """Stream and factory, as far as `wokkel.subprotocols.StreamManager` uses them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sent: list[Element] = []

    def addBootstrap(self, event: str, observer: Any) -> None:
        self.addObserver(event, observer)  # type: ignore[no-untyped-call]

    def send(self, element: Element) -> None:
        self.sent.append(element)


def test_wokkels_stream_manager_needs_only_add_bootstrap_add_observer_and_send() -> None:
    stream = Stream()
    manager = xmpp.StreamManager(stream, MemoryReactorClock())
    handler = xmpp.XMPPHandler()
    handler.setHandlerParent(manager)
    for event in (STREAM_CONNECTED_EVENT, STREAM_AUTHD_EVENT):
        stream.dispatch(stream, event)  # type: ignore[no-untyped-call]
    assert handler.xmlstream is stream, "wokkel.subprotocols.StreamManager no longer connects its handlers"
    request = xmpp.Request(stanzaType="get")
    request.stanzaID = "id-1"
    answered: Deferred[Any] = handler.request(request)
    assert [element["id"] for element in stream.sent] == ["id-1"], "wokkel.generic.Request ignores stanzaID"
    for identifier in ("id-2", "id-1"):
        response = Element((None, "iq"))
        response["type"], response["id"] = "result", identifier
        response.addElement("handled")
        stream.dispatch(response)
        claimed = identifier == "id-1"
        assert xmpp.is_claimed(response) is claimed, "StreamManager no longer marks responses as `handled`"
    assert now(answered)["id"] == "id-1"


def test_wokkels_request_is_extended_by_to_element() -> None:
    element = xmpp.RosterRequest(stanzaType="get").toElement()
    assert element.query.uri == "jabber:iq:roster", "wokkel.xmppim.RosterRequest.toElement has changed"


def test_domish_writes_namespaces_unescaped() -> None:
    hostile = "a'><evil/>&"
    element = Element((xmpp.escaped_namespace(hostile), "x"))
    assert ET.fromstring(element.toXml()).tag == f"{{{hostile}}}x", (
        "twisted.words.xish.domish.escapeToXml or Element.toXml has changed: is a namespace escaped twice?"
    )
