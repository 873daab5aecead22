"""BOSH session: rids, order, granted parameters, and its end."""

import xml.etree.ElementTree as ET

import pytest
from twisted.words.xish.domish import Element

from warmside.bosh.body import decode
from warmside.bosh.errors import Banned, BoshError, InvalidResponse, StreamFailed, Terminated
from warmside.bosh.session import MAX_FIRST_RID, Parameters, Recoverable, Session

GRANTED = (
    "sid='s' wait='55' hold='1' requests='2' inactivity='45' polling='3' maxpause='100' ver='1.11' "
    "xmlns='http://jabber.org/protocol/httpbind' xmlns:stream='http://etherx.jabber.org/streams'"
)


def body(attributes: str = "", content: str = "") -> bytes:
    return f"<body xmlns='http://jabber.org/protocol/httpbind' {attributes}>{content}</body>".encode()


def created(attributes: str = GRANTED, **parameters: object) -> Session:
    session = Session(Parameters("example.org", **parameters), first_rid=7)  # type: ignore[arg-type]
    session.create()
    session.receive(7, 200, f"<body {attributes}/>".encode())
    return session


def test_the_first_rid_is_random_and_below_its_limit() -> None:
    rids = {Session(Parameters("example.org")).next_rid for _ in range(200)}
    assert len(rids) == 200
    assert all(0 < rid < MAX_FIRST_RID == 2**52 for rid in rids)
    assert max(rids) > 2**48


def test_the_creation_has_the_requested_parameters() -> None:
    session = Session(Parameters("example.org", lang="de", wait=20, hold=0, ver=(1, 11)), first_rid=7)
    attributes = decode(session.create().body).attributes
    assert {str(key): value for key, value in attributes.items() if isinstance(key, str)} == {
        "content": "text/xml; charset=utf-8",
        "hold": "0",
        "rid": "7",
        "to": "example.org",
        "ver": "1.11",
        "wait": "20",
    }
    assert attributes["http://www.w3.org/XML/1998/namespace", "lang"] == "de"
    assert attributes["urn:xmpp:xbosh", "version"] == "1.0"


def test_the_session_has_the_granted_parameters() -> None:
    session = created()
    granted = (session.sid, session.wait, session.hold, session.requests, session.inactivity)
    assert granted == ("s", 55, 1, 2, 45)
    assert (session.polling, session.maxpause, session.ver) == (3, 100, (1, 6))


def test_versions_are_compared_as_numbers() -> None:
    assert created(ver=(1, 11)).ver == (1, 11)
    assert created(GRANTED.replace("1.11", "1.8"), ver=(1, 10)).ver == (1, 8)


def names(session: Session) -> list[str]:
    """Return the names of the elements that the session kept as text."""
    return [ET.fromstring(text).tag.rpartition("}")[2] for text in session.take() if isinstance(text, str)]


def test_missing_parameters_have_the_defaults_of_the_protocol() -> None:
    session = created("sid='s' xmlns='http://jabber.org/protocol/httpbind'")
    assert (session.wait, session.hold, session.requests, session.inactivity) == (60, 1, 2, 30)
    assert (session.polling, session.maxpause) == (None, None)


def test_elements_are_one_stream_in_the_order_of_rids() -> None:
    session = created()
    first, second = session.send(), session.send()
    session.receive(second.rid, 200, body(content="<b/><c/>"))
    assert session.take() == []
    session.receive(first.rid, 200, body(content="<a/>"))
    assert names(session) == ["a", "b", "c"]
    assert session.take() == []
    assert not session.outstanding


def test_acks_are_sent_if_the_manager_sends_them() -> None:
    session = created(GRANTED + " ack='7'")
    first = session.send()
    second = session.send()
    assert "ack" not in decode(first.body).attributes
    assert decode(second.body).attributes["ack"] == "7"
    assert "ack" not in decode(created().send().body).attributes


def test_a_polling_session_waits_between_empty_requests() -> None:
    session = created(GRANTED.replace("hold='1'", "hold='0'"))
    first = session.send()
    assert first.delay == 0
    assert session.send().delay == 3
    assert session.send(Element(("jabber:client", "presence"))).delay == 0


@pytest.mark.parametrize(
    ("status", "data", "error", "seen"),
    [
        (404, b"", InvalidResponse, "HTTP 404"),
        (502, b"<html/>", InvalidResponse, "HTTP 502"),
        (301, b"", InvalidResponse, "a redirect"),
        (200, b"<html/>", InvalidResponse, "not a BOSH body"),
        (200, b"rubbish", InvalidResponse, "well-formed"),
        (200, body(), InvalidResponse, "no valid sid"),
        (200, body("sid='%s'" % ("x" * 1025)), InvalidResponse, "no valid sid"),
        (200, body("sid='s' wait='-1'"), InvalidResponse, "number"),
        (200, body("sid='s' hold='٣'"), InvalidResponse, "number"),
        (200, body("sid='s' requests='99999999999'"), InvalidResponse, "number"),
        (200, body("type='terminate' condition='host-unknown'"), Terminated, "host-unknown"),
        (200, body("type='terminate' condition='policy-violation'"), Banned, "policy-violation"),
        (200, body("type='terminate' condition='see-other-uri'", "<uri>http://x/</uri>"), Terminated, "see-other-uri"),
        (200, body("type='terminate' condition='&lt;script>'"), Terminated, "undefined-condition"),
        (200, body("type='terminate'"), Terminated, "undefined-condition"),
        (
            200,
            body(
                "type='terminate' condition='remote-stream-error'",
                "<error xmlns='http://etherx.jabber.org/streams'>"
                "<text xmlns='urn:x'>t</text><conflict xmlns='urn:x'/></error>",
            ),
            StreamFailed,
            "conflict",
        ),
    ],
)
def test_a_failed_creation_raises_an_error_with_a_reason(status: int, data: bytes, error: type, seen: str) -> None:
    session = Session(Parameters("example.org"), first_rid=7)
    session.create()
    with pytest.raises(error, match=seen):
        session.receive(7, status, data)


@pytest.mark.parametrize(
    ("status", "error", "condition"),
    [(400, Terminated, "bad-request"), (403, Banned, "policy-violation"), (404, Terminated, "item-not-found")],
)
def test_old_managers_end_a_session_by_http_status(status: int, error: type, condition: str) -> None:
    session = created()
    rid = session.send().rid
    with pytest.raises(error, match=condition):
        session.receive(rid, status, b"")
    assert not session.over, "the status may be a proxy's, so the session must still be ended"


def test_a_recoverable_error_requires_a_retry() -> None:
    session = created()
    rid = session.send().rid
    with pytest.raises(Recoverable):
        session.receive(rid, 200, body("type='error'"))
    assert rid in session.outstanding


def test_a_termination_is_read_after_earlier_responses() -> None:
    session = created()
    first, second = session.send(), session.send()
    session.receive(second.rid, 200, body("type='terminate' condition='item-not-found'"))
    with pytest.raises(BoshError):
        session.receive(first.rid, 200, body(content="<last-words/>"))
    assert names(session) == ["last-words"]


def test_a_session_shows_neither_sid_nor_rid() -> None:
    session = created(GRANTED.replace("sid='s'", "sid='geheim'"))
    request = session.send()
    assert "geheim" not in repr(session) + repr(request)
