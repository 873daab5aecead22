"""Handover of a session: presence, roster, stanzas, and the time until the browser attaches."""

import threading
import time
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element, SubElement, fromstring

import pytest

from tests.real.boshclient import CLIENT, BoshClient, element
from tests.real.parts import Server, until

SHORT = ("  mod_bosh: {}\n", "  mod_bosh:\n    max_inactivity: 2\n    max_pause: 20\n")


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server whose sessions survive two seconds unattended."""
    running = Server(tmp_path_factory.mktemp("short"), SHORT).start()
    yield running
    running.stop()


def befriend(server: Server, one: str, other: str) -> None:
    for first, second in ((one, other), (other, one)):
        server.command(
            "add_rosteritem",
            localuser=first,
            localserver="example.org",
            user=second,
            server="example.org",
            nick=second.title(),
            group="Verona",
            subs="both",
        )


def kinds(stanzas: list[str]) -> list[tuple[str, str | None, str | None]]:
    """Return name, type and bare sender of each stanza."""
    elements = [fromstring(stanza) for stanza in stanzas]
    assert all(element.tag.startswith(CLIENT) for element in elements)
    return [(e.tag.removeprefix(CLIENT), e.get("type"), (e.get("from") or "").partition("/")[0]) for e in elements]


def test_the_roster_comes_with_the_session(server: Server) -> None:
    befriend(server, "benvolio", "balthasar")
    reply = server.warm(jid="benvolio@example.org", fetch="roster", wait=1)
    assert reply.status == 200, reply.body
    contact = {
        "jid": "balthasar@example.org",
        "name": "Balthasar",
        "subscription": "both",
        "ask": None,
        "groups": ["Verona"],
    }
    assert reply.json()["roster"] == [contact]
    assert reply.json()["stanzas"] == []
    client = BoshClient(server.bosh).attach(reply.json())
    assert client.ping()
    client.terminate()


def test_a_contact_with_an_invalid_jid_is_returned_unchanged(server: Server) -> None:
    befriend(server, "peter", "anthony")
    server.command(
        "add_rosteritem", localuser="peter", localserver="example.org",
        user="potpan", server="my_host", nick="Potpan", group="", subs="none",
    )  # fmt: skip
    roster = server.warm(jid="peter@example.org", fetch="roster").json()["roster"]
    assert {contact["jid"] for contact in roster} == {"anthony@example.org", "potpan@my_host"}


def test_an_available_user_is_seen_online_and_messages_wait_for_the_browser(server: Server) -> None:
    befriend(server, "gregory", "sampson")
    server.attached("gregory@example.org").terminate()
    sampson = server.attached("sampson@example.org")
    sampson.presence()
    abram = server.attached("abram@example.org")
    abram.presence(to="gregory@example.org", type="subscribe")
    for number in range(5):
        sampson.message("gregory@example.org", f"Offline {number}")
    assert sampson.ping() and abram.ping()
    assert server.offline_messages("gregory") == 5
    session = server.warm(jid="gregory@example.org", presence="available", fetch="roster", wait=1).json()
    seen = sampson.await_element(lambda e: (e.get("from") or "").startswith("gregory@") and e.get("type") is None)
    assert (seen.tag, seen.findtext(f"{CLIENT}priority")) == (f"{CLIENT}presence", "-1")
    found = set(kinds(session["stanzas"]))
    contact = ("presence", None, "sampson@example.org")
    assert ("presence", None, "gregory@example.org") in found
    assert found <= {("presence", None, "gregory@example.org"), contact}, "neither messages nor contact requests"
    assert session["left_out"] == 0 and server.offline_messages("gregory") == 5
    sampson.message("gregory@example.org", "Offline 5")
    assert sampson.ping()
    assert server.offline_messages("gregory") == 6
    gregory = BoshClient(server.bosh).attach(session)
    if contact not in found:  # The contact's own process sends it; it may follow the server's response to the ping.
        gregory.await_element(lambda e: (e.get("from") or "").startswith("sampson@example.org/"))
    gregory.send(element("presence", type="unavailable"), element("presence"))
    asked = gregory.await_element(lambda e: e.get("type") == "subscribe")
    assert (asked.get("from") or "").startswith("abram@example.org")
    assert [gregory.await_message() for _ in range(6)] == [f"Offline {number}" for number in range(6)]
    for client in (gregory, sampson, abram):
        client.terminate()


def test_heavy_messages_of_a_stranger_cost_no_login_and_stay_at_the_server(server: Server) -> None:
    server.attached("peter@example.org").terminate()
    stranger = server.attached("tybalt@example.org")
    for _ in range(30):
        heavy = element("message", to="peter@example.org", type="chat")
        SubElement(heavy, "body").text = "heavy"
        heavy.extend(Element("x") for _ in range(60_000))
        stranger.send(heavy)
    assert stranger.ping()
    assert server.offline_messages("peter") == 30
    reply = server.warm(jid="peter@example.org", presence="available", wait=1)
    assert reply.status == 200, reply.body
    assert reply.json()["left_out"] == 0 and server.offline_messages("peter") == 30
    peter = BoshClient(server.bosh).attach(reply.json())
    assert peter.ping()
    for client in (peter, stranger):
        client.terminate()


def test_the_page_shows_the_stanzas(server: Server) -> None:
    reply = server.warm("text/html", jid="escalus@example.org", presence="available")
    page = fromstring(reply.body)
    xhtml = "{http://www.w3.org/1999/xhtml}"
    items = page.findall(f".//{xhtml}ol[@class='stanzas']/{xhtml}li")
    assert [fromstring(item.text or "").tag for item in items] == [f"{CLIENT}presence"]


def test_text_is_not_acceptable_together_with_stanzas(server: Server) -> None:
    assert server.warm("text/plain", jid="escalus@example.org", presence="available").status == 406
    assert server.warm("text/plain", jid="escalus@example.org", fetch="roster").status == 406


def test_a_session_survives_the_requested_time_and_loses_nothing(short: Server) -> None:
    short.attached("romeo@example.org").terminate()
    reply = short.warm(jid="juliet@example.org", attach_within=20, presence="available", wait=1)
    session = reply.json()
    assert (session["inactivity"], session["attach_within"]) == (2, 20)
    romeo = short.attached("romeo@example.org")
    romeo.message(session["jid"], "While you were away")
    for _ in range(6):
        time.sleep(0.5)
        assert romeo.ping()
    romeo.message(session["jid"], "For three seconds")
    romeo.terminate()
    juliet = BoshClient(short.bosh).attach(session)
    assert juliet.await_message() == "While you were away"
    assert juliet.await_message() == "For three seconds"
    assert juliet.ping()
    juliet.terminate()


def test_by_default_a_session_ends_with_the_managers_inactivity(short: Server) -> None:
    session = short.warm(jid="juliet@example.org").json()
    assert session["attach_within"] == 2
    until(lambda: not short.sessions("juliet"), within=30)


def test_a_paused_session_ends_when_no_client_attaches(short: Server) -> None:
    assert short.warm(jid="tybalt@example.org", attach_within=5).status == 200
    time.sleep(3)
    assert short.sessions("tybalt")
    until(lambda: not short.sessions("tybalt"), within=30)


def test_a_pause_above_the_managers_limit_is_rejected_and_names_the_limit(short: Server) -> None:
    reply = short.warm(jid="paris@example.org", attach_within=21)
    assert (reply.status, reply.json()["field"]) == (400, "attach_within")
    assert "20 seconds" in reply.json()["detail"]
    until(lambda: not short.sessions("paris"))


def test_a_flood_at_the_moment_of_the_pause_is_delivered_once_and_in_order(short: Server) -> None:
    resource = "juliet@example.org/balcony"
    short.attached("juliet@example.org").terminate()
    until(lambda: not short.sessions("juliet"))
    sessions: list[dict[str, Any]] = []

    def warm() -> None:
        sessions.append(short.warm(jid=resource, attach_within=10, presence="available", wait=1).json())

    warming = threading.Thread(target=warm)
    warming.start()
    deadline = time.monotonic() + 30
    while not short.sessions("juliet"):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    texts: list[str] = []
    while warming.is_alive():
        texts.append(f"message {len(texts)}")
        message = {"from": "romeo@example.org", "to": resource, "subject": "", "body": texts[-1], "type": "chat"}
        short.command("send_message", **message)
    # A session in which stanzas keep arriving can't be paused without a loss: then the reply has the inactivity.
    assert sessions[0]["attach_within"] in (2, 10)
    arrived = [fromstring(stanza) for stanza in sessions[0]["stanzas"]]
    juliet = BoshClient(short.bosh).attach(sessions[0])

    def bodies() -> list[str]:
        return [text for each in arrived if (text := each.findtext(f"{CLIENT}body"))]

    deadline = time.monotonic() + 30
    while len(bodies()) < len(texts) and time.monotonic() < deadline:
        arrived += juliet.send()
    assert bodies() == texts
    juliet.terminate()
