"""Content negotiation: choose the form of a reply by the ``Accept`` header (RFC 9110, 12.5.1)."""

import enum
from collections.abc import Iterable

MAX_RANGES = 50
"""Maximum number of media ranges that are read; the rest is ignored."""


class Form(enum.Enum):
    """The form of a reply."""

    HTML = "text/html"
    XHTML = "application/xhtml+xml"
    JSON = "application/json"
    TEXT = "text/plain"


PROBLEM_JSON = "application/problem+json"
"""Media type of an error in JSON (RFC 9457). A client that accepts it gets errors in JSON, but no other reply."""


def choose(accept: Iterable[str], *, error: bool = False) -> Form | None:
    """Return the form that the client prefers; ``None`` if it accepts no form.

    Each form has the weight of the most specific media range that matches it. With equal weights, a form that is
    named precedes one that only a wildcard matches, then the one that is named first. ``application/xhtml+xml`` is
    chosen only if ``text/html`` is not accepted.

    :param accept: the values of all ``Accept`` headers.
    :param error: True if the reply is an error.
    """
    ranges = _ranges(accept)
    if not ranges:
        return Form.HTML
    ranks: dict[Form, tuple[float, int, int]] = {}
    for form in Form:
        names = (form.value, PROBLEM_JSON) if error and form is Form.JSON else (form.value,)
        best = max(_match(name, ranges) for name in names)
        if best[0] > 0:
            ranks[form] = best
    if not ranks:
        return None
    preferred = max(ranks, key=lambda form: ranks[form])
    return Form.HTML if preferred is Form.XHTML and Form.HTML in ranks else preferred


def accepts_json(accept: Iterable[str]) -> bool:
    """Return True if a reply in JSON is acceptable, even if another form is preferred."""
    ranges = _ranges(accept)
    return not ranges or _match(Form.JSON.value, ranges)[0] > 0


def _ranges(accept: Iterable[str]) -> dict[str, tuple[float, int]]:
    """Return the weight and the position of each media range."""
    ranges: dict[str, tuple[float, int]] = {}
    texts = [part for value in accept for part in value.split(",") if part.strip()]
    for position, text in enumerate(texts[:MAX_RANGES]):
        name, *parameters = (piece.strip().lower() for piece in text.split(";"))
        ranges.setdefault(name, (_weight(parameters), position))
    return ranges


def _match(name: str, ranges: dict[str, tuple[float, int]]) -> tuple[float, int, int]:
    """Return weight, specificity and negative position of the range that matches a media type: greater is better."""
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
