"""Warm request and result types."""

from dataclasses import dataclass, field
from typing import Any

from warmside.jids import JID


@dataclass(frozen=True, slots=True)
class WarmRequest:
    """A request for a warm session.

    :param jid: prepared bare or full JID.
    :param password: the user's own password; ``None`` mints a one-time password.
    :param lang: language of the stream (``xml:lang``).
    :param wait: XEP-0124's ``wait``, in seconds.
    :param hold: XEP-0124's ``hold``, a number of requests.
    :param ver: XEP-0124's ``ver``.
    :param address: IP address of the browser.
    :param available: True if initial presence, with priority -1, is sent before the handover.
    :param roster: True if the roster is fetched before the handover.
    :param attach_within: seconds that the session must survive unattended; ``None`` for ejabberd's default.
    :param began: start of the call, in seconds of the system's monotonic clock; ``None`` for now.
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
    began: float | None = None


@dataclass(frozen=True, slots=True)
class WarmSession:
    """A session without an outstanding request, ready to be attached to. Times are in seconds.

    :param rid: rid of the client's next request.
    :param stanzas: elements that arrived before the handover and were not the login's own, as XML.
    :param left_out: number of stanzas that were over the limits of size, and are not in ``stanzas``.
    :param roster: the contacts; ``None`` if they were not requested.
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
    left_out: int = 0
    roster: list[dict[str, Any]] | None = field(default=None, repr=False)
