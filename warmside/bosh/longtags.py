"""Find tags that are too long for a stanza, and shorten them before they are parsed.

expat reads a whole tag in one step, which takes 0.1 s for 20 MB. A tag over `MAX_TAG` makes its stanza too large in any
case. So a short tag takes its place, and the parser leaves the stanza out.
"""

import re
from collections.abc import Iterator

MAX_TAG = 256 << 10
"""Maximum bytes of a tag: those of a stanza."""
WINDOW = 64 << 10
"""Bytes from one look for a tag to the next."""
MAX_STEP = 1000
"""Windows or attributes that are read in one step."""

_END_OR_QUOTE = re.compile(rb"[\"'>]")
_NAME = re.compile(rb"</?+([^\s/>]*+)")


def spans(data: bytes) -> Iterator[tuple[memoryview, bool]]:
    """Yield the parts of a response in order, and True for one that takes the place of a long tag.

    Some parts are empty: they divide the work into short steps. Nothing is shortened in a response with CDATA, a
    comment or a DTD: a ``<`` in these begins no tag, and no known manager sends them.
    """
    view = memoryview(data)
    begin = end = 0
    plain: bool | None = None
    for tag in _wide_tags(data):
        if tag < end:
            yield view[:0], False
            continue
        for reached in _tag_end(data, tag):
            end = reached
            yield view[:0], False
        if end - tag <= MAX_TAG:
            continue
        if plain is None:
            plain = b"<!" not in data
        if plain:
            yield view[begin:tag], False
            yield memoryview(_shortened(data, tag, end)), True
            begin = end
    yield view[begin:], False


def _wide_tags(data: bytes) -> Iterator[int]:
    """Yield the index of each ``<`` that no other one follows within `MAX_TAG` bytes, and -1 after some windows."""
    at, number = data.find(b"<"), 0
    while at >= 0 and len(data) - at > MAX_TAG:
        following = data.rfind(b"<", at + 1, at + WINDOW)
        if following < 0:
            following = data.find(b"<", at + WINDOW, at + MAX_TAG)
        if following < 0:
            yield at
            following = data.find(b"<", at + MAX_TAG)
        at = following
        number += 1
        if not number % MAX_STEP:
            yield -1


def _tag_end(data: bytes, tag: int) -> Iterator[int]:
    """Yield how far a tag is read, after some of its attributes at a time; at last the index behind its end.

    A tag without an end has its own index: expat rejects it.
    """
    at, number = tag, 0
    while (found := _END_OR_QUOTE.search(data, at)) is not None:
        if found[0] == b">":
            yield found.end()
            return
        at = data.find(found[0], found.end()) + 1
        if not at:
            break
        number += 1
        if not number % MAX_STEP:
            yield tag
    yield tag


def _shortened(data: bytes, tag: int, end: int) -> bytes:
    """Return a tag without attributes. A prefix is declared; a name of more than `MAX_TAG` bytes is replaced."""
    found = _NAME.match(data, tag)
    assert found is not None
    start, name = data[tag : found.start(1)], found[1]
    if len(name) > MAX_TAG:
        name = b"n"
    if start == b"</":
        return start + name + b">"
    prefix, colon, _ = name.partition(b":")
    declared = b" xmlns:" + prefix + b"='long'" if colon and prefix != b"xml" else b""
    return start + name + declared + (b"/>" if data[end - 2 : end] == b"/>" else b">")
