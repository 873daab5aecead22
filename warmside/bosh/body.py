"""``<body/>`` of XEP-0124: parse and serialize.

The parser limits size, depth and number of elements. It rejects what XMPP does not use: a DTD, entities, processing
instructions, a second root. domish serializes and escapes.

A stanza over the limits is left out alone: its rest is scanned and nothing of it is built. An error would let a sender
block its recipient's login. An element that the login itself awaits is never left out; over its limits it is an error.

Foreign stanzas become text at once. Python's garbage collector would hold the process for 0.2 s to visit 65,000 trees.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from xml.parsers import expat

from twisted.words.xish.domish import Element

from warmside.bosh.contacts import NS_ROSTER, fold_contact
from warmside.bosh.longtags import spans
from warmside.bosh.repair import as_xml
from warmside.compat.xmpp import escaped_namespace

NS_HTTPBIND = "http://jabber.org/protocol/httpbind"
NS_XBOSH = "urn:xmpp:xbosh"
NS_STREAMS = "http://etherx.jabber.org/streams"
NS_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
NS_XML = "http://www.w3.org/XML/1998/namespace"

MAX_SIZE = 64 << 20
"""Maximum bytes of a response: 250 stanzas of 256 KiB, or a roster of 100,000 contacts."""
MAX_DEPTH = 200
"""Maximum nesting of elements. A stanza that is nested deeper is left out: part of a stanza is another stanza."""
MAX_STANZA_ELEMENTS = 1000
"""Maximum elements of a stanza, itself included."""
MAX_STANZA_SIZE = 256 << 10
"""Maximum bytes of a stanza, without its end tag."""
MAX_ELEMENTS = 500_000
"""Maximum elements that are built for a response; further stanzas are left out. An awaited result may have as many."""

SLICE = 4096
"""Bytes that are parsed at a time: a few milliseconds at most."""

SEPARATOR = "\f"
"""Separates namespace and name in expat's names: a character that no XML document can contain."""

Attribute = str | tuple[str, str]
"""Name of an attribute, or its namespace and name."""


Arrived = Element | str
"""A child element of a ``<body/>``: a tree if the login reads it, else its text."""


class InvalidBody(ValueError):
    """The bytes are not a ``<body/>``. The message says why and quotes nothing of them."""


@dataclass(frozen=True, slots=True)
class Body:
    """Parsed ``<body/>``: its attributes and its child elements.

    :ivar elements: see `Arrived`; all are trees if no element was to become text.
    :ivar left_out: number of stanzas over the limits, which are not in ``elements``.
    """

    attributes: Mapping[Attribute, str]
    elements: tuple[Any, ...]
    left_out: int = 0


def encode(attributes: Mapping[Attribute, str], elements: Iterable[Element] = ()) -> bytes:
    """Serialize a ``<body/>``."""
    body = Element((NS_HTTPBIND, "body"), localPrefixes={"xmpp": NS_XBOSH})
    body.attributes.update(attributes)
    body.children.extend(elements)
    serialized: str = body.toXml()
    return serialized.encode()


def decode(data: bytes, awaited: Container[str] | None = None) -> Body:
    """Parse the bytes of a response.

    :param awaited: ids of the login's own requests. Their results, and elements of the stream and of SASL, are never
        left out; all others become text. ``None`` if no element is to become text.
    :raises InvalidBody: they are not one ``<body/>`` within the limits.
    """
    parser = Parser(awaited)
    if len(data) <= SLICE:
        parser.parse_slice(data)
    else:
        for _ in parser.parse(data, len(data)):
            pass
    return parser.body()


