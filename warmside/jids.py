"""Prepare JIDs (RFC 6122: nodeprep, nameprep, resourceprep), and match patterns of JIDs.

A JID is prepared once, when it is received. The rest of warmside compares, stores, sends and logs only
the prepared form. A JID that ejabberd would interpret differently must be rejected.

A host has one prepared form, in Unicode. Its spelling in Punycode (``xn--…``) is the same host. A label may have ``_``,
which nameprep forbids, because ejabberd serves such hosts.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from twisted.words.protocols.jabber.jid import JID, InvalidFormat, prep
from twisted.words.protocols.jabber.xmpp_stringprep import (
    LookupTableFromFunction,
    MappingTableFromFunction,
    Profile,
    nodeprep,
    resourceprep,
)

__all__ = [
    "JID",
    "InvalidJID",
    "Pattern",
    "PreparedJID",
    "ascii_host",
    "prepare",
    "prepare_host",
    "prepare_uncached",
    "unicode_host",
]

MAX_PART = 1023
"""Maximum bytes (UTF-8) of each part of a JID (RFC 6122)."""
MAX_CHARACTERS = 4 * MAX_PART
"""Maximum characters of a JID before it is prepared."""

_PLAIN_LOCAL = re.compile(r"[A-Za-z0-9._~+=-]+")
"""Local parts that nodeprep only turns into lower case."""
_PREPARED_HOST = re.compile(r"[a-z0-9_]+(?:[.-][a-z0-9_]+)*")
_PREPARED_RESOURCE = re.compile(r"[!-~]+")
"""Parts that are prepared already; most JIDs consist of such parts."""

_DOTS = re.compile("[.\u3002\uff0e\uff61]")
_PUNYCODE = "xn--"
_MAX_LABEL = 63
"""Maximum characters of a label in Punycode (RFC 1035)."""


class PreparedJID(JID):
    """A JID made of prepared parts, without the time to prepare them again. ``local`` is ``None`` for a server."""

    def __init__(self, local: str | None, host: str, resource: str | None) -> None:
        self.user = local
        self.host = host
        self.resource = resource


class InvalidJID(ValueError):
    """A text is not the JID of a user. The message names the reason and contains no part of the text."""


def _cached(profile: Any) -> Any:
    """Return a stringprep profile with the same tables, and with the results for the last characters in a cache."""

    @lru_cache(maxsize=4096)
    def is_prohibited(character: str) -> bool:
        return any(table.lookup(character) for table in profile.prohibiteds)

    mapping = MappingTableFromFunction(lru_cache(maxsize=4096)(profile.map))
    return Profile([mapping], prohibiteds=[LookupTableFromFunction(is_prohibited)])


_NODEPREP = _cached(nodeprep)
_RESOURCEPREP = _cached(resourceprep)


@lru_cache(maxsize=4096)
def prepare(text: str) -> JID:
    """Prepare a bare or full JID with a local part.

    :param text: ``local@host`` or ``local@host/resource``, in any spelling.
    :returns: the prepared JID.
    :raises InvalidJID: a part is missing, has a forbidden character, or is longer than 1023 bytes.
    """
    return prepare_uncached(text)


def prepare_uncached(text: str) -> JID:
    """Do the same as `prepare` without its cache: for lists, which would displace the users that log in."""
    if len(text) > MAX_CHARACTERS:
        raise InvalidJID(f"JID is longer than {MAX_CHARACTERS} characters")
    bare, slash, resource = text.partition("/")
    local, at, host = bare.partition("@")
    if not at or not local:
        raise InvalidJID("JID has no local part: expected local@host")
    if slash and not resource:
        raise InvalidJID("resource of the JID is empty: expected local@host or local@host/resource")
    host = prepare_host(host)
    if (
        _PLAIN_LOCAL.fullmatch(local)
        and (not slash or _PREPARED_RESOURCE.fullmatch(resource))
        and len(text) <= MAX_PART
    ):
        return PreparedJID(local.lower(), host, resource or None)
    part = "local part"
    try:
        user = _NODEPREP.prepare(local)
        part = "resource"
        prepared_resource = _RESOURCEPREP.prepare(resource)
    except UnicodeError:
        raise InvalidJID(f"{part} of the JID has a forbidden character") from None
    if not user or (slash and not prepared_resource):
        raise InvalidJID("a part of the JID is empty once it is prepared")
    for each in (user, prepared_resource):
        if len(each.encode()) > MAX_PART:
            raise InvalidJID(f"a part of the JID is longer than {MAX_PART} bytes")
    return PreparedJID(user, host, prepared_resource or None)


@lru_cache(maxsize=1024)
def prepare_host(host: str) -> str:
    """Prepare the host part of a JID.

    :param host: a domain name in any spelling; one trailing dot is dropped (RFC 7622, 3.2).
    :returns: the domain name in Unicode.
    :raises InvalidJID: the text is not a domain name, or is longer than 1023 characters, or 1023 bytes once prepared.
    """
    if _PREPARED_HOST.fullmatch(host) and len(host) <= MAX_PART:
        return host
    if len(host) > MAX_PART:  # some characters become 18 ones: preparing 4,000 of these takes 50 ms
        raise InvalidJID(f"host is longer than {MAX_PART} characters")
    labels = _DOTS.split(host)
    if len(labels) > 1 and not labels[-1]:
        labels.pop()
    prepared = unicode_host(".".join(_prepare_label(label) for label in labels))
    if not all(prepared.split(".")):
        raise InvalidJID("host is not a domain name")
    if len(prepared.encode()) > MAX_PART:
        raise InvalidJID(f"host is longer than {MAX_PART} bytes")
    return prepared


def _prepare_label(label: str) -> str:
    """Prepare a label of a host by nameprep, but for ``_``."""
    if "_" in label and (label.startswith("-") or label.endswith("-")):
        raise InvalidJID("host is not a domain name")
    try:
        return "".join(
            part if number % 2 or not part else prep(None, part, None)[1]
            for number, part in enumerate(re.split("([_-]+)", label) if "_" in label else [label])
        )
    except (InvalidFormat, UnicodeError, IndexError):
        raise InvalidJID("host is not a domain name") from None


@lru_cache(maxsize=1024)
def unicode_host(host: str) -> str:
    """Return a prepared host with each label in Unicode whose Punycode means exactly that label."""
    return ".".join(map(_unicode_label, host.split("."))) if _PUNYCODE in host else host


@lru_cache(maxsize=1024)
def ascii_host(host: str) -> str:
    """Return a prepared host with each label that is not ASCII in Punycode (RFC 3490, ToASCII)."""
    if host.isascii():
        return host
    return ".".join(
        label if label.isascii() else _PUNYCODE + label.encode("punycode").decode() for label in host.split(".")
    )


def _unicode_label(label: str) -> str:
    if not label.startswith(_PUNYCODE) or len(label) > _MAX_LABEL:
        return label
    try:
        text = label.removeprefix(_PUNYCODE).encode("ascii").decode("punycode")
        exact = not text.isascii() and _prepare_label(text) == text and ascii_host(text) == label
    except (UnicodeError, InvalidJID):
        return label
    return text if exact else label


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern of bare JIDs.

    ``*`` matches any number of characters except ``@``; ``*`` alone matches every JID.
    """

    text: str
    _regex: re.Pattern[str]

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        """Prepare a pattern in the same way as a JID.

        :param text: for example ``*@example.org`` or ``admin*@*``.
        :raises InvalidJID: the pattern can't match a prepared bare JID.
        """
        local, at, host = ("*", "@", "*") if text == "*" else text.partition("@")
        if not at or not local or not host or "/" in text or "@" in host:
            raise InvalidJID("expected LOCAL@HOST, with * for any number of characters")
        try:
            local_pieces = [prep(piece, "host", None)[0] or "" for piece in local.split("*")]
        except (InvalidFormat, UnicodeError):
            raise InvalidJID("local part has a forbidden character") from None
        host_pieces = [_prepare_piece(piece) for piece in host.split("*")]
        any_run = "[^@]*"
        regex = any_run.join(map(re.escape, local_pieces)) + "@" + any_run.join(map(re.escape, host_pieces))
        return cls(text, re.compile(regex, re.DOTALL))

    def matches(self, bare: str) -> bool:
        """Return True if the pattern matches a prepared bare JID, with its host in Unicode or in Punycode."""
        if self._regex.fullmatch(bare):
            return True
        local, _, host = bare.rpartition("@")
        return not host.isascii() and self._regex.fullmatch(f"{local}@{ascii_host(host)}") is not None


def _prepare_piece(piece: str) -> str:
    """Prepare the part of a host between two ``*``. It may begin and end with a dot or a hyphen."""
    try:
        return "".join(
            part if part in ("", ".", "-", "_") else prep(None, part, None)[1]
            for part in re.split(r"([._-])", _DOTS.sub(".", piece))
        )
    except (InvalidFormat, UnicodeError, IndexError):
        raise InvalidJID("host is not a domain name") from None
