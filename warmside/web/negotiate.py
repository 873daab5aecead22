"""Which form a reply takes: the ``Accept`` header (RFC 9110, 12.5.1)."""

import enum
from collections.abc import Iterable

MOST_RANGES = 50


class Form(enum.Enum):
    """The forms of a reply."""

    HTML = "text/html"
    XHTML = "application/xhtml+xml"
    JSON = "application/json"
    TEXT = "text/plain"


TYPES = {
    "text/html": Form.HTML,
    "application/xhtml+xml": Form.XHTML,
    "application/json": Form.JSON,
    "application/problem+json": Form.JSON,
    "text/plain": Form.TEXT,
}


def choose(accept: Iterable[str]) -> Form | None:
    """The form that the caller likes best; ``None`` if he accepts none of them.

    A type that is named comes before a wildcard of the same weight, and the earlier before the
    later. XHTML is served as ``application/xhtml+xml`` only where ``text/html`` is not accepted.

    :param accept: the values of all ``Accept`` headers.
    """
    ranges = [part for value in accept for part in value.split(",") if part.strip()][:MOST_RANGES]
    if not ranges:
        return Form.HTML
    weights: dict[str, float] = {}
    for text in ranges:
        name, *parameters = (piece.strip().lower() for piece in text.split(";"))
        weights.setdefault(name, _weight(parameters))
    best: Form | None = None
    best_rank = (0.0, 0, 0)
    for position, (name, weight) in enumerate(weights.items()):
        form, named = _form(name, weights)
        rank = (weight, named, -position)
        if form is not None and weight > 0 and (best is None or rank > best_rank):
            best, best_rank = form, rank
    if best is Form.XHTML and weights.get("text/html", weights.get("text/*", weights.get("*/*", 0))) > 0:
        return Form.HTML
    return best


def accepts_json(accept: Iterable[str]) -> bool:
    """Whether a reply in JSON is acceptable, be it liked best or not."""
    weights: dict[str, float] = {}
    for text in [part for value in accept for part in value.split(",") if part.strip()][:MOST_RANGES]:
        name, *parameters = (piece.strip().lower() for piece in text.split(";"))
        weights.setdefault(name, _weight(parameters))
    for name in ("application/json", "application/*", "*/*"):
        if name in weights:
            return weights[name] > 0
    return not weights


def _form(name: str, weights: dict[str, float]) -> tuple[Form | None, int]:
    """What a media range gives, and how exactly it names it. A wildcard gives the first type not excluded."""
    if name in TYPES:
        return TYPES[name], 2
    if name in ("*/*", "text/*", "application/*"):
        prefix = name.removesuffix("*").removeprefix("*/")
        for candidate, form in TYPES.items():
            if candidate.startswith(prefix) and weights.get(candidate, 1) > 0:
                return form, 0 if name == "*/*" else 1
    return None, 0


def _weight(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
