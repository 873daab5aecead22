"""Bodies: parsing, rejected input, and that foreign text can't inject XML."""

import gc
import xml.etree.ElementTree as ET
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.words.xish.domish import Element

from warmside.bosh.body import (
    MAX_DEPTH,
    MAX_SIZE,
    MAX_STANZA_ELEMENTS,
    MAX_STANZA_SIZE,
    NS_XBOSH,
    Body,
    InvalidBody,
    Parser,
    decode,
    encode,
)
from warmside.bosh.contacts import contacts_of

OPEN = b"<body xmlns='http://jabber.org/protocol/httpbind'>"
CLOSE = b"</body>"

xml_text = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=40)


@given(xml_text, xml_text)
def test_text_survives_serializing_and_parsing(attribute: str, text: str) -> None:
    stanza = Element(("jabber:client", "message"))
    stanza["id"] = attribute
    stanza.addElement("body", content=text)
    data = encode({"rid": "1", (NS_XBOSH, "restart"): "true"}, [stanza])
    ET.fromstring(data)
    body = decode(data)
    assert body.attributes["rid"] == "1" and body.attributes[NS_XBOSH, "restart"] == "true"
    (parsed,) = body.elements
    assert (parsed.uri, parsed.name, parsed["id"]) == ("jabber:client", "message", attribute)
    assert str(parsed.body) == text


def test_text_between_stanzas_is_not_an_element() -> None:
    assert [element.name for element in decode(OPEN + b" \n<presence xmlns='jabber:client'/> x" + CLOSE).elements] == [
        "presence"
    ]


def test_a_hostile_namespace_stays_a_namespace_when_it_is_serialized() -> None:
    (element,) = decode(OPEN + b'<x xmlns="a\'><evil/>&amp;"/>'.replace(b"<evil/>", b"&lt;evil/>") + CLOSE).elements
    again = ET.fromstring(element.toXml())
    assert again.tag == "{a'><evil/>&}x"
    assert len(again) == 0


def test_a_strange_stanza_does_not_prevent_reading_the_others() -> None:
    odd = b"<message xmlns='jabber:client'><x xmlns='urn:a b'/></message>"
    deep = b"<message xmlns='jabber:client'>" + b"<x>" * MAX_DEPTH + b"too deep" + b"</x>" * MAX_DEPTH + b"</message>"
    wide = b"<message xmlns='jabber:client' %s/>" % b" ".join(b"a%d=''" % number for number in range(2000))
    plain = b"<message xmlns='jabber:client' id='plain'/>"
    body = decode(OPEN + odd + deep + wide + plain + CLOSE)
    assert body.left_out == 1
    assert body.elements[0].x.uri == "urn:a b"
    assert len(body.elements[1].attributes) == 2000
    assert [element.getAttribute("id") for element in body.elements] == [None, None, "plain"]


def stanza(number: int, kind: str) -> bytes:
    """Return a stanza of a kind; those that are not small are over one limit."""
    content = {
        "small": b"<body>text &amp; text</body>",
        "full": b"<x/>" * (MAX_STANZA_ELEMENTS - 1),
        "many": b"<x/>" * MAX_STANZA_ELEMENTS,
        "long": b"<body>" + b"t" * MAX_STANZA_SIZE + b"</body>",
        "attribute": b"<x a='" + b"t" * MAX_STANZA_SIZE + b"'/>",
        "deep": b"<x>" * MAX_DEPTH + b"</x>" * MAX_DEPTH,
    }[kind]
    return b"<message xmlns='jabber:client' id='%d'>%s</message>" % (number, content)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["small", "full", "many", "long", "attribute", "deep"]), max_size=6), st.data())
