"""What a caller asks for, and what he gets."""

from dataclasses import dataclass, field
from typing import Any

from warmside.jids import JID


@dataclass(frozen=True, slots=True)
class WarmRequest:
    """What a caller asks for.

    ``password`` is the user's own; ``None`` lets one be minted. ``address`` is the browser's.
    ``available`` sends initial presence and ``roster`` fetches the contacts before the handover;
    ``attach_within`` is how many seconds the session must survive unattended. ``lang``, ``wait``,
    ``hold`` and ``ver`` are the stream's language and what XEP-0124 calls so.
    """

    jid: JID
    password: str | None = field(default=None, repr=False)
    lang: str = "en"
    wait: int = 60
    hold: int = 1
    ver: tuple[int, int] = (1, 6)
    address: str | None = None
    available: bool = False
    roster: bool = False
    attach_within: int | None = None


@dataclass(frozen=True, slots=True)
class WarmSession:
    """A session without an outstanding request, ready to be attached to.

    ``rid`` is the rid of the client's next request; times are in seconds; ``stanzas`` is what
    arrived before the handover and was not the login's own, as XML; ``roster`` is ``None`` unless
    it was asked for.
    """

    jid: str
    sid: str = field(repr=False)
    rid: int = field(repr=False)
    wait: int
    hold: int
    requests: int
    inactivity: int
    attach_within: int
    polling: int | None
    maxpause: int | None
    ver: str
    bosh_url: str | None
    stanzas: tuple[str, ...] = field(default=(), repr=False)
    roster: list[dict[str, Any]] | None = field(default=None, repr=False)
