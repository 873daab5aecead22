"""What a request may say: the fields of a body, each read once, checked and bounded."""

import ipaddress
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from warmside.jids import JID, InvalidJID, prepare
from warmside.otp import has_prefix
from warmside.sessions.model import WarmRequest

MAX_FIELDS = 32
MAX_SECONDS = 999_999_999
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


class FieldError(ValueError):
    """A field is missing, malformed, doubled or unknown. The message never shows its value."""

    def __init__(self, field: str, problem: str) -> None:
        self.field = field if re.fullmatch(r"[A-Za-z0-9_-]{1,32}", field) else "(unnamed)"
        super().__init__(f"{self.field}: {problem}")


class BodyError(ValueError):
    """The body is not what its type says it is."""


class UnsupportedType(ValueError):
    """The body's type is neither a form nor JSON."""


class TooManyFields(ValueError):
    """The body has more fields than any request needs."""


def read_fields(content_type: str | None, body: bytes) -> dict[str, Any]:
    """The fields of a form or a JSON object.

    :raises UnsupportedType: it is neither.
    :raises TooManyFields: there are more than 32.
    :raises BodyError: the body can't be parsed.
    :raises FieldError: a field is doubled.
    """
    if content_type is None and not body:
        return {}
    kind, _, parameters = (content_type or "").partition(";")
    charset = re.search(r"charset\s*=\s*\"?([^\s;\"]+)", parameters, re.I)
    if kind.strip().lower() not in (FORM, JSON) or (charset and charset[1].lower() not in ("utf-8", "utf8")):
        raise UnsupportedType(f"send the fields as {FORM} or {JSON}, in UTF-8")
    pairs = _json_pairs(body) if kind.strip().lower() == JSON else _form_pairs(body)
    if len(pairs) > MAX_FIELDS:
        raise TooManyFields(f"there are more than {MAX_FIELDS} fields")
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise FieldError(name, "it is there twice")
        fields[name] = value
    return fields


def _form_pairs(body: bytes) -> list[tuple[str, Any]]:
    if body.count(b"&") > MAX_FIELDS:
        raise TooManyFields(f"there are more than {MAX_FIELDS} fields")
    try:
        return list(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body), errors="strict"))
    except ValueError:
        raise BodyError("the body is not a form in UTF-8") from None


class _Object(list[tuple[str, Any]]):
    """A JSON object with all its members, doubled ones too."""


def _json_pairs(body: bytes) -> list[tuple[str, Any]]:
    try:
        value = json.loads(body.decode(), object_pairs_hook=_Object)
    except (ValueError, RecursionError):
        raise BodyError("the body is not JSON in UTF-8") from None
    if not isinstance(value, _Object):
        raise BodyError("the body is not a JSON object")
    return value


class Reader:
    """Takes known fields out of a request's; `finish` refuses what is left."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = dict(fields)

    def text(self, name: str, *, empty_is_absent: bool = True, right: str = "give a text") -> str | None:
        """A text, or ``None`` if the field is absent."""
        value = self._fields.pop(name, "")
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise FieldError(name, right)
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise FieldError(name, "it is not Unicode text")
        return value or None if empty_is_absent else value

    def has(self, name: str) -> bool:
        """Whether the field is there."""
        return name in self._fields

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number within bounds."""
        right = f"give a whole number from {least} to {most}"
        text = self.text(name, right=right)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most):
            raise FieldError(name, right)
        return int(text)

    def matching(self, name: str, read: Callable[[str], Any], right: str) -> Any:
        """Whatever ``read`` makes of a text; ``None`` if absent. ``read`` raises ValueError."""
        text = self.text(name, right=right)
        if text is None:
            return None
        try:
            return read(text)
        except ValueError:
            raise FieldError(name, right) from None

    def finish(self) -> None:
        """:raises FieldError: there is a field that nobody asked for."""
        for name in self._fields:
            raise FieldError(name, "there is no such field")


def read_warm_request(fields: dict[str, Any]) -> WarmRequest:
    """The warm_request that the fields of ``POST /warm`` express.

    :raises FieldError: one of them is missing, malformed, doubled or unknown.
    """
    reader = Reader(fields)
    jid = _jid(reader)
    warm_request = WarmRequest(
        jid,
        password=_password(reader),
        lang=_language(reader),
        wait=reader.integer("wait", 60, 1, 300),
        hold=reader.integer("hold", 1, 0, 10),
        ver=reader.matching("ver", _ver, "give MAJOR.MINOR, such as 1.6") or (1, 6),
        address=reader.matching("address", _address, "give an IP address"),
        available=reader.matching("presence", _presence, "available is the only one") or False,
        roster=reader.matching("fetch", _fetch, "roster is the only thing that can be fetched") or False,
        attach_within=reader.integer("attach_within", 0, 1, MAX_SECONDS) or None,
    )
    reader.finish()
    return warm_request


def read_jid_alone(fields: dict[str, Any]) -> JID:
    """The one field of ``POST /credentials``.

    :raises FieldError: it is missing or malformed, or there are others.
    """
    reader = Reader(fields)
    jid = _jid(reader)
    reader.finish()
    return jid


def _jid(reader: Reader) -> JID:
    text = reader.text("jid")
    if text is None:
        raise FieldError("jid", "it is missing: give the JID of the user, local@host")
    try:
        return prepare(text)
    except InvalidJID as error:
        raise FieldError("jid", str(error)) from None


def _password(reader: Reader) -> str | None:
    if not reader.has("password"):
        return None
    password = reader.text("password", empty_is_absent=False) or ""
    if not password:
        # Read as absent, an empty password would be as good as the right one.
        raise FieldError("password", "it is empty: leave the field out to log in without the user's password")
    if "\0" in password:
        raise FieldError("password", "it has a character that no password has")
    if has_prefix(password.encode()):
        raise FieldError("password", "one-time passwords are warmside's own: leave the field out")
    return password


def _language(reader: Reader) -> str:
    if reader.has("lang") and reader.has("language"):
        raise FieldError("language", "it is there twice, also as lang")
    right = "give a language tag, such as en or pt-BR"
    return reader.matching("lang", _lang, right) or reader.matching("language", _lang, right) or "en"


def _lang(text: str) -> str:
    if len(text) > 64 or not re.fullmatch(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*", text):
        raise ValueError
    return text


def _ver(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,4})\.([0-9]{1,4})", text)
    if match is None:
        raise ValueError
    return int(match[1]), int(match[2])


def _presence(text: str) -> bool:
    if text != "available":
        raise ValueError
    return True


def _fetch(text: str) -> bool:
    if [part.strip() for part in text.split(",")] != ["roster"]:
        raise ValueError
    return True


def _address(text: str) -> str:
    if "%" in text:
        raise ValueError  # a scope means something on one machine only
    return str(ipaddress.ip_address(text))