def test_oversized_stanzas_are_counted_and_the_others_keep_their_order(kinds: list[str], data: st.DataObject) -> None:
    response = OPEN + b" ".join(stanza(number, kind) for number, kind in enumerate(kinds)) + CLOSE
    kept = [str(number) for number, kind in enumerate(kinds) if kind in ("small", "full")]
    whole = decode(response)
    assert [element["id"] for element in whole.elements] == kept
    assert whole.left_out == len(kinds) - len(kept)
    parser = Parser()
    for _ in parser.parse(response, data.draw(st.integers(min(1 + len(response) // 5000, 99), 20_000))):
        pass
    assert (parser.body().left_out, [each.toXml() for each in parser.body().elements]) == (
        whole.left_out,
        [each.toXml() for each in whole.elements],
    )


def test_a_split_at_any_byte_gives_the_same() -> None:
    response = OPEN + "<presence xmlns='jabber:client'><status>ä&lt;\r\nü</status></presence>".encode() + CLOSE
    for size in range(1, len(response)):
        parser = Parser()
        assert all(step is None for step in parser.parse(response, size))
        assert [each.toXml() for each in parser.body().elements] == [each.toXml() for each in decode(response).elements]
        assert str(parser.body().elements[0].status) == "ä<\nü"


pieces = st.sampled_from(
    [
        "<message xmlns='jabber:client'>",
        "<stream:features>",
        "<iq xmlns='jabber:client' id='own' type='result'>",
        "<query xmlns='jabber:iq:roster'>",
        "<item jid='a@b' name='&lt;é'>",
        "<x xmlns='urn:a&apos;b' xml:lang='en'>",
        "<stream:error>",
        "text &amp; &#233;",
        "<![CDATA[<cdata>]]>",
        "<!-- comment -->",
        "<?pi?>",
        "</",
        "/>",
    ]
)


@settings(max_examples=100, deadline=None)
@given(st.lists(pieces, max_size=12), st.booleans(), st.sampled_from([None, {"own"}]), st.integers(1, 200))
def test_a_body_that_is_read_in_one_step_gives_the_same_result_or_error(
    parts: list[str], closed: bool, awaited: set[str] | None, size: int
) -> None:
    text = ""
    tags: list[str] = []
    for part in parts:
        if part == "</":
            text += f"</{tags.pop()}>" if tags else ""
        elif part == "/>":
            text = text[:-1] + "/>" if tags and text.endswith(">") and not text.endswith("->") else text
        else:
            text += part
            if part[0] == "<" and part[1].isalpha():
                tags.append(part[1:].split(">")[0].split()[0])
    text += "".join(f"</{tag}>" for tag in reversed(tags)) if closed else ""
    data = OPEN[:-1] + b" xmlns:stream='http://etherx.jabber.org/streams'>" + text.encode() + CLOSE

    def result(in_one_step: bool) -> object:
        parser = Parser(awaited)
        try:
            if in_one_step:
                body = decode(data, awaited)
            else:
                assert all(step is None for step in parser.parse(data, size))
                body = parser.body()
        except InvalidBody as error:
            return str(error)
        read = [(each, None) if isinstance(each, str) else (each.toXml(), contacts_of(each)) for each in body.elements]
        return body.attributes, read, body.left_out

    assert result(in_one_step=True) == result(in_one_step=False)


def test_stanzas_after_the_maximum_of_built_elements_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warmside.bosh.body.MAX_ELEMENTS", 10)
    body = decode(OPEN + b"<message xmlns='jabber:client'><x/></message>" * 7 + CLOSE)
    assert (len(body.elements), body.left_out) == (5, 2)


def test_foreign_stanzas_become_the_same_text() -> None:
    own = b"<iq xmlns='jabber:client' id='own' type='result'/>"
    pushed = b"<iq xmlns='jabber:client' id='own' type='set'/>"
    response = OPEN + stanza(1, "small") + pushed + own + stanza(2, "full") + CLOSE
    texts = [each.toXml() for each in decode(response).elements]
    elements = decode(response, {"own"}).elements
    assert [type(each) for each in elements] == [str, str, Element, str]
    assert [each if isinstance(each, str) else each.toXml() for each in elements] == texts


def test_no_tree_of_a_foreign_stanza_is_left_for_the_garbage_collector() -> None:
    response = OPEN + b"<message xmlns='jabber:client'><a><b/></a></message>" * 50 + CLOSE
    gc.collect()
    gc.disable()
    try:
        body = decode(response, set())
        assert (len(body.elements), gc.collect() < 50) == (50, True)
        assert decode(OPEN + b"<message xmlns='jabber:client'>" + b"<x/>" * 1000 + b"</message>" + CLOSE).left_out == 1
        assert gc.collect() < 50
    finally:
        gc.enable()


def test_only_an_awaited_result_may_be_larger_than_a_stanza() -> None:
    items = b"<item/>" * 60_000
    iq = b"<iq xmlns='jabber:client' id='warmside-1' type='result'><query>" + items + b"</query></iq>"
    assert len(list(decode(OPEN + iq + CLOSE, {"warmside-1"}).elements[0].query.elements())) == 60_000
    assert decode(OPEN + iq + CLOSE, {"warmside-2"}).left_out == 1
    assert decode(OPEN + iq.replace(b"'result'", b"'get'") + CLOSE, {"warmside-1"}).left_out == 1


def test_an_oversized_element_of_the_login_is_an_error() -> None:
    features = b"<features xmlns='http://etherx.jabber.org/streams'>" + b"<x/>" * 1000 + b"</features>"
    with pytest.raises(InvalidBody, match="element of the login is too large"):
        decode(OPEN + features + CLOSE)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "well-formed"),
        (b"Internal Server Error", "well-formed"),
        (b"<html><body/></html>", "not a BOSH body"),
        (b"<body/>", "not a BOSH body"),
        (OPEN + CLOSE + OPEN + CLOSE, "well-formed"),
        (OPEN, "well-formed"),
        (b"<!DOCTYPE body [<!ENTITY a 'b'>]>" + OPEN + b"&a;" + CLOSE, "DTD"),
        (b"<!DOCTYPE body>" + OPEN + CLOSE, "DTD"),
        (OPEN + b"<?php evil ?>" + CLOSE, "processing instruction"),
        (OPEN + b" " * MAX_SIZE + CLOSE, "longer"),
        (OPEN + b"\xff" + CLOSE, "well-formed"),
    ],
)
def test_invalid_bodies_are_rejected_with_a_reason(data: bytes, why: str) -> None:
    with pytest.raises(InvalidBody, match=why):
        decode(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_rejected(data: bytes) -> None:
    for candidate in (data, OPEN + data + CLOSE):
        with suppress(InvalidBody):
            assert isinstance(decode(candidate), Body)


@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_prefix_that_ejabberd_declares_twice_or_never_is_accepted(times: int) -> None:
    declared = b" xmlns:stream='http://etherx.jabber.org/streams'"
    body = decode(OPEN[:-1] + declared * times + b" type='terminate'><stream:error></stream:error>" + CLOSE)
    assert body.attributes["type"] == "terminate"
    assert (body.elements[0].uri, body.elements[0].name) == ("http://etherx.jabber.org/streams", "error")
    with pytest.raises(InvalidBody):
        decode(OPEN[:-1] + b" a='1' a='2'>" + CLOSE)


def test_a_ban_with_doubled_attributes_is_accepted() -> None:
    ended = b" type='terminate' condition='remote-stream-error'"
    declared = b" xmlns:stream='http://etherx.jabber.org/streams'"
    body = decode(OPEN[:-1] + ended * 2 + declared + b"><stream:error></stream:error>" + CLOSE)
    assert body.attributes["condition"] == "remote-stream-error"
    assert body.elements[0].name == "error"
