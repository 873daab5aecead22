"""The warmed session as an XML stream on which wokkel's handlers run: roster, presence, and a fence.

All of wokkel is imported here and nowhere else, and what its age asks for stands here: it leaves
stanzas without a namespace, numbers its requests where anyone can guess them, interns every JID that
it parses, fails a whole roster for one contact, and answers pushes by itself. warmside never answers
for the user: what no request of its own awaits is kept for the reply, in order.
"""

import secrets
import warnings
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID, InvalidFormat
from twisted.words.protocols.jabber.xmlstream import STREAM_AUTHD_EVENT, STREAM_CONNECTED_EVENT
from twisted.words.xish.domish import Element
from twisted.words.xish.utility import EventDispatcher

from warmside.bosh.body import NS_STREAMS
from warmside.bosh.errors import BoshError, ConditionError
from warmside.bosh.login import NS_CLIENT, NS_PING
from warmside.bosh.session import stream_error

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from wokkel.generic import Request
    from wokkel.subprotocols import StreamManager, XMPPHandler
    from wokkel.xmppim import PresenceProtocol, RosterClientProtocol, RosterItem, RosterRequest

NS_ROSTER = "jabber:iq:roster"

Exchange = Callable[[Sequence[Element]], Awaitable[Sequence[Element]]]
"""Sends stanzas, or nothing, in one request; gives what arrived in order with its response."""


class RosterRefused(ConditionError):
    """The server would not give the roster."""


@dataclass(frozen=True, slots=True)
class HandoverData:
    """What came over the stream before the handover.

    ``roster`` is ``None`` unless asked for; ``stanzas`` is what no request of ours awaited, in
    order; ``attach_within`` is how many seconds the session survives unattended.
    """

    roster: list[dict[str, Any]] | None = None
    stanzas: list[Element] = field(default_factory=list)
    attach_within: int = 0


class BoshStream(EventDispatcher):
    """An XML stream without a connection: what is sent waits in ``outgoing`` to be carried away.

    It is its own factory, too, as far as `StreamManager` asks for one.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.outgoing: list[Element] = []
        self.unclaimed: list[Element] = []

    def addBootstrap(self, event: str, function: Callable[..., Any]) -> None:
        """See twisted.words' ``BootstrapMixin``."""
        self.addObserver(event, function)  # type: ignore[no-untyped-call]

    def send(self, element: Element) -> None:
        """Take a stanza that is to be sent."""
        if element.uri is None:
            element.uri = element.defaultUri = NS_CLIENT
        self.outgoing.append(element)

    def take(self) -> list[Element]:
        """What waits to be sent."""
        outgoing, self.outgoing = self.outgoing, []
        return outgoing

    def received(self, element: Element) -> None:
        """Show an element to the handlers; keep it if it was no answer that one of them awaited.

        :raises BoshError: it is a stream error.
        """
        if (element.uri, element.name) == (NS_STREAMS, "error"):
            raise stream_error(element)
        self.dispatch(element)  # type: ignore[no-untyped-call]
        if not element.__dict__.get("handled"):
            self.unclaimed.append(element)


class Roster(RosterClientProtocol):  # type: ignore[misc]
    """Fetches the roster, contact by contact; leaves pushes to the browser."""

    def connectionInitialized(self) -> None:
        """Observe nothing: wokkel would answer the pushes."""

    def fetch(self) -> "Deferred[list[dict[str, Any]]]":
        """The contacts as the contract shows them. One that wokkel can't parse is passed on as it is."""
        request = RosterRequest(stanzaType="get")
        request.stanzaID = _unguessable()
        fetched: Deferred[Element] = self.request(request)
        return fetched.addCallback(
            lambda result: [
                _contact(item)
                for query in result.elements(NS_ROSTER, "query")
                for item in query.elements(NS_ROSTER, "item")
            ]
        )


class Presence(PresenceProtocol):  # type: ignore[misc]
    """Sends presence; leaves what arrives to the browser."""

    def connectionInitialized(self) -> None:
        """Observe nothing: wokkel would intern the JID of everyone who is online."""


class PingBarrier(XMPPHandler):  # type: ignore[misc]
    """A ping to the server, whose answer comes after whatever was caused before."""

    def pass_through(self, host: str) -> "Deferred[None]":
        """Fires when the server has answered, with a result or with an error."""
        request = _Ping(recipient=JID(host))
        request.stanzaID = _unguessable()
        answered: Deferred[Any] = self.request(request)
        return answered.addCallbacks(lambda _: None, lambda failure: failure.trap(StanzaError) and None)


class _Ping(Request):  # type: ignore[misc]
    def toElement(self) -> Element:
        element: Element = super().toElement()
        element.addElement((NS_PING, "ping"))
        return element


async def converse(reactor: Any, host: str, exchange: Exchange, *, roster: bool, available: bool) -> HandoverData:
    """Fetch the roster, send initial presence, and wait for the fence behind it.

    :param host: the user's server.
    :param roster: whether to fetch the roster.
    :param available: whether to send initial presence.
    :raises BoshError: the server refused, or the session ended.
    """
    stream = BoshStream()
    manager = StreamManager(stream, reactor)
    rosters, presence, fence = Roster(), Presence(), PingBarrier()
    for handler in (rosters, presence, fence):
        handler.setHandlerParent(manager)
    for event in (STREAM_CONNECTED_EVENT, STREAM_AUTHD_EVENT):
        stream.dispatch(stream, event)  # type: ignore[no-untyped-call]

    awaited: list[Deferred[Any]] = []
    if roster:
        awaited.append(rosters.fetch())
    if available:
        presence.available()
        awaited.append(fence.pass_through(host))
    results: list[Any] = []
    for each in awaited:
        each.addBoth(results.append)
    while len(results) < len(awaited):
        for element in await exchange(stream.take()):
            stream.received(element)
    for result in results:
        if isinstance(result, Failure):
            raise _refusal(result)
    return HandoverData(results[0] if roster else None, stream.unclaimed)


def _refusal(failure: Failure) -> BoshError:
    failure.trap(StanzaError)
    error: Any = failure.value
    refusal = RosterRefused("the server would not give the roster", str(error.condition))
    refusal.step = "roster"
    return refusal


def _contact(item: Element) -> dict[str, Any]:
    try:
        contact = RosterItem.fromElement(item)
        name, ask, groups = contact.name, "subscribe" if contact.pendingOut else None, sorted(contact.groups)
    except (InvalidFormat, UnicodeError, LookupError, RuntimeError):
        name, ask = item.getAttribute("name", ""), item.getAttribute("ask")
        groups = [str(group) for group in item.elements(NS_ROSTER, "group")]
    return {
        "jid": item.getAttribute("jid", ""),
        "name": name or None,
        "subscription": item.getAttribute("subscription", "none"),
        "ask": ask,
        "groups": groups,
    }


def _unguessable() -> str:
    """A stanza id: who can't guess it can't send an answer before the server does."""
    return "warmside-" + secrets.token_hex(8)
