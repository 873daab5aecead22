"""Rules of BOSH sessions on ejabberd, after the list of cases in MongooseIM's `bosh_SUITE`.

`tests/bosh/test_rules.py` says what warmside's login does when each rule applies; here warmside's `Session` makes the
requests, and ejabberd applies the rules. "pause too long" is in `test_handover.py`.
"""

import http.client
import select
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest
from twisted.words.xish.domish import Element

from tests.real.parts import Server, until
from tests.real.test_engine import Counted
from tests.real.test_warm import mint
from warmside.bosh.body import decode
from warmside.bosh.session import Request, Session

STORED_RESPONSES = 2
"""Responses that ejabberd stores for repeated requests: as many as it grants requests."""


class Attached:
    """A session on ejabberd, with each request on a connection of its own."""

    def __init__(self, server: Server, user: str) -> None:
        self.server, self.user = server, user
        password = mint(server, f"{user}@example.org")
        login = Counted(server.bosh, "/bosh", password, one_time=True, user=user, wait=60).login
        assert login.jid is not None and login.session.requests == STORED_RESPONSES
        self.session: Session = login.session
        self.jid: str = login.jid.full()
        self._connections: list[http.client.HTTPConnection] = []

    def post(self, body: bytes) -> http.client.HTTPConnection:
        """Send a request; return the connection, on which its response will arrive."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.bosh, timeout=30)
        connection.request("POST", "/bosh", body, {"Content-Type": "text/xml; charset=utf-8"})
        self._connections.append(connection)
        return connection

    def receive(self, request: Request, connection: http.client.HTTPConnection) -> bytes:
        """Pass a response to the session; return its body."""
        response = connection.getresponse()
        data = response.read()
        self.session.receive(request.rid, response.status, data)
        return data

    def message(self, text: str) -> Element:
        """Return a message to this session itself."""
        message = Element(("jabber:client", "message"))
        message["to"], message["type"] = self.jid, "chat"
        message.addElement("body", content=text)
        return message

    def receive_message(self, text: str) -> None:
        """Let another user's message arrive at ejabberd."""
        message = {"from": "benvolio@example.org", "to": self.jid, "type": "chat", "subject": "", "body": text}
        self.server.command("send_message", **message)

    def texts(self) -> list[str]:
        """Return the texts of the messages that arrived in order."""
        stanzas = [ET.fromstring(text) for text in self.session.take() if isinstance(text, str)]
        return [each.findtext("{*}body", "") for each in stanzas if each.tag == "{jabber:client}message"]

    def poll_until(self, count: int) -> list[str]:
        """Send empty requests until so many messages have arrived."""
        texts = self.texts()
        while len(texts) < count:
            request = self.session.send()
            self.receive(request, self.post(request.body))
            texts += self.texts()
        return texts

    def is_alive(self) -> bool:
        """Return True if ejabberd has this session."""
        return self.jid in self.server.sessions(self.user)

    def close(self) -> None:
        """End the session, and close the connections."""
        if self.is_alive():
            self.post(self.session.beyond_window()).getresponse().read()
        for connection in self._connections:
            connection.close()


@pytest.fixture
def session(server: Server) -> Iterator[Attached]:
    attached = Attached(server, "mercutio")
    yield attached
    attached.close()


def test_requests_that_arrive_in_reverse_order_are_processed_in_the_order_of_rids(session: Attached) -> None:
    first, second = (session.session.send(session.message(text)) for text in ("1st", "2nd"))
    connections = [(second, session.post(second.body)), (first, session.post(first.body))]
    for request, connection in reversed(connections):
        session.receive(request, connection)
    assert session.poll_until(2) == ["1st", "2nd"]


def test_a_rid_outside_the_window_ends_the_session(session: Attached) -> None:
    response = session.post(session.session.beyond_window()).getresponse()
    attributes = decode(response.read()).attributes
    assert (attributes["type"], attributes["condition"]) == ("terminate", "item-not-found")
    until(lambda: not session.is_alive())


def test_a_held_request_whose_connection_is_lost_is_sent_again_with_its_rid(session: Attached) -> None:
    held = session.session.send()
    session.post(held.body).close()
    again = session.post(held.body)
    session.receive_message("m")
    session.receive(held, again)
    assert session.poll_until(1) == ["m"]
    assert session.is_alive()


def test_a_pause_frees_the_held_request(server: Server) -> None:
    for last in (False, False, True):
        session = Attached(server, "mercutio")
        try:
            held = session.session.send()
            connection = session.post(held.body)
            assert connection.sock is not None
            connection.sock.settimeout(10)
            paused = session.session.send(pause=60)
            session.post(paused.body)
            assert not decode(session.receive(held, connection)).elements, "after far less than the 60 seconds of wait"
            assert session.is_alive()
            return
        except TimeoutError:  # a pause that overtook the request does not free it
            assert not last, "three pauses did not free the request that was held before them"
        finally:
            session.close()


def test_a_repeated_request_gets_its_stored_response_and_is_not_processed_again(session: Attached) -> None:
    request = session.session.send(session.message("once"))
    body = session.receive(request, session.post(request.body))
    repeated = session.post(request.body).getresponse()
    assert repeated.read() == body
    assert session.poll_until(1) == ["once"]
    last = session.session.send(session.message("last"))
    session.receive(last, session.post(last.body))
    assert session.poll_until(1) == ["last"]


def test_the_oldest_request_that_warmside_repeats_gets_its_stored_response(session: Attached) -> None:
    lost, following = (session.session.send(session.message(text)) for text in ("1st", "2nd"))
    stored = session.post(lost.body).getresponse().read()
    session.receive(following, session.post(following.body))
    assert session.receive(lost, session.post(lost.body)) == stored
    assert session.poll_until(2) == ["1st", "2nd"]


def test_a_request_whose_stored_response_was_trimmed_is_never_answered_and_loses_nothing(session: Attached) -> None:
    """MongooseIM ends the session. warmside never repeats a request that is that old."""
    request = old = session.session.send(session.message("0"))
    session.receive(request, session.post(request.body))
    for number in range(STORED_RESPONSES):
        request = session.session.send(session.message(str(number + 1)))
        session.receive(request, session.post(request.body))
    assert session.poll_until(1 + STORED_RESPONSES) == ["0", "1", "2"]
    repeated = session.post(old.body)
    session.receive_message("new")
    assert session.poll_until(1) == ["new"]
    readable, _, _ = select.select([repeated.sock], [], [], 0)
    assert not readable and session.is_alive()
