"""XML stream over the warmed session, on which wokkel's handlers run: roster, presence and a ping barrier.

warmside never answers for the user. Elements that no request of its own awaits are kept for the reply, in order.

The handlers override these habits of wokkel: it leaves stanzas without a namespace, gives requests predictable ids,
answers roster pushes by itself, and fails a whole roster for one contact with an invalid JID.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.xmlstream import STREAM_AUTHD_EVENT, STREAM_CONNECTED_EVENT
from twisted.words.xish.domish import Element
from twisted.words.xish.utility import EventDispatcher

from warmside.bosh.body import NS_STREAMS, Arrived
from warmside.bosh.contacts import contacts_of
from warmside.bosh.errors import BoshError, ConditionError
from warmside.bosh.login import NS_CLIENT, NS_PING, new_stanza_id
from warmside.bosh.session import stream_error
from warmside.compat.xmpp import (
    Request,
    RosterClientProtocol,
    RosterRequest,
    StreamManager,
    XMPPHandler,
    is_claimed,
)
from warmside.jids import PreparedJID
from warmside.turns import Turns

Exchange = Callable[[Sequence[Element]], Awaitable[Sequence[Arrived]]]
"""Sends stanzas, or none, in one request; returns the elements that arrived with its response, in order."""


class RosterRefused(ConditionError):
    """The server did not return the roster."""


@dataclass(frozen=True, slots=True)
class HandoverData:
    """Result of the preparation of a handover.

    :ivar roster: the contacts; ``None`` unless requested.
    :ivar stanzas: elements that no request of warmside awaited, in order of arrival.
    :ivar attach_within: seconds that the session survives unattended.
    """

    roster: list[dict[str, Any]] | None = None
    stanzas: list[Arrived] = field(default_factory=list)
    attach_within: int = 0


class BoshStream(EventDispatcher):
    """XML stream without a connection: stanzas to send are collected in ``outgoing``.

    It is also the factory that `StreamManager` requires.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.outgoing: list[Element] = []
        self.unclaimed: list[Arrived] = []

    def addBootstrap(self, event: str, function: Callable[..., Any]) -> None:
        """See twisted.words' ``BootstrapMixin``."""
        self.addObserver(event, function)  # type: ignore[no-untyped-call]

    def send(self, element: Element) -> None:
        """Add a stanza to ``outgoing``."""
        if element.uri is None:
            element.uri = element.defaultUri = NS_CLIENT
        self.outgoing.append(element)

    def take(self) -> list[Element]:
        """Return the stanzas to send, and forget them."""
        outgoing, self.outgoing = self.outgoing, []
        return outgoing

    def received(self, element: Arrived) -> None:
        """Pass an element to the handlers; keep it unless a handler awaited it.

        :raises BoshError: the element is a stream error.
        """
        if isinstance(element, str):
            self.unclaimed.append(element)
            return
        if (element.uri, element.name) == (NS_STREAMS, "error"):
            raise stream_error(element)
        if element.name == "iq":
            self.dispatch(element)  # type: ignore[no-untyped-call]
        if not is_claimed(element):
            self.unclaimed.append(element)


class Roster(RosterClientProtocol):  # type: ignore[misc]
    """Fetches the roster; leaves roster pushes to the browser."""

    def connectionInitialized(self) -> None:
        """Observe nothing: wokkel would answer roster pushes."""

    def fetch(self) -> "Deferred[list[dict[str, Any]]]":
        """Fetch the contacts, in the form of the reply."""
        request = RosterRequest(stanzaType="get")
        request.stanzaID = new_stanza_id()
        fetched: Deferred[Element] = self.request(request)
        return fetched.addCallback(contacts_of)


class Presence(XMPPHandler):  # type: ignore[misc]
    """Sends presence; leaves received presence to the browser."""

    def available(self) -> None:
        """Send initial presence. Its priority of -1 leaves messages at the server: no failed reply can lose them."""
        presence = Element((NS_CLIENT, "presence"))
        presence.addElement("priority", content="-1")
        self.send(presence)


class PingBarrier(XMPPHandler):  # type: ignore[misc]
    """Pings the server. Its response follows everything that earlier stanzas caused."""

    def pass_through(self, host: str) -> "Deferred[None]":
        """Send a ping; fire when the server has responded, with a result or an error."""
        request = _Ping(recipient=PreparedJID(None, host, None))
        request.stanzaID = new_stanza_id()
        answered: Deferred[Any] = self.request(request)
        return answered.addCallbacks(lambda _: None, lambda failure: failure.trap(StanzaError) and None)


class _Ping(Request):  # type: ignore[misc]
    def toElement(self) -> Element:
        element: Element = super().toElement()
        element.addElement((NS_PING, "ping"))
        return element


async def prepare_handover(
    reactor: Any, host: str, exchange: Exchange, *, roster: bool, available: bool
) -> HandoverData:
    """Fetch the roster, send initial presence, and wait for the ping barrier after it.

    :param host: the user's server.
    :param roster: True to fetch the roster.
    :param available: True to send initial presence.
    :raises BoshError: the server rejected the request, or the session ended.
    """
    stream = BoshStream()
    manager = StreamManager(stream, reactor)
    rosters, presence, barrier = Roster(), Presence(), PingBarrier()
    for handler in (rosters, presence, barrier):
        handler.setHandlerParent(manager)
    for event in (STREAM_CONNECTED_EVENT, STREAM_AUTHD_EVENT):
        stream.dispatch(stream, event)  # type: ignore[no-untyped-call]

    awaited: list[Deferred[Any]] = []
    if roster:
        awaited.append(rosters.fetch())
    if available:
        presence.available()
        awaited.append(barrier.pass_through(host))
    results: list[Any] = []
    for each in awaited:
        each.addBoth(results.append)
    turns = Turns(reactor)
    while len(results) < len(awaited):
        for element in await exchange(stream.take()):
            stream.received(element)
            if turns.due:
                await turns.rest()
    for result in results:
        if isinstance(result, Failure):
            raise _roster_refused(result)
    return HandoverData(results[0] if roster else None, stream.unclaimed)


def _roster_refused(failure: Failure) -> BoshError:
    failure.trap(StanzaError)
    error: Any = failure.value
    refused = RosterRefused("the server did not return the roster", str(error.condition))
    refused.step = "roster"
    return refused
