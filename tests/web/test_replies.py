"""Forms of replies and errors, and the headers that all of them have."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.support import now
from tests.web.interface import SESSION, Interface, header
from warmside.bosh import errors
from warmside.web.negotiate import Form
from warmside.web.replies import long_warm_session_reply, warm_session_reply

XHTML = "{http://www.w3.org/1999/xhtml}"


def test_the_page_for_a_warm_session_has_exactly_the_documented_structure(interface: Interface) -> None:
    response = interface.warm("*/*")
    assert response.code == 200
    assert header(response, "Content-Type") == "text/html; charset=utf-8"
    expected = (
        '<dl class="binding"><dt class="jid">JID</dt><dd class="jid">juliet@example.org/a&lt;b</dd>'
        '<dt class="sid">SID</dt><dd class="sid">s&amp;id</dd><dt class="rid">RID</dt><dd class="rid">4711</dd></dl>'
    )
    assert expected in response.body
    assert response.body.startswith("<!DOCTYPE html PUBLIC")
    page = ET.fromstring(response.body)
    assert page.findtext(f"{XHTML}head/{XHTML}title") == "Success" == page.findtext(f".//{XHTML}p")
    policy = "default-src 'none'; form-action 'self'; frame-ancestors 'none'"
    assert header(response, "Content-Security-Policy") == policy


def test_a_page_has_the_type_of_xhtml_if_html_is_not_accepted(interface: Interface) -> None:
    assert header(interface.warm("application/xhtml+xml"), "Content-Type") == "application/xhtml+xml"


def test_json_has_the_documented_members(interface: Interface) -> None:
    response = interface.warm("application/json")
    assert header(response, "Content-Type") == "application/json"
    assert json.loads(response.body) == {
        "jid": "juliet@example.org/a<b",
        "sid": "s&id",
        "rid": 4711,
        "wait": 60,
        "hold": 1,
        "requests": 2,
        "inactivity": 30,
        "attach_within": 30,
        "polling": None,
        "maxpause": 120,
        "ver": "1.6",
        "bosh_url": None,
        "stanzas": [],
        "left_out": 0,
    }


def test_plain_text_has_three_lines(interface: Interface) -> None:
    response = interface.warm("text/plain")
    assert header(response, "Content-Type") == "text/plain; charset=utf-8"
    assert response.body == "juliet@example.org/a<b\ns&id\n4711\n"


def test_every_reply_has_the_common_headers(interface: Interface) -> None:
    replies = [
        interface.warm(),
        interface.request("GET", "/health"),
        interface.request("GET", "/nowhere"),
        interface.warm(auth=None),
        interface.request("GET", "/warm"),
    ]
    for response in replies:
        assert header(response, "Cache-Control") == "no-store"
        assert header(response, "X-Content-Type-Options") == "nosniff"
        assert header(response, "Referrer-Policy") == "no-referrer"
        assert re.fullmatch(r"[0-9a-f]{32}", header(response, "X-Request-ID") or "")
        assert not [name for name, _ in response.headers.getAllRawHeaders() if name.lower().startswith(b"access-")]


def test_a_request_id_is_kept_if_it_is_safe(interface: Interface) -> None:
    assert header(interface.warm(headers={"X-Request-ID": "a.B-3_x"}), "X-Request-ID") == "a.B-3_x"
    for unsafe in ("", "a b", "x" * 65, "é"):
        assert header(interface.warm(headers={"X-Request-ID": unsafe}), "X-Request-ID") != unsafe


def test_the_forms_of_the_page_can_be_submitted(interface: Interface) -> None:
    response = interface.request("GET", "/warm", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert response.code == 200
    forms = list(ET.fromstring(response.body).iter(f"{XHTML}form"))
    assert len(forms) == 2
    for form in forms:
        assert (form.get("action"), form.get("method")) == ("warm", "post")
        inputs = [each for each in form.iter(f"{XHTML}input") if each.get("name")]
        fields = {each.get("name", ""): each.get("value", "x") for each in inputs} | {"jid": "juliet@example.org"}
        assert interface.warm("text/html", data=fields).code == 200
    assert [request.password for request in interface.warmer.requests] == [None, "x"]


def test_the_form_is_available_as_a_page_only(interface: Interface) -> None:
    assert interface.request("GET", "/warm", headers={"Accept": "application/json"}).code == 406


def test_errors_have_the_accepted_form(interface: Interface) -> None:
    interface.warmer.outcome = errors.TimedOut("too long")
    page = interface.warm("text/html")
    root = ET.fromstring(page.body)
    assert root.findtext(f".//{XHTML}title") == "Gateway Timeout" == root.findtext(f".//{XHTML}p")
    assert "too long" in page.body and header(page, "Content-Security-Policy")
    line = interface.warm("text/plain")
    assert line.body.startswith("504 Gateway Timeout: ") and line.body.count("\n") == 1


def test_a_long_reply_has_the_members_of_a_short_one() -> None:
    contact = {"jid": "romeo@example.org", "name": None, "groups": ["Capulet's guests"]}
    for roster in (None, [], [contact] * 3):
        session = replace(SESSION, stanzas=("<message a='\u00e4\"'/>",) * 2, left_out=7, roster=roster)
        long = now(Deferred.fromCoroutine(long_warm_session_reply(Clock(), session)))
        short = warm_session_reply(session, Form.JSON)
        assert json.loads(long.body) == json.loads(short.body)
        assert (long.status, long.content_type) == (short.status, short.content_type)


def test_a_page_shows_how_many_stanzas_were_left_out() -> None:
    assert b"left-out" not in warm_session_reply(SESSION, Form.XHTML).body
    assert b"Stanzas left out: 7" in warm_session_reply(replace(SESSION, left_out=7), Form.XHTML).body
