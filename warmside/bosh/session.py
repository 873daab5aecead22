"""BOSH session (XEP-0124) without I/O: makes requests and merges responses.

Responses arrive in any order. Their elements form one stream in the order of rids. The session does not interpret them.
"""

import secrets
from dataclasses import dataclass, field

from twisted.words.xish.domish import Element

from warmside.bosh.body import NS_STREAMS, NS_XBOSH, NS_XML, Arrived, Attribute, Body, InvalidBody, decode, encode
from warmside.bosh.errors import UNDEFINED, BoshError, InvalidResponse, StreamFailed, Terminated, ended

MAX_FIRST_RID = 2**52
"""Upper limit of a random first rid; all following rids stay below 2**53 (XEP-0124, 8)."""

OLD_STATUS = {400: "bad-request", 403: "policy-violation", 404: "item-not-found"}
"""HTTP status codes with which managers before version 1.6 end a session (XEP-0124, 17.1)."""

CONTENT_TYPE = "text/xml; charset=utf-8"


class Recoverable(BoshError):
    """The manager requests a retry (XEP-0124, 17.3: ``type='error'``)."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Requested parameters: ``wait`` in seconds and ``hold`` as in XEP-0124, ``ver`` as (MAJOR, MINOR)."""

    host: str
    lang: str = "en"
    wait: int = 60
    hold: int = 1
    ver: tuple[int, int] = (1, 6)


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its rid, and the bytes of its body. It must be sent after ``delay`` seconds."""

    rid: int
    body: bytes = field(repr=False)
    creation: bool = False
    delay: float = 0.0


class Session:
    """One session.

    ``over`` is True once the manager has ended it. Once `created`, the attributes ``wait``, ``hold``, ``requests``,
    ``inactivity``, ``polling``, ``maxpause`` and ``ver`` hold the values that the manager granted; times in seconds.

    :param first_rid: rid of the session creation; random by default.
    :param early: True if requests may be sent before the response that they depend on; see
        `warmside.bosh.pipelining`. False sends one request after the other.
    """

    def __init__(self, parameters: Parameters, first_rid: int | None = None, *, early: bool = True) -> None:
        self.parameters = parameters
        self.early = early
        self.next_rid = first_rid if first_rid is not None else 1 + secrets.randbelow(MAX_FIRST_RID - 1)
        self.outstanding: dict[int, Request] = {}
        self.sid: str | None = None
        self.over = False
        self.wait = parameters.wait
        self.hold = parameters.hold
        self.requests = 1
        self.inactivity = 30
        self.polling: int | None = None
        self.maxpause: int | None = None
        self.ver = parameters.ver
        self.restart_logic = False
        """True if the manager restarts streams in order (``xmpp:restartlogic``), as ejabberd does."""
        self.awaited: set[str] = set()
        """Ids of the sent iq requests: unpredictable, so that a stranger's stanza does not have one."""
        self.left_out = 0
        """Number of stanzas over the limits of size; see `warmside.bosh.body`."""
        self._due = self.next_rid
        self._early: dict[int, Body] = {}
        self._arrived: list[Arrived] = []
        self._acks = False
        self._last_was_empty = False

    @classmethod
    def handed_over(cls, host: str, sid: str, rid: int) -> "Session":
        """Return a session that was handed over, to end it.

        :param rid: rid of its next request.
        """
        session = cls(Parameters(host))
        session.sid, session.next_rid = sid, rid
        return session

    def __repr__(self) -> str:
        return f"<Session at {self.parameters.host!r}, {len(self.outstanding)} outstanding>"

    @property
    def created(self) -> bool:
        """True if the manager has answered the session creation."""
        return self.sid is not None

    @property
    def free_requests(self) -> int:
        """Number of requests that may be sent now."""
        return max(0, self.requests - len(self.outstanding))

    def create(self, *payload: Element) -> Request:
        """Return the session creation request (XEP-0124, 7.1; XEP-0206, 3)."""
        parameters = self.parameters
        attributes: dict[Attribute, str] = {
            "content": CONTENT_TYPE,
            "hold": str(parameters.hold),
            "rid": str(self.next_rid),
            "to": parameters.host,
            "ver": "{}.{}".format(*parameters.ver),
            "wait": str(parameters.wait),
            (NS_XML, "lang"): parameters.lang,
            (NS_XBOSH, "version"): "1.0",
        }
        return self._sent(encode(attributes, payload), creation=True)

    def send(
        self, *payload: Element, restart: bool = False, pause: int | None = None, terminate: bool = False
    ) -> Request:
        """Return the next request.

        :param restart: True to restart the stream (XEP-0206, 5); allows no payload.
        :param pause: requested pause in seconds (XEP-0124, 10).
        :param terminate: True to end the session (XEP-0124, 13).
        """
        assert self.sid is not None
        self.awaited.update(element["id"] for element in payload if element.name == "iq")
        attributes: dict[Attribute, str] = {"rid": str(self.next_rid), "sid": self.sid}
        if self._acks and self._due < self.next_rid:
            attributes["ack"] = str(self._due - 1)
        if restart:
            attributes["to"] = self.parameters.host
            attributes[NS_XML, "lang"] = self.parameters.lang
            attributes[NS_XBOSH, "restart"] = "true"
        if pause is not None:
            attributes["pause"] = str(pause)
        if terminate:
            attributes["type"] = "terminate"
        empty = len(attributes) == 2 and not payload
        delay = float(self.polling or 0) if empty and self._last_was_empty and self.hold == 0 else 0.0
        self._last_was_empty = empty
        return self._sent(encode(attributes, payload), delay=delay)

    def beyond_window(self) -> bytes:
        """Return a request outside the window: a manager ends the session even if it still waits for another."""
        assert self.sid is not None
        return encode({"rid": str(self.next_rid + 1000), "sid": self.sid, "type": "terminate"})

    def receive(self, rid: int, status: int, data: bytes | Body) -> None:
        """Take the response to a request. `take` returns the elements that are complete and in order now.

        :param status: the HTTP status.
        :param data: the response's bytes; or a body, if it is parsed already.
        :raises Recoverable: the request must be sent again.
        :raises BoshError: the session has ended, or the response is invalid; see `warmside.bosh.errors`.
        """
        body = self._read(status, data)
        if body.attributes.get("type") == "error":
            raise Recoverable("the connection manager requested a retry")
        del self.outstanding[rid]
        self._early[rid] = body
        while (ready := self._early.pop(self._due, None)) is not None:
            if not self.created:
                self._take_creation(ready)
            self._due += 1
            self._arrived.extend(ready.elements)
            self.left_out += ready.left_out
            if ready.attributes.get("type") == "terminate":
                self._terminated(ready)

    def take(self) -> list[Arrived]:
        """Return the elements that arrived in order since the last call."""
        arrived, self._arrived = self._arrived, []
        return arrived

    def _sent(self, body: bytes, *, creation: bool = False, delay: float = 0.0) -> Request:
        request = Request(self.next_rid, body, creation, delay)
        self.outstanding[request.rid] = request
        self.next_rid += 1
        return request

    def _read(self, status: int, data: bytes | Body) -> Body:
        if status != 200:
            if self.created and status in OLD_STATUS:
                raise ended(Terminated, f"the connection manager responded with HTTP {status}", OLD_STATUS[status])
            kind = "a redirect" if 300 <= status < 400 else "an error" if status >= 400 else "a response"
            raise InvalidResponse(f"the connection manager's address returned {kind}: HTTP {status}; expected HTTP 200")
        if isinstance(data, Body):
            return data
        try:
            return decode(data, self.awaited)
        except InvalidBody as error:
            raise not_bosh(error) from None

    def _take_creation(self, body: Body) -> None:
        attributes = body.attributes
        sid = attributes.get("sid", "")
        if attributes.get("type") == "terminate" and not sid:
            self._terminated(body)
        if not 0 < len(sid) <= 1024:
            raise InvalidResponse("the response to the session creation has no valid sid")
        self.sid = sid
        self.wait = _number(attributes.get("wait"), self.wait)
        self.hold = _number(attributes.get("hold"), self.hold)
        self.requests = max(1, _number(attributes.get("requests"), self.hold + 1))
        self.inactivity = _number(attributes.get("inactivity"), self.inactivity)
        self.polling = _optional_number(attributes.get("polling"))
        self.maxpause = _optional_number(attributes.get("maxpause"))
        self._acks = "ack" in attributes
        self.restart_logic = attributes.get((NS_XBOSH, "restartlogic")) == "true"
        major, dot, minor = attributes.get("ver", "").partition(".")
        if dot:
            self.ver = min(self.ver, (_number(major, 1), _number(minor, 0)))

    def _terminated(self, body: Body) -> None:
        self.over = True
        for element in body.elements:
            if isinstance(element, Element) and (element.uri, element.name) == (NS_STREAMS, "error"):
                raise stream_error(element)
        condition = str(body.attributes.get("condition", UNDEFINED))
        raise ended(Terminated, "the connection manager terminated the session", condition)


def not_bosh(error: InvalidBody) -> InvalidResponse:
    """Return the error for a response that can't be parsed."""
    return InvalidResponse(f"the response is not BOSH: {error}")


def stream_error(element: Element) -> BoshError:
    """Return the error for a ``<stream:error/>`` (RFC 6120, 4.9.2)."""
    return ended(StreamFailed, "the server closed the stream", condition_in(element))


def condition_in(error: Element) -> str:
    """Return the condition of an error element: the name of its first child except ``<text/>``."""
    return next((child.name for child in error.elements() if child.name != "text"), UNDEFINED)


def _number(text: str | None, default: int) -> int:
    number = _optional_number(text)
    return default if number is None else number


def _optional_number(text: str | None) -> int | None:
    """Return the number in an attribute of XEP-0124: at most 9 digits."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InvalidResponse("the response to the session creation has an invalid number")
    return int(text)
