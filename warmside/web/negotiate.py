"""Which form a reply takes: the ``Accept`` header (RFC 9110, 12.5.1)."""

import enum
from collections.abc import Iterable

MAX_RANGES = 50


class Form(enum.Enum):
    """The forms of a reply."""

    HTML = "text/html"
    XHTML = "application/xhtml+xml"
    JSON = "application/json"
    TEXT = "text/plain"


NAMES = {
    Form.HTML: ("text/html",),
    Form.XHTML: ("application/xhtml+xml",),
    Form.JSON: ("application/json",),
    Form.TEXT: ("text/plain",),
}
PROBLEM = "application/problem+json"
"""What an error in JSON is (RFC 9457); who accepts it gets errors so, but no other reply."""


def choose(accept: Iterable[str], *, error: bool = False) -> Form | None:
    """The form that the caller likes best; ``None`` if he accepts none of them.

    Each form has the weight of the most specific range that matches it. Of the same weight, one that
    is named comes before one that only a wildcard matches, and the earlier before the later. XHTML is
    served as ``application/xhtml+xml`` only where ``text/html`` is not accepted.

    :param accept: the values of all ``Accept`` headers.
    :param error: whether it is for an error.
    """
    ranges = _ranges(accept)
    if not ranges:
        return Form.HTML
    ranks: dict[Form, tuple[float, int, int]] = {}
    for form, names in NAMES.items():
        matches = [_match(name, ranges) for name in ((*names, PROBLEM) if error and form is Form.JSON else names)]
        best = max(matches)
        if best[0] > 0:
            ranks[form] = best
    if not ranks:
        return None
    liked = max(ranks, key=lambda form: ranks[form])
    return Form.HTML if liked is Form.XHTML and Form.HTML in ranks else liked


def accepts_json(accept: Iterable[str]) -> bool:
    """Whether a reply in JSON is acceptable, be it liked best or not."""
    ranges = _ranges(accept)
    return not ranges or _match("application/json", ranges)[0] > 0


def _ranges(accept: Iterable[str]) -> dict[str, tuple[float, int]]:
    """The media ranges with their weights and places."""
    ranges: dict[str, tuple[float, int]] = {}
    texts = [part for value in accept for part in value.split(",") if part.strip()]
    for position, text in enumerate(texts[:MAX_RANGES]):
        name, *parameters = (piece.strip().lower() for piece in text.split(";"))
        ranges.setdefault(name, (_weight(parameters), position))
    return ranges


def _match(name: str, ranges: dict[str, tuple[float, int]]) -> tuple[float, int, int]:
    """The weight of a type, how exactly it is named, and how early (greater is earlier)."""
    for specificity, pattern in ((2, name), (1, name.partition("/")[0] + "/*"), (0, "*/*")):
        if pattern in ranges:
            weight, position = ranges[pattern]
            return weight, specificity, -position
    return 0.0, 0, 0


def _weight(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
