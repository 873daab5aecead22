"""Bodies: parsing, rejected input, and that foreign text can't inject XML."""

import xml.etree.ElementTree as ET
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.words.xish.domish import Element

from warmside.bosh.body import MAX_DEPTH, MAX_SIZE, NS_XBOSH, Body, InvalidBody, decode, encode

OPEN = b"<body xmlns='http://jabber.org/protocol/httpbind'>"
CLOSE = b"</body>"
MAX_ELEMENTS = 1000
"""Lower than the real limit, so that the test is fast."""

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
    deep = b"<message xmlns='jabber:client'>" + b"<x>" * 5000 + b"too deep" + b"</x>" * 5000 + b"after</message>"
    wide = b"<message xmlns='jabber:client' %s/>" % b" ".join(b"a%d=''" % number for number in range(2000))
    plain = b"<message xmlns='jabber:client' id='plain'/>"
    elements = decode(OPEN + odd + deep + wide + plain + CLOSE).elements
    assert len(elements) == 4
    assert elements[0].x.uri == "urn:a b"
    assert str(elements[1]) == "after" and "too deep" not in elements[1].toXml()
    assert elements[1].toXml().count("<x") == MAX_DEPTH - 2
    assert len(elements[2].attributes) == 2000
    assert elements[3]["id"] == "plain"


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
        (OPEN + b"<x/>" * MAX_ELEMENTS + CLOSE, "too many elements"),
        (OPEN + b" " * MAX_SIZE + CLOSE, "longer"),
        (OPEN + b"\xff" + CLOSE, "well-formed"),
    ],
)
def test_invalid_bodies_are_rejected_with_a_reason(data: bytes, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warmside.bosh.body.MAX_ELEMENTS", MAX_ELEMENTS)
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
