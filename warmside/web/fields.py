"""The fields of requests.

To add a field: an entry in `WARM_FIELDS`, and an attribute of `WarmRequest`. The reader, the form of ``GET /warm``
and the OpenAPI description follow from the entry.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from warmside.jids import JID, MAX_CHARACTERS, InvalidJID, prepare
from warmside.otp import has_prefix
from warmside.sessions.model import WarmRequest
from warmside.web.body import FieldError
from warmside.web.client_address import parse_address

MAX_ATTACH_WITHIN = 999_999_999
"""Seconds; the connection manager has a limit of its own, ``maxpause``."""
MAX_LANGUAGE = 64
"""Maximum length of a language tag in characters."""
LANGUAGE = "^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*$"
"""Pattern of a language tag (xml:lang)."""
JID_PATTERN = "^[^@/]+@[^@/]+(/.+)?$"
"""Pattern of JIDs for the OpenAPI description. It accepts every valid JID, and some that are not valid."""


class InvalidValue(ValueError):
    """A field has an invalid value. The message says why, and does not contain the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a request.

    :ivar read: returns the value that a text means, or raises `ValueError`.
    :ivar expected: describes the valid values, in error messages.
    :ivar schema: JSON Schema of the value, for the OpenAPI description.
    :ivar attribute: attribute of `WarmRequest` that takes the value; an absent field leaves its default.
    :ivar required: True if the field must not be absent.
    :ivar allow_empty: True if ``read`` takes an empty text, which otherwise means that the field is absent.
    :ivar label: label in the form of ``GET /warm``; ``None`` if the form does not have the field.
    :ivar preset: initial value in that form.
    """

    name: str
    read: Callable[[str], Any]
    expected: str
    schema: dict[str, Any]
    attribute: str
    required: bool = False
    allow_empty: bool = False
    label: str | None = None
    preset: str | None = ""


def _integer(name: str, minimum: int, maximum: int, schema: dict[str, Any], label: str, preset: str = "") -> Field:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and minimum <= int(text) <= maximum):
            raise ValueError
        return int(text)

    return Field(
        name=name,
        read=read,
        expected=f"an integer from {minimum} to {maximum}",
        schema={"type": "integer", "minimum": minimum, "maximum": maximum, **schema},
        attribute=name,
        label=label,
        preset=preset,
    )


def _read_password(text: str) -> str:
    if not text:
        # Reading it as absent would log the user in without the password.
        raise InvalidValue("empty: leave the field out to log in without the user's password")
    if "\0" in text:
        raise InvalidValue("contains a NUL character, which no password has")
    if has_prefix(text.encode()):
        raise InvalidValue("has the prefix of a one-time password: leave the field out, and warmside issues one")
    return text


def _read_language(text: str) -> str:
    if len(text) > MAX_LANGUAGE or not re.fullmatch(LANGUAGE, text):
        raise ValueError
    return text


def _read_version(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,4})\.([0-9]{1,4})", text)
    if match is None:
        raise ValueError
    return int(match[1]), int(match[2])


def _read_address(text: str) -> str:
    if "%" in text:
        raise ValueError  # a scope is valid on one machine only
    return str(parse_address(text))


def _read_presence(text: str) -> bool:
    if text != "available":
        raise ValueError
    return True


def _read_fetch(text: str) -> bool:
    if [part.strip() for part in text.split(",")] != ["roster"]:
        raise ValueError
    return True


JID_FIELD = Field(
    name="jid",
    read=prepare,
    expected="the user's JID, LOCAL@HOST or LOCAL@HOST/RESOURCE",
    schema={
        "type": "string",
        "minLength": 3,
        "maxLength": MAX_CHARACTERS,
        "pattern": JID_PATTERN,
        "description": "Bare or full JID with a local part.",
        "examples": ["juliet@example.org"],
    },
    attribute="jid",
    required=True,
    label="JID",
    preset=None,
)

LANG_FIELD = Field(
    name="lang",
    read=_read_language,
    expected="a language tag, such as en or pt-BR",
    # No "default": generated clients send the defaults of both spellings, and two spellings are an error.
    schema={
        "type": "string",
        "maxLength": MAX_LANGUAGE,
        "pattern": LANGUAGE,
        "description": "Default language of the stream (xml:lang); en if absent. Send lang or language, not both.",
        "examples": ["en", "pt-BR"],
    },
    attribute="lang",
    label="Language",
    preset="en",
)

WARM_FIELDS = (
    JID_FIELD,
    Field(
        name="password",
        read=_read_password,
        expected="the user's own password",
        schema={
            "type": "string",
            "minLength": 1,
            "description": "The user's own password. If absent, warmside issues a one-time password.",
        },
        attribute="password",
        allow_empty=True,
        label="Password",
        preset=None,
    ),
    LANG_FIELD,
    Field(
        name="language",
        read=LANG_FIELD.read,
        expected=LANG_FIELD.expected,
        schema=LANG_FIELD.schema,
        attribute=LANG_FIELD.attribute,
    ),
    _integer(
        "wait",
        1,
        300,
        {"default": 60, "description": "Longest time in seconds that the connection manager may hold a request."},
        "Wait (seconds)",
        "60",
    ),
    _integer(
        "hold",
        0,
        10,
        {"default": 1, "description": "Maximum number of requests that the connection manager may hold."},
        "Hold (requests)",
        "1",
    ),
    Field(
        name="ver",
        read=_read_version,
        expected="MAJOR.MINOR, such as 1.6",
        schema={
            "type": "string",
            "pattern": r"^[0-9]{1,4}\.[0-9]{1,4}$",
            "default": "1.6",
            "description": "Highest BOSH version that the client supports.",
        },
        attribute="ver",
        label="BOSH version",
        preset="1.6",
    ),
    Field(
        name="address",
        read=_read_address,
        expected="an IP address",
        schema={"type": "string", "description": "The browser's IP address."},
        attribute="address",
    ),
    _integer(
        "attach_within",
        1,
        MAX_ATTACH_WITHIN,
        {"description": "Seconds that the session must survive before the browser attaches."},
        "Attach within (seconds)",
    ),
    Field(
        name="presence",
        read=_read_presence,
        expected="available",
        schema={"const": "available", "description": "Send initial presence before the handover."},
        attribute="available",
        label="Initial presence (available)",
    ),
    Field(
        name="fetch",
        read=_read_fetch,
        expected="roster",
        schema={"const": "roster", "description": "Include the user's roster in the reply."},
        attribute="roster",
        label="Fetch (roster)",
    ),
)
"""Fields of ``POST /warm``."""

JID_FIELDS = (JID_FIELD,)
"""Fields of ``POST /credentials`` and ``POST /end``."""


def read_warm_request(fields: dict[str, Any]) -> WarmRequest:
    """Return the request that the fields of ``POST /warm`` describe.

    :raises FieldError: a field is missing, malformed, duplicate or unknown.
    """
    return WarmRequest(**_read(fields, WARM_FIELDS))


def read_jid(fields: dict[str, Any]) -> JID:
    """Return the JID that the fields of ``POST /credentials`` or ``POST /end`` contain.

    :raises FieldError: the field is missing or malformed, or there are others.
    """
    jid: JID = _read(fields, JID_FIELDS)[JID_FIELD.attribute]
    return jid


def _read(given: dict[str, Any], known: Sequence[Field]) -> dict[str, Any]:
    """Return the values by attribute; fields that are absent have none."""
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    for each in known:
        if each.name in given:
            if each.attribute in names:
                raise FieldError(each.name, f"duplicate: send {names[each.attribute]} or {each.name}")
            names[each.attribute] = each.name
            text = _text(each, given[each.name])
            if text or each.allow_empty:
                values[each.attribute] = _value(each, text)
        if each.required and each.attribute not in values:
            raise FieldError(each.name, f"missing: expected {each.expected}")
    known_names = [each.name for each in known]
    for name in given:
        if name not in known_names:
            raise FieldError(name, "unknown field")
    return values


def _text(field: Field, value: object) -> str:
    if value is None:
        # Reading it as absent would log the user in without the password that an application does not have.
        raise FieldError(field.name, f"is null: leave the field out, or send {field.expected}")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise FieldError(field.name, f"expected {field.expected}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise FieldError(field.name, "contains a surrogate, which is not Unicode text")
    return value


def _value(field: Field, text: str) -> Any:
    try:
        return field.read(text)
    except (InvalidJID, InvalidValue) as error:
        raise FieldError(field.name, str(error)) from None
    except ValueError:
        raise FieldError(field.name, f"expected {field.expected}") from None