class Parser:
    """Builds domish elements from expat's events, within the limits.

    :param awaited: see `decode`.
    """

    def __init__(self, awaited: Container[str] | None = None) -> None:
        parser = expat.ParserCreate("UTF-8", SEPARATOR)
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._forbidden
        parser.EntityDeclHandler = self._forbidden
        parser.ProcessingInstructionHandler = self._forbidden
        self._parser = parser
        self._as_text = awaited is not None
        self._awaited = () if awaited is None else awaited
        self._root: Element | None = None
        self._elements: list[Arrived] = []
        self._open: list[Element] = []
        self._built = 0
        self._left_out = 0
        self._fed = 0
        """Bytes that expat was given."""
        self._shortened: set[int] = set()
        """Where among them a tag was shortened."""
        self._depth = 0
        """Depth at which scanning is, below the root; used only while a stanza is left out."""
        self._own = False
        self._count = self._begin = 0
        self._max_count, self._max_size = MAX_STANZA_ELEMENTS, MAX_STANZA_SIZE
        self._build_on()

    def parse(self, data: bytes, size: int = SLICE) -> Iterator[None]:
        """Parse the whole response, some bytes at each step.

        A token that is longer than a step doubles the next one, because expat reads an incomplete token again.

        :raises InvalidBody: see `decode`.
        """
        if len(data) > MAX_SIZE:
            raise InvalidBody(f"it is longer than {MAX_SIZE} bytes")
        try:
            for span, shortened in spans(as_xml(data)):
                if shortened:
                    self._shortened.add(self._fed)
                yield from self._parse_span(span, size)
            self._parser.Parse(b"", True)
        except expat.ExpatError:
            raise InvalidBody("it is not well-formed XML") from None

    def parse_slice(self, data: bytes) -> None:
        """Parse a whole response of at most `SLICE` bytes: it is one step, and has no long tag.

        :raises InvalidBody: see `decode`.
        """
        try:
            self._parser.Parse(as_xml(data), True)
        except expat.ExpatError:
            raise InvalidBody("it is not well-formed XML") from None

    def _parse_span(self, span: memoryview, size: int) -> Iterator[None]:
        begin, step, seen = 0, size, -1
        while begin < len(span):
            part = span[begin : begin + step]
            self._parser.Parse(part, False)
            begin += len(part)
            self._fed += len(part)
            reached = self._parser.CurrentByteIndex
            step = size if reached > seen else 2 * step
            seen = max(reached, seen)
            yield
        yield

    def body(self) -> Body:
        """Return the result, once everything is parsed.

        :raises InvalidBody: the root element is not a ``<body/>``.
        """
        root = self._root
        assert root is not None, "expat rejects a document without a root"
        if root.uri != NS_HTTPBIND or root.name != "body":
            raise InvalidBody("its root element is not a BOSH body")
        return Body(root.attributes, tuple(self._elements), self._left_out)

    def _build_on(self) -> None:
        parser = self._parser
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._text

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        depth = len(self._open)
        if depth == 1:
            self._begin_child(name, attributes)
        self._count += 1
        index = self._parser.CurrentByteIndex
        if (
            self._count > self._max_count
            or depth >= MAX_DEPTH
            or index - self._begin > self._max_size
            or index in self._shortened
        ):
            self._leave_out(depth)
            return
        element = Element(
            _qname(name),
            attribs=(
                {(_qname(key) if SEPARATOR in key else key): value for key, value in attributes.items()}
                if attributes
                else None
            ),
        )
        if depth > 1:
            element.parent = self._open[-1]
            self._open[-1].children.append(element)
        elif not depth:
            self._root = element
        self._open.append(element)

    def _begin_child(self, name: str, attributes: dict[str, str]) -> None:
        """Choose the limits for a child of the root: a stanza's, or those of an element that the login awaits."""
        self._begin, self._count = self._parser.CurrentByteIndex, 0
        self._max_count, self._max_size = MAX_STANZA_ELEMENTS, MAX_STANZA_SIZE
        uri, _, local = name.rpartition(SEPARATOR)
        self._own = uri in (NS_STREAMS, NS_SASL)
        if local == "iq" and attributes.get("id") in self._awaited and attributes.get("type") in ("result", "error"):
            self._own = True
            self._max_count, self._max_size = MAX_ELEMENTS, MAX_SIZE
        elif not self._own:
            self._max_count = min(MAX_STANZA_ELEMENTS, MAX_ELEMENTS - self._built)

    def _end(self, _: str) -> None:
        element = self._open.pop()
        if len(self._open) == 3 and self._own and (element.uri, element.name) == (NS_ROSTER, "item"):
            fold_contact(element, self._open[2], self._open[1])
            _take_apart(element)
        if len(self._open) != 1:
            return
        if self._parser.CurrentByteIndex - self._begin > self._max_size:
            self._open.append(element)
            self._leave_out(1)
            self._scanned_end(_)
            return
        self._built += self._count
        if self._own or not self._as_text:
            self._elements.append(element)
        else:
            self._elements.append(element.toXml())
            _take_apart(element)

    def _text(self, text: str) -> None:
        if len(self._open) < 2:
            return
        if self._parser.CurrentByteIndex - self._begin > self._max_size:
            self._leave_out(len(self._open) - 1)
            return
        children = self._open[-1].children
        if children and isinstance(children[-1], str):
            text = children.pop() + text
        if len(text) > MAX_STANZA_SIZE:
            self._leave_out(len(self._open) - 1)
            return
        children.append(text)

    def _leave_out(self, depth: int) -> None:
        """Build nothing more of this child of the root; only scan to its end.

        :param depth: its open elements.
        """
        if self._own or not depth:
            raise InvalidBody("the body or an element of the login is too large or nested too deep")
        self._left_out += 1
        self._depth = depth
        for element in self._open[1:2]:
            _take_apart(element)
        del self._open[1:]
        parser = self._parser
        parser.StartElementHandler, parser.EndElementHandler = self._scanned_start, self._scanned_end
        parser.CharacterDataHandler = None

    def _scanned_start(self, _: str, __: dict[str, str]) -> None:
        self._depth += 1

    def _scanned_end(self, _: str) -> None:
        self._depth -= 1
        if not self._depth:
            self._build_on()

    def _forbidden(self, *_: object) -> None:
        raise InvalidBody("it has a DTD, an entity or a processing instruction")


def _take_apart(element: Element) -> None:
    """Break the cycles of a tree, so that its memory is free at once."""
    for child in element.children:
        if isinstance(child, Element):
            child.parent = None
            _take_apart(child)


@lru_cache(maxsize=256)
def _qname(name: str) -> tuple[str, str]:
    """Return expat's name as domish needs it."""
    uri, _, local = name.rpartition(SEPARATOR)
    return (escaped_namespace(uri), local)
