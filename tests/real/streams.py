"""Minimal XMPP clients over TCP and WebSocket, with stream management (XEP-0198). They share no code with warmside."""

import socket
import time
from base64 import b64encode
from typing import Any
from xml.etree.ElementTree import Element, SubElement, XMLPullParser, fromstring, tostring

from websocket import WebSocket, WebSocketConnectionClosedException, create_connection

from tests.real.boshclient import element

SM = "urn:xmpp:sm:3"
NS_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
NS_BIND = "urn:ietf:params:xml:ns:xmpp-bind"
TIMEOUT = 20
HEADER = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' to='{}'>"


class StreamClosed(Exception):
    """The server closed the stream."""


class Client:
    """One stream. A subclass opens it, sends text and receives elements."""

    def __init__(self, host: str = "example.org") -> None:
        self.host = host
        self.jid = ""

    def open_stream(self) -> None:
        """Open the stream, or open it again after authentication."""
        raise NotImplementedError

    def write(self, text: str) -> None:
        """Send the text of one element."""
        raise NotImplementedError

    def receive(self) -> Element:
        """Return the next element.

        :raises StreamClosed: the server closed the stream.
        """
        raise NotImplementedError

    def drop(self) -> None:
        """Lose the connection without an end of the stream."""
        raise NotImplementedError

    def send(self, stanza: Element) -> None:
        """Send an element."""
        self.write(tostring(stanza, encoding="unicode"))

    def await_element(self, *names: str) -> Element:
        """Return the next element with one of these names, without namespace."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            received = self.receive()
            if received.tag.rpartition("}")[2] in names:
                return received
        raise AssertionError(f"none of {names} arrived")

    def authenticate(self, user: str, password: str) -> None:
        """Open the stream and authenticate; then the stream is open again."""
        self.open_stream()
        self.await_element("features")
        auth = element("auth", NS_SASL, mechanism="PLAIN")
        auth.text = b64encode(f"\0{user}\0{password}".encode()).decode()
        self.send(auth)
        answer = self.await_element("success", "failure")
        assert answer.tag.endswith("success"), tostring(answer)
        self.open_stream()
        self.await_element("features")

    def bind(self, resource: str) -> str:
        """Bind a resource; return the full JID."""
        iq = element("iq", type="set", id="bind")
        SubElement(SubElement(iq, "bind", xmlns=NS_BIND), "resource").text = resource
        self.send(iq)
        self.jid = self.await_element("iq")[0][0].text or ""
        return self.jid

    def enable_resumption(self) -> str:
        """Enable stream management; return the id for a resumption."""
        self.send(element("enable", SM, resume="true"))
        return self.await_element("enabled").get("id", "")

    def resume(self, identifier: str) -> str:
        """Resume an earlier stream; return ``resumed`` or ``failed``."""
        self.send(element("resume", SM, previd=identifier, h="0"))
        return self.await_element("resumed", "failed").tag.rpartition("}")[2]

    def end(self) -> str:
        """Wait for the end of the stream; return the condition of its error."""
        condition = ""
        try:
            while True:
                received = self.receive()
                if received.tag.endswith("}error"):
                    condition = received[0].tag.rpartition("}")[2]
        except StreamClosed:
            return condition


class TcpClient(Client):
    """A client over TCP without TLS."""

    def __init__(self, port: int, host: str = "example.org") -> None:
        super().__init__(host)
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        self.arrived: list[Element] = []

    def open_stream(self) -> None:
        self.parser: XMLPullParser[Any] = XMLPullParser(["start", "end"])
        self.depth = 0
        self.write(HEADER.format(self.host))

    def write(self, text: str) -> None:
        self.socket.sendall(text.encode())

    def receive(self) -> Element:
        while not self.arrived:
            data = self.socket.recv(4096)
            if not data:
                raise StreamClosed
            self.parser.feed(data)
            events: Any = self.parser.read_events()
            for event, each in events:
                self.depth += 1 if event == "start" else -1
                if event == "end" and self.depth == 1:
                    self.arrived.append(each)
                elif not self.depth and not self.arrived:
                    raise StreamClosed
        return self.arrived.pop(0)

    def drop(self) -> None:
        self.socket.close()

    def __del__(self) -> None:
        self.drop()


class WebSocketClient(Client):
    """A client over WebSocket (RFC 7395)."""

    def __init__(self, port: int, host: str = "example.org") -> None:
        super().__init__(host)
        self.socket: WebSocket = create_connection(f"ws://127.0.0.1:{port}/ws", subprotocols=["xmpp"], timeout=TIMEOUT)

    def open_stream(self) -> None:
        self.send(element("open", "urn:ietf:params:xml:ns:xmpp-framing", to=self.host, version="1.0"))

    def write(self, text: str) -> None:
        self.socket.send(text)

    def receive(self) -> Element:
        try:
            text = self.socket.recv()
        except (WebSocketConnectionClosedException, ConnectionError):
            raise StreamClosed from None
        if not text:
            raise StreamClosed
        received = fromstring(text)
        if received.tag.endswith("}close"):
            raise StreamClosed
        return received

    def drop(self) -> None:
        self.socket.shutdown()  # type: ignore[no-untyped-call]

    def __del__(self) -> None:
        self.drop()
