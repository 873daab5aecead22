"""Minimal BOSH client: one request after the other over one persistent connection, standard library only.

It attaches to warm sessions as a browser does, and runs the classic login of five requests. It shares no code with
warmside, so that both can't have the same fault.
"""

import http.client
import random
import time
from base64 import b64encode
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring

CLIENT = "{jabber:client}"
NS_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
SASL = f"{{{NS_SASL}}}"


class Refused(Exception):
    """The server rejected the password; the text is the condition."""


class Terminated(Exception):
    """The connection manager ended the session; the text is the condition."""


def element(name: str, namespace: str = "jabber:client", **attributes: str) -> Element:
    """Return an element that declares its namespace as browsers do: ejabberd accepts no prefixes for stanzas."""
    return Element(name, {"xmlns": namespace, **attributes})


class BoshClient:
    """One BOSH session at a time on one connection."""

    def __init__(self, port: int, host: str = "example.org", path: str = "/bosh") -> None:
        self.host = host
        self.path = path
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.sid = ""
        self.rid = 0
        self.jid = ""
        self.arrived: list[Element] = []
        self.requests = 0

    def __del__(self) -> None:
        self.close()

    def mechanisms(self) -> list[str]:
        """Create a session and return the SASL mechanisms that the server offers."""
        self._create()
        features = self.await_element(lambda each: each.find(f"{SASL}mechanisms") is not None)
        return sorted(each.text or "" for each in features.iter(f"{SASL}mechanism"))

    def _create(self) -> None:
        self.sid = ""
        self.rid = random.randrange(1, 2**40)
        attributes = {"to": self.host, "wait": "1", "hold": "1", "ver": "1.6", "xmpp:version": "1.0"}
        created = self.post(attributes)
        self.sid = created.get("sid", "")

    def authenticate(self, user: str, password: str, mechanism: str = "PLAIN") -> None:
        """Create a session and authenticate, without binding a resource.

        :param mechanism: PLAIN, or X-OAUTH2, whose message has the same form.
        :raises Refused: the server rejected the password.
        """
        self._create()
        auth = element("auth", NS_SASL, mechanism=mechanism)
        auth.text = b64encode(f"\0{user}\0{password}".encode()).decode()
        self.arrived.clear()
        self.send(auth)
        answer = self.await_element(lambda each: each.tag.startswith(SASL))
        if answer.tag != f"{SASL}success":
            raise Refused(answer[0].tag.rpartition("}")[2])

    def log_in(self, user: str, password: str, mechanism: str = "PLAIN") -> str:
        """Log in with create, auth, restart, bind, session, one after the other. Return the full JID.

        :param mechanism: see `authenticate`.
        """
        self.authenticate(user, password, mechanism)
        self.post({"to": self.host, "xmpp:restart": "true"})
        bind = element("iq", type="set", id="bind")
        bind.append(element("bind", "urn:ietf:params:xml:ns:xmpp-bind"))
        self.send(bind)
        bound = self.await_element(lambda each: each.get("id") == "bind")
        self.jid = bound[0][0].text or ""
        self.ask(element("session", "urn:ietf:params:xml:ns:xmpp-session"), kind="set")
        self.arrived.clear()
        return self.jid

    def attach(self, session: dict[str, object]) -> "BoshClient":
        """Attach to a session with the reply of ``POST /warm``."""
        self.jid, self.sid, self.rid = str(session["jid"]), str(session["sid"]), int(str(session["rid"]))
        return self

    def send(self, *stanzas: Element) -> list[Element]:
        """Send stanzas; return the elements of the response."""
        return list(self.post({}, *stanzas))

    def post(self, attributes: dict[str, str], *stanzas: Element) -> Element:
        """Send a request with the next rid; return the response's body element."""
        body = element("body", "http://jabber.org/protocol/httpbind", rid=str(self.rid), **attributes)
        body.set("xmlns:xmpp", "urn:xmpp:xbosh")
        if self.sid:
            body.set("sid", self.sid)
        body.extend(stanzas)
        self.rid += 1
        self.requests += 1
        self.connection.request("POST", self.path, tostring(body), {"Content-Type": "text/xml; charset=utf-8"})
        response = self.connection.getresponse()
        data = response.read()
        if response.status != 200:
            raise Terminated(f"HTTP {response.status}")
        answer = fromstring(data)
        if answer.get("type") == "terminate" and attributes.get("type") != "terminate":
            raise Terminated(answer.get("condition", ""))
        self.arrived.extend(answer)
        return answer

    def await_element(self, wanted, within: float = 20) -> Element:  # type: ignore[no-untyped-def]
        """Return the first element for which ``wanted`` is true; send empty requests until it arrives."""
        deadline = time.monotonic() + within
        while True:
            for each in self.arrived:
                if wanted(each):
                    self.arrived.remove(each)
                    return each
            if time.monotonic() > deadline:
                raise AssertionError("the element did not arrive")
            self.post({})

    def ask(self, payload: Element, to: str | None = None, kind: str = "get") -> Element:
        """Send an iq; return its response."""
        iq = element("iq", type=kind, id=f"q{random.randrange(10**9)}")
        if to:
            iq.set("to", to)
        iq.append(payload)
        self.send(iq)
        return self.await_element(lambda each: each.get("id") == iq.get("id"))

    def ping(self) -> bool:
        """Return True if the server responds to a ping (XEP-0199)."""
        return self.ask(element("ping", "urn:xmpp:ping"), to=self.host).get("type") == "result"

    def presence(self, **attributes: str) -> list[Element]:
        """Send presence."""
        return self.send(element("presence", **attributes))

    def message(self, to: str, text: str) -> None:
        """Send a chat message."""
        message = element("message", to=to, type="chat", id=f"m{random.randrange(10**9)}")
        SubElement(message, "body").text = text
        self.send(message)

    def await_message(self) -> str:
        """Return the text of the next message with a body."""
        message = self.await_element(lambda each: each.find(f"{CLIENT}body") is not None)
        return message.findtext(f"{CLIENT}body") or ""

    def terminate(self) -> None:
        """End the session."""
        self.post({"type": "terminate"})

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
