"""``<body/>`` of XEP-0124: parse and serialize.

The parser limits size, depth and number of elements. It rejects what XMPP does not use: a DTD, entities, processing
instructions, a second root. domish serializes and escapes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.parsers import expat

from twisted.words.xish.domish import Element

from warmside.compat.xmpp import escaped_namespace

NS_HTTPBIND = "http://jabber.org/protocol/httpbind"
NS_XBOSH = "urn:xmpp:xbosh"
NS_STREAMS = "http://etherx.jabber.org/streams"
NS_XML = "http://www.w3.org/XML/1998/namespace"

MAX_SIZE = 16 << 20
"""Maximum bytes of a response: enough for a hundred long offline messages, or a roster of 20,000 contacts."""
MAX_DEPTH = 200
"""Maximum nesting of elements. Deeper ones are left out: an error would let a sender block its recipient's login."""
MAX_ELEMENTS = 500_000
"""Maximum elements of a response."""

SEPARATOR = "\f"
"""Separates namespace and name in expat's names: a character that no XML document can contain."""

_STREAM_PREFIX = f" xmlns:stream='{NS_STREAMS}'".encode()
_TERMINATED = b" type='terminate' condition='remote-stream-error'"

Attribute = str | tuple[str, str]
"""Name of an attribute, or its namespace and name."""


class InvalidBody(ValueError):
    """The bytes are not a ``<body/>``. The message says why and quotes nothing of them."""


@dataclass(frozen=True, slots=True)
class Body:
    """Parsed ``<body/>``: its attributes and its child elements."""

    attributes: Mapping[Attribute, str]
    elements: tuple[Element, ...]


def encode(attributes: Mapping[Attribute, str], elements: Iterable[Element] = ()) -> bytes:
    """Serialize a ``<body/>``."""
    body = Element((NS_HTTPBIND, "body"), localPrefixes={"xmpp": NS_XBOSH})
    body.attributes.update(attributes)
    body.children.extend(elements)
    serialized: str = body.toXml()
    return serialized.encode()


def decode(data: bytes) -> Body:
    """Parse the bytes of a response.

    :raises InvalidBody: they are not one ``<body/>`` within the limits.
    """
    if len(data) > MAX_SIZE:
        raise InvalidBody(f"it is longer than {MAX_SIZE} bytes")
    root = _Builder().build(_as_xml(data))
    if root.uri != NS_HTTPBIND or root.name != "body":
        raise InvalidBody("its root element is not a BOSH body")
    return Body(root.attributes, tuple(child for child in root.children if isinstance(child, Element)))


def _as_xml(data: bytes) -> bytes:
    """Return the bytes as well-formed XML where ejabberd 23.01 sends something else.

    It rejects a banned client's session creation with doubled attributes, or without declaring the prefix ``stream``.
    """
    head, end, rest = data.partition(b">")
    for written in (_STREAM_PREFIX, _TERMINATED):
        if head.count(written) == 2:
            head = head.replace(written, b"", 1)
    if rest.startswith(b"<stream:error>") and _STREAM_PREFIX not in head:
        head += _STREAM_PREFIX
    return head + end + rest


class _Builder:
    """Builds domish elements from expat's events, within the limits."""

    def __init__(self) -> None:
        parser = expat.ParserCreate("UTF-8", SEPARATOR)
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._forbidden
        parser.EntityDeclHandler = self._forbidden
        parser.ProcessingInstructionHandler = self._forbidden
        self._parser = parser
        self._root: Element | None = None
        self._open: list[Element] = []
        self._count = 0
        self._too_deep = 0

    def build(self, data: bytes) -> Element:
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError:
            raise InvalidBody("it is not well-formed XML") from None
        assert self._root is not None, "expat rejects a document without a root"
        return self._root

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS:
            raise InvalidBody("it has too many elements")
        if self._too_deep or len(self._open) >= MAX_DEPTH:
            self._too_deep += 1
            return
        element = Element(
            _qname(name),
            attribs={(_qname(key) if SEPARATOR in key else key): value for key, value in attributes.items()},
        )
        if self._open:
            element.parent = self._open[-1]
            self._open[-1].children.append(element)
        else:
            self._root = element
        self._open.append(element)

    def _end(self, name: str) -> None:
        if self._too_deep:
            self._too_deep -= 1
        else:
            self._open.pop()

    def _text(self, text: str) -> None:
        if not self._too_deep:
            self._open[-1].children.append(text)

    def _forbidden(self, *_: object) -> None:
        raise InvalidBody("it has a DTD, an entity or a processing instruction")


def _qname(name: str) -> tuple[str, str]:
    """Return expat's name as domish needs it."""
    uri, _, local = name.rpartition(SEPARATOR)
    return (escaped_namespace(uri), local)
