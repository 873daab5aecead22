"""The demo's first users: contacts of each other, each with a message from the other.

Everything is sent as the users themselves, over warm sessions. Standard library only.
"""

import urllib.request
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

Post = Callable[..., tuple[int, dict[str, Any]]]
"""Sends a request to warmside: path and fields; returns status and JSON."""

GREETINGS = {
    "juliet": "O Romeo, Romeo! wherefore art thou Romeo?",
    "romeo": "But soft! What light through yonder window breaks?",
}
MAX_POLLS = 10


def stanza(name: str, to: str = "", kind: str = "", body: str = "") -> ElementTree.Element:
    """Return a presence, a message with a body, or a ping (XEP-0199)."""
    attributes = {"to": to, "type": kind}
    given = {key: value for key, value in attributes.items() if value}
    element = ElementTree.Element(name, {"xmlns": "jabber:client"} | given)
    if body:
        ElementTree.SubElement(element, "body").text = body
    if name == "iq":
        ElementTree.SubElement(element, "ping", xmlns="urn:xmpp:ping")
    return element


class Session:
    """A warm session, attached as a browser attaches (XEP-0206).

    :param bosh: URL of the connection manager.
    :param warm: reply of ``POST /warm``.
    """

    def __init__(self, bosh: str, warm: dict[str, Any]) -> None:
        self.bosh = bosh
        self.jid: str = warm["jid"].partition("/")[0]
        self.contacts = {each["jid"] for each in warm["roster"] if each["subscription"] == "both"}
        self.messages: list[str] = []
        """Texts of the messages that arrived."""
        self._sid: str = warm["sid"]
        self._rid: int = warm["rid"]

    def send(self, *stanzas: ElementTree.Element) -> None:
        """Send stanzas, and wait until the server has processed them.

        :raises OSError: the request failed, or the server does not answer.
        """
        ping = stanza("iq", self.jid.partition("@")[2], "get")
        ping.set("id", fence := f"fence{self._rid}")
        sent: tuple[ElementTree.Element, ...] = (*stanzas, ping)
        for _ in range(MAX_POLLS):
            if any(iq.get("id") == fence for iq in self._post(*sent).iter("{jabber:client}iq")):
                return
            sent = (ping,)  # a node that joins a cluster may lose one
        raise OSError("no answer to a ping")

    def await_message(self) -> str:
        """Return the text of the next message; an empty text if none arrives within the session's ``wait``.

        :raises OSError: the request failed.
        """
        if not self.messages:
            self._post()
        return self.messages.pop(0) if self.messages else ""

    def end(self) -> None:
        """End the session.

        :raises OSError: the request failed.
        """
        self._post(type="terminate")

    def _post(self, *stanzas: ElementTree.Element, **attributes: str) -> ElementTree.Element:
        members = {"xmlns": "http://jabber.org/protocol/httpbind", "sid": self._sid, "rid": str(self._rid)}
        self._rid += 1
        body = ElementTree.Element("body", members | attributes)
        body.extend(stanzas)
        headers = {"Content-Type": "text/xml; charset=utf-8"}
        request = urllib.request.Request(self.bosh, ElementTree.tostring(body), headers)
        with urllib.request.urlopen(request, timeout=15) as response:
            arrived = ElementTree.fromstring(response.read())
        bodies = (message.findtext("{jabber:client}body") for message in arrived.iter("{jabber:client}message"))
        self.messages += [body for body in bodies if body]
        return arrived


def introduce(post: Post, bosh: str, host: str, greetings: dict[str, str] = GREETINGS) -> bool:
    """Announce two users, make them contacts, and send the greetings. Return False if a call to warmside failed.

    A second call with the same ejabberd sends nothing.

    :param bosh: URL of the connection manager.
    :param greetings: the message that each of the two users sends to the other.
    :raises OSError: a request to the connection manager failed.
    """
    jids = [f"{name}@{host}" for name in greetings]
    if post("/users", jids=jids)[0] != 200:
        return False
    replies = [post("/warm", jid=jid, fetch="roster", wait=1) for jid in jids]
    if [status for status, _ in replies] != [200, 200]:
        return False
    first, second = (Session(bosh, reply) for _, reply in replies)
    if second.jid not in first.contacts:
        first.send(stanza("presence", second.jid, "subscribe"))
        second.send(stanza("presence", first.jid, "subscribed"), stanza("presence", first.jid, "subscribe"))
        first.send(stanza("presence", second.jid, "subscribed"))
        for one, other, greeting in zip((first, second), (second, first), greetings.values(), strict=True):
            one.send(stanza("message", other.jid, "chat", greeting))
    for session in (first, second):
        session.end()
    return True
