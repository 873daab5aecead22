"""Parse the body of a request, a form or a JSON object, into fields."""

import json
import re
from typing import Any
from urllib.parse import parse_qsl

MAX_FIELDS = 32
"""Maximum number of fields in a body."""
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


class FieldError(ValueError):
    """A field is missing, malformed, duplicate or unknown. The message never contains the field's value.

    :ivar field: the field's name, or ``(unnamed)`` if the name is not safe to show.
    """

    def __init__(self, field: str, reason: str) -> None:
        self.field = field if re.fullmatch(r"[A-Za-z0-9_-]{1,32}", field) else "(unnamed)"
        super().__init__(f"{self.field}: {reason}")


class BodyError(ValueError):
    """The body does not have the format of its type."""


class UnsupportedType(ValueError):
    """The body's type is neither a form nor JSON, or the body is compressed."""


class TooManyFields(ValueError):
    """The body has more than 32 fields."""

    def __init__(self) -> None:
        super().__init__(f"the body has more than {MAX_FIELDS} fields")


def read_fields(content_type: str | None, body: bytes, content_encoding: str | None = None) -> dict[str, Any]:
    """Return the fields of a form or a JSON object. A byte order mark at its start is skipped.

    :raises UnsupportedType: it is neither, or has a content encoding.
    :raises TooManyFields: it has more than 32 fields.
    :raises BodyError: it is malformed.
    :raises FieldError: a field is duplicate.
    """
    if content_encoding is not None and content_encoding.strip().lower() not in ("", "identity"):
        raise UnsupportedType("Content-Encoding is not supported: send the body without compression")
    if content_type is None and not body:
        return {}
    media_type, _, parameters = (content_type or "").partition(";")
    media_type = media_type.strip().lower()
    charset = re.search(r"charset\s*=\s*\"?([^\s;\"]+)", parameters, re.I)
    if media_type not in (FORM, JSON) or (charset and charset[1].lower() not in ("utf-8", "utf8")):
        raise UnsupportedType(f"send the fields as {FORM} or {JSON}, in UTF-8")
    pairs = _json_pairs(body) if media_type == JSON else _form_pairs(body)
    if len(pairs) > MAX_FIELDS:
        raise TooManyFields
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise FieldError(name, "duplicate: send it once")
        fields[name] = value
    return fields


def _form_pairs(body: bytes) -> list[tuple[str, Any]]:
    if body.count(b"&") > MAX_FIELDS:
        raise TooManyFields
    try:
        return list(parse_qsl(_text(body), keep_blank_values=True, strict_parsing=bool(body), errors="strict"))
    except ValueError:
        raise BodyError(f"the body is not {FORM} in UTF-8") from None


def _text(body: bytes) -> str:
    return body.decode("utf-8-sig")


class _Object(list[tuple[str, Any]]):
    """A JSON object with all its members, including duplicate ones."""


def _json_pairs(body: bytes) -> list[tuple[str, Any]]:
    try:
        value = json.loads(_text(body), object_pairs_hook=_Object)
    except (ValueError, RecursionError):
        raise BodyError("the body is not JSON in UTF-8") from None
    if not isinstance(value, _Object):
        raise BodyError("the body is not a JSON object")
    return value
