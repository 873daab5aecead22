"""JIDs as they come from outside, and patterns of them.

A JID is prepared once, here (RFC 6122: nodeprep, nameprep, resourceprep); everything behind this
module compares, mints for, sends and logs only the prepared form. It must never let a JID pass
that ejabberd would read in another way.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from twisted.words.protocols.jabber.jid import JID, InvalidFormat, prep

__all__ = ["JID", "InvalidJID", "Pattern", "prepare", "prepare_host"]

MAX_PART = 1023
"""Most bytes, as UTF-8, that RFC 6122 allows in each part of a JID."""


_PREPARED = re.compile(r"[a-z0-9._~+=-]+")
_PREPARED_HOST = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_PREPARED_RESOURCE = re.compile(r"[!-~]+")
"""What certainly stays as it is when it is prepared: most of what ever comes."""


class PreparedJID(JID):
    """A JID from parts that are prepared already; preparing them again would cost more than all the rest."""

    def __init__(self, local: str, host: str, resource: str | None) -> None:
        self.user = local
        self.host = host
        self.resource = resource


class InvalidJID(ValueError):
    """A text is not a JID that a user can have. The message says why, and holds nothing of the text."""


@lru_cache(maxsize=4096)
def prepare(text: str) -> JID:
    """Prepare a bare or full JID with a local part.

    :param text: ``local@host`` or ``local@host/resource``, in any spelling.
    :returns: the prepared JID.
    :raises InvalidJID: a part is missing, forbidden or longer than 1023 bytes.
    """
    if len(text) > 4 * MAX_PART:
        raise InvalidJID("it is too long")
    bare, slash, resource = text.partition("/")
    local, at, host = bare.partition("@")
    if not at or not local:
        raise InvalidJID("it has no local part: give local@host")
    if slash and not resource:
        raise InvalidJID("its resource is empty")
    host = prepare_host(host)
    if _PREPARED.fullmatch(local) and (not slash or _PREPARED_RESOURCE.fullmatch(resource)) and len(text) <= MAX_PART:
        return PreparedJID(local, host, resource or None)
    try:
        jid = JID(tuple=(local, host, resource or None))
    except (InvalidFormat, UnicodeError) as error:
        where = "resource" if "resource" in str(error) else "local part"
        raise InvalidJID(f"its {where} has a character that is not allowed there") from None
    if not jid.user or (slash and not jid.resource):
        raise InvalidJID("nothing is left of a part of it when it is prepared")
    for part in (jid.user, jid.resource or ""):
        if len(part.encode()) > MAX_PART:
            raise InvalidJID(f"a part of it is longer than {MAX_PART} bytes")
    return jid


@lru_cache(maxsize=1024)
def prepare_host(host: str) -> str:
    """Prepare the host part of a JID.

    :param host: a domain name; one trailing dot is dropped (RFC 7622, 3.2).
    :raises InvalidJID: it is not one.
    """
    if _PREPARED_HOST.fullmatch(host) and len(host) <= MAX_PART:
        return host
    host = re.sub(r"[.\u3002\uff0e\uff61]$", "", host)
    try:
        _, prepared, _ = prep(None, host, None)
    except (InvalidFormat, UnicodeError, IndexError):
        raise InvalidJID("its host is not a domain name") from None
    if not all(prepared.split(".")):
        raise InvalidJID("its host is not a domain name")
    if len(prepared.encode()) > MAX_PART:
        raise InvalidJID(f"its host is longer than {MAX_PART} bytes")
    return prepared


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern of bare JIDs: ``*`` stands for any run of characters but ``@``; ``*`` alone means everyone."""

    text: str
    _regex: re.Pattern[str]

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        """Prepare a pattern as JIDs are prepared.

        :param text: for example ``*@example.org`` or ``admin*@*``.
        :raises InvalidJID: it could not match any prepared bare JID.
        """
        local, at, host = ("*", "@", "*") if text == "*" else text.partition("@")
        if not at or not local or not host or "/" in text or "@" in host:
            raise InvalidJID("a pattern of bare JIDs is LOCAL@HOST, with * for any run of characters")
        try:
            local_pieces = [prep(piece, "host", None)[0] or "" for piece in local.split("*")]
        except (InvalidFormat, UnicodeError):
            raise InvalidJID("its local part has a character that is not allowed there") from None
        host_pieces = [_prepare_piece(piece) for piece in host.split("*")]
        any_run = "[^@]*"
        regex = any_run.join(map(re.escape, local_pieces)) + "@" + any_run.join(map(re.escape, host_pieces))
        return cls(text, re.compile(regex, re.DOTALL))

    def matches(self, bare: str) -> bool:
        """Whether a prepared bare JID is one of those meant."""
        return self._regex.fullmatch(bare) is not None


def _prepare_piece(piece: str) -> str:
    """Prepare what stands between two stars of a host: its dots and hyphens may stand at its ends."""
    try:
        return "".join(
            part if part in ("", ".", "-") else prep(None, part, None)[1]
            for part in re.split(r"([.-])", re.sub("[\u3002\uff0e\uff61]", ".", piece))
        )
    except (InvalidFormat, UnicodeError, IndexError):
        raise InvalidJID("its host is not a domain name") from None
