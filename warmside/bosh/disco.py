"""List the sessions of the logged-in user (XEP-0030): the items of the user's own bare JID.

A server lists every connected resource, also one that has sent no presence. It needs mod_disco and no rights.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.xmlstream import STREAM_AUTHD_EVENT, STREAM_CONNECTED_EVENT
from twisted.words.xish.domish import Element

from warmside.bosh.errors import UNDEFINED, NoSessionList
from warmside.bosh.login import new_stanza_id
from warmside.bosh.stream import BoshStream, Exchange
from warmside.compat.xmpp import Request, StreamManager, XMPPHandler
from warmside.jids import JID, InvalidJID, PreparedJID, prepare

NS_ITEMS = "http://jabber.org/protocol/disco#items"


class _Items(Request):  # type: ignore[misc]
    def toElement(self) -> Element:
        element: Element = super().toElement()
        element.addElement((NS_ITEMS, "query"))
        return element


async def connected_resources(reactor: Any, own: JID, exchange: Exchange) -> list[str]:
    """Return the resources of all sessions of a user, in the order of the server and each once.

    Resources are as the server wrote them. Items with a ``node``, such as PEP nodes, are no sessions.

    :param own: full JID of the session that asks.
    :raises NoSessionList: the server returns an error, or a list without the session that asks.
    :raises BoshError: the session is over.
    """
    stream = BoshStream()
    manager, handler = StreamManager(stream, reactor), XMPPHandler()
    handler.setHandlerParent(manager)
    for event in (STREAM_CONNECTED_EVENT, STREAM_AUTHD_EVENT):
        stream.dispatch(stream, event)  # type: ignore[no-untyped-call]
    request = _Items(recipient=PreparedJID(own.user, own.host, None), stanzaType="get")
    request.stanzaID = new_stanza_id()
    answered: Deferred[Element] = handler.request(request)
    results: list[Element | Failure] = []
    answered.addBoth(results.append)
    while not results:
        for element in await exchange(stream.take()):
            stream.received(element)
    result = results[0]
    if isinstance(result, Failure):
        result.trap(StanzaError)
        error: Any = result.value
        raise _not_listed(str(error.condition))
    resources = _resources(result, own.userhost())
    if own.resource not in resources:
        raise _not_listed(UNDEFINED)
    return resources


def _not_listed(condition: str) -> NoSessionList:
    error = NoSessionList("the server did not list the user's sessions", condition)
    error.step = "session list"
    return error


def _resources(result: Element, bare: str) -> list[str]:
    found: dict[str, None] = {}
    for query in result.elements(NS_ITEMS, "query"):
        for item in query.elements(NS_ITEMS, "item"):
            account, _, resource = item.getAttribute("jid", "").partition("/")
            if resource and item.getAttribute("node") is None and _is_account(account, bare):
                found[resource] = None
    return list(found)


def _is_account(text: str, bare: str) -> bool:
    try:
        return text == bare or prepare(text).userhost() == prepare(bare).userhost()
    except InvalidJID:
        return False
