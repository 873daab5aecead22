"""Tags that are too long for a stanza: their stanza is left out, in short steps."""

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmside.bosh.body import Body, InvalidBody, Parser, decode
from warmside.bosh.longtags import MAX_TAG, spans

OPEN = b"<body xmlns='http://jabber.org/protocol/httpbind'>"
CLOSE = b"</body>"
SMALL = b"<message xmlns='jabber:client' id='%d'/>"
LONG = b"x" * (MAX_TAG + 1)
NAME = b"n" * MAX_TAG


class CountingParser(Parser):
    """Counts the bytes that expat is given."""

    @property
    def fed(self) -> int:
        return self._fed


def parsed(content: bytes, awaited: Any = None) -> tuple[Body, int]:
    """Return the body, and the number of bytes that expat was given."""
    parser = CountingParser(awaited)
    for _ in parser.parse(OPEN + content + CLOSE):
        pass
    return parser.body(), parser.fed


@pytest.mark.parametrize(
    "foreign",
    [
        b"<message to='" + LONG + b"'/>",
        b'<message to="' + LONG + b"'>/>\"/>",
        b"<message to='" + LONG + b"'>text</message>",
        b"<message><x><y a='1' to='" + LONG + b"' z='/'></y></x></message>",
        b"<p:message xmlns:p='urn:p' to='" + LONG + b"'><p:x/></p:message>",
        b"<message xml:lang='" + LONG + b"'/>",
        b"<message>" + b"<x to='" + LONG + b"'/>" * 3 + b"</message>",
        b"<message " + b" ".join(b"a%d='%d'" % (number, number) for number in range(20_000)) + b"/>",
        b"<" + NAME + b">text</" + NAME + b">",
        b"<" + NAME[1:] + b" a='1'></" + NAME[1:] + b">",
        b"<message>" + LONG + b"</message>",
        b"<message><![CDATA[<a b='" + LONG + b"' >]]></message>",
    ],
    ids=[
        "attribute",
        "other quotes",
        "children",
        "deep",
        "prefix",
        "xml prefix",
        "several",
        "many attributes",
        "name",
        "shorter name",
        "text",
        "cdata",
    ],
)
def test_only_the_stanza_of_a_long_tag_is_left_out(foreign: bytes) -> None:
    ET.fromstring(OPEN + foreign + CLOSE)
    body, _ = parsed(SMALL % 1 + foreign + SMALL % 2 + foreign + SMALL % 3, set())
    assert [ET.fromstring(str(text)).get("id") for text in body.elements] == ["1", "2", "3"]
    assert body.left_out == 2


@pytest.mark.parametrize("name", [b"message", NAME[20:]], ids=["space", "name"])
def test_an_end_tag_does_not_count(name: bytes) -> None:
    body, _ = parsed(SMALL % 1 + b"<" + name + b" id='2'></" + name + b" " * MAX_TAG + b">" + SMALL % 3, set())
    assert [ET.fromstring(str(text)).get("id") for text in body.elements] == ["1", "2", "3"]


def test_expat_never_gets_a_long_tag() -> None:
    content = SMALL % 1 + b"<message to='" + b"x" * 5_000_000 + b"'/>" + SMALL % 2
    body, fed = parsed(content, set())
    assert (len(body.elements), body.left_out) == (2, 1)
    assert fed < 1000


def test_a_tag_of_the_maximum_length_is_parsed_as_it_is() -> None:
    start, end = b"<message to='", b"'/>"
    content = start + b"x" * (MAX_TAG - len(start) - len(end)) + end
    (stanza,) = parsed(content)[0].elements
    assert len(stanza["to"]) == MAX_TAG - 16


@pytest.mark.parametrize(
    "data",
    [
        OPEN.replace(b">", b" a='" + LONG + b"'>") + CLOSE,
        OPEN + b"<features xmlns='http://etherx.jabber.org/streams'><x a='" + LONG + b"'/></features>" + CLOSE,
        OPEN + b"<iq xmlns='jabber:client' id='own' type='result'><x a='" + LONG + b"'/></iq>" + CLOSE,
        OPEN + b"<iq xmlns='jabber:client' id='own' type='result'><x>" + LONG + LONG + b"</x></iq>" + CLOSE,
    ],
    ids=["body", "features", "result", "text of a result"],
)
def test_a_long_tag_or_text_of_the_login_is_an_error(data: bytes) -> None:
    with pytest.raises(InvalidBody, match="too large"):
        decode(data, {"own"})


@pytest.mark.parametrize(
    "rest", [b"", b"'", b"' b", b"'/", b"'></message>"], ids=["value", "tag", "name", "end", "root"]
)
def test_a_response_that_ends_in_a_long_tag_is_invalid(rest: bytes) -> None:
    with pytest.raises(InvalidBody, match="well-formed"):
        decode(OPEN + b"<message to='" + LONG + rest, set())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_parts_are_the_response_with_each_long_tag_shortened(data: st.DataObject) -> None:
    """Compare with the same response whose long values are short."""
    value = st.sampled_from([b"v" * 20, b"w" * 40, b"> /", b""])
    name = st.sampled_from([b"a", b"ns:b"])
    content, expected = b"", b""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warmside.bosh.longtags.MAX_TAG", 64)
        patch.setattr("warmside.bosh.longtags.WINDOW", data.draw(st.sampled_from([16, 32, 64])))
        patch.setattr("warmside.bosh.longtags.MAX_STEP", data.draw(st.sampled_from([1, 3])))
        for _ in range(data.draw(st.integers(0, 6))):
            tag = data.draw(name)
            attributes = b"".join(
                b" k%d=%s%s%s" % (number, quote, data.draw(value), quote)
                for number, quote in enumerate(data.draw(st.lists(st.sampled_from([b"'", b'"']), max_size=4)))
            )
            empty, text = data.draw(st.booleans()), data.draw(st.sampled_from([b"", b"t" * 30, b"t" * 200]))
            end = b"/>" if empty else b">"
            start = b"<" + tag + attributes + end
            content += start + text
            declared = b" xmlns:ns='long'" if tag == b"ns:b" else b""
            expected += (b"<" + tag + declared + end if len(start) > 64 else start) + text
            if not empty:
                content, expected = content + b"</" + tag + b">", expected + b"</" + tag + b">"
        assert b"".join(part for part, _ in spans(content + b"<end/>")) == expected + b"<end/>"
