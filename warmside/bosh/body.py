"""The ``<body/>`` of XEP-0124: bytes to elements and back.

Parsing is bounded in size, depth and count, and refuses what XMPP has no use for: a DTD, entities,
processing instructions, a second root. Serializing is domish's, which escapes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.parsers import expat

from twisted.words.xish.domish import Element, escapeToXml

NS_HTTPBIND = "http://jabber.org/protocol/httpbind"
NS_XBOSH = "urn:xmpp:xbosh"
NS_STREAMS = "http://etherx.jabber.org/streams"
NS_XML = "http://www.w3.org/XML/1998/namespace"

MAX_SIZE = 16 << 20
"""Most bytes of a response: a hundred long messages that waited, or a roster of tens of thousands."""
MAX_DEPTH = 200
"""What is nested deeper is left out. Refusing it would let any sender of a message keep its recipient out."""
MAX_ELEMENTS = 500_000

SEPARATOR = "\f"
"""Between namespace and name in what expat reports: a character that no XML document can have."""

_STREAM_PREFIX = f" xmlns:stream='{NS_STREAMS}'".encode()
_TERMINATED = b" type='terminate' condition='remote-stream-error'"

Attribute = str | tuple[str, str]
"""An attribute's name, or its namespace and name."""


class InvalidBody(ValueError):
    """Bytes are not a ``<body/>``. The message says what they are instead and quotes nothing."""


@dataclass(frozen=True, slots=True)
class Body:
    """A parsed ``<body/>``: its attributes, and the elements in it."""

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

    :raises InvalidBody: they are not one ``<body/>`` within the bounds.
    """
    if len(data) > MAX_SIZE:
        raise InvalidBody(f"it is longer than {MAX_SIZE} bytes")
    root = _Builder().build(_as_xml(data))
    if root.uri != NS_HTTPBIND or root.name != "body":
        raise InvalidBody("it is XML, but no BOSH body")
    return Body(root.attributes, tuple(child for child in root.children if isinstance(child, Element)))


def _as_xml(data: bytes) -> bytes:
    """ejabberd 23.01 writes attributes twice, or no prefix ``stream``, when it ends a session at its creation.

    That is how a ban looks, so such a body, which is not well-formed, has to be read all the same.
    """
    head, end, rest = data.partition(b">")
    for written in (_STREAM_PREFIX, _TERMINATED):
        if head.count(written) == 2:
            head = head.replace(written, b"", 1)
    if rest.startswith(b"<stream:error>") and _STREAM_PREFIX not in head:
        head += _STREAM_PREFIX
    return head + end + rest


class _Builder:
    """Builds domish elements from expat's events, within the bounds."""

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
        assert self._root is not None, "expat lets no document without a root pass"
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
    """Expat's URI and name as domish wants it. Domish writes namespaces unescaped, so they are escaped here."""
    uri, _, local = name.rpartition(SEPARATOR)
    return (escapeToXml(uri, 1), local)
