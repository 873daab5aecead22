"""Prepare JIDs (RFC 6122: nodeprep, nameprep, resourceprep), and match patterns of JIDs.

A JID is prepared once, when it is received. The rest of warmside compares, stores, sends and logs only
the prepared form. A JID that ejabberd would interpret differently must be rejected.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from twisted.words.protocols.jabber.jid import JID, InvalidFormat, prep

__all__ = ["JID", "InvalidJID", "Pattern", "prepare", "prepare_host"]

MAX_PART = 1023
"""Maximum bytes (UTF-8) of each part of a JID (RFC 6122)."""
MAX_CHARACTERS = 4 * MAX_PART
"""Maximum characters of a JID before it is prepared."""

_PREPARED_LOCAL = re.compile(r"[a-z0-9._~+=-]+")
_PREPARED_HOST = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_PREPARED_RESOURCE = re.compile(r"[!-~]+")
"""Parts that are prepared already; most JIDs consist of such parts."""


class PreparedJID(JID):
    """A JID made of prepared parts, without the time to prepare them again."""

    def __init__(self, local: str, host: str, resource: str | None) -> None:
        self.user = local
        self.host = host
        self.resource = resource


class InvalidJID(ValueError):
    """A text is not the JID of a user. The message names the reason and contains no part of the text."""


@lru_cache(maxsize=4096)
def prepare(text: str) -> JID:
    """Prepare a bare or full JID with a local part.

    :param text: ``local@host`` or ``local@host/resource``, in any spelling.
    :returns: the prepared JID.
    :raises InvalidJID: a part is missing, has a forbidden character, or is longer than 1023 bytes.
    """
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
        _PREPARED_LOCAL.fullmatch(local)
        and (not slash or _PREPARED_RESOURCE.fullmatch(resource))
        and len(text) <= MAX_PART
    ):
        return PreparedJID(local, host, resource or None)
    try:
        jid = JID(tuple=(local, host, resource or None))
    except (InvalidFormat, UnicodeError) as error:
        part = "resource" if "resource" in str(error) else "local part"
        raise InvalidJID(f"{part} of the JID has a forbidden character") from None
    if not jid.user or (slash and not jid.resource):
        raise InvalidJID("a part of the JID is empty once it is prepared")
    for each in (jid.user, jid.resource or ""):
        if len(each.encode()) > MAX_PART:
            raise InvalidJID(f"a part of the JID is longer than {MAX_PART} bytes")
    return jid


@lru_cache(maxsize=1024)
def prepare_host(host: str) -> str:
    """Prepare the host part of a JID.

    :param host: a domain name; one trailing dot is dropped (RFC 7622, 3.2).
    :raises InvalidJID: the text is not a domain name, or is longer than 1023 bytes.
    """
    if _PREPARED_HOST.fullmatch(host) and len(host) <= MAX_PART:
        return host
    host = re.sub(r"[.\u3002\uff0e\uff61]$", "", host)
    try:
        _, prepared, _ = prep(None, host, None)
    except (InvalidFormat, UnicodeError, IndexError):
        raise InvalidJID("host is not a domain name") from None
    if not all(prepared.split(".")):
        raise InvalidJID("host is not a domain name")
    if len(prepared.encode()) > MAX_PART:
        raise InvalidJID(f"host is longer than {MAX_PART} bytes")
    return prepared


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
        """Return True if the pattern matches a prepared bare JID."""
        return self._regex.fullmatch(bare) is not None


def _prepare_piece(piece: str) -> str:
    """Prepare the part of a host between two ``*``. It may begin and end with a dot or a hyphen."""
    try:
        return "".join(
            part if part in ("", ".", "-") else prep(None, part, None)[1]
            for part in re.split(r"([.-])", re.sub("[\u3002\uff0e\uff61]", ".", piece))
        )
    except (InvalidFormat, UnicodeError, IndexError):
        raise InvalidJID("host is not a domain name") from None
