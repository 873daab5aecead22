"""A BOSH session (XEP-0124) without I/O: which request may be sent, and what the responses say in order.

Responses arrive in any order; their elements are one stream, merged by rid. Nothing here knows what
the elements mean.
"""

import secrets
from dataclasses import dataclass, field

from twisted.words.xish.domish import Element

from warmside.bosh.body import NS_STREAMS, NS_XBOSH, NS_XML, Attribute, Body, InvalidBody, decode, encode
from warmside.bosh.errors import UNDEFINED, BoshError, InvalidResponse, StreamFailed, Terminated, ended

HIGHEST_FIRST_RID = 2**52
"""XEP-0124, 8: a first rid leaves room for all that follow below 2**53."""

OLD_STATUS = {400: "bad-request", 403: "policy-violation", 404: "item-not-found"}
"""HTTP status codes by which managers before version 1.6 ended a session (XEP-0124, 17.1)."""

CONTENT_TYPE = "text/xml; charset=utf-8"


class Recoverable(BoshError):
    """The manager asks for the request again (XEP-0124, 17.3: ``type='error'``)."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is asked of the manager: ``wait`` and ``hold`` as in XEP-0124, ``ver`` as (MAJOR, MINOR)."""

    host: str
    lang: str = "en"
    wait: int = 60
    hold: int = 1
    ver: tuple[int, int] = (1, 6)


@dataclass(frozen=True, slots=True)
class Request:
    """One request to send: its rid and the bytes of its body; to be sent ``delay`` seconds from now."""

    rid: int
    body: bytes = field(repr=False)
    creation: bool = False
    delay: float = 0.0


class Session:
    """One session.

    ``over`` says that the manager has ended it. The attributes ``wait``, ``hold``, ``requests``,
    ``inactivity``, ``polling``, ``maxpause`` and ``ver`` are what the manager granted, once `created`.
    """

    def __init__(self, parameters: Parameters, first_rid: int | None = None) -> None:
        self.parameters = parameters
        self.next_rid = first_rid if first_rid is not None else 1 + secrets.randbelow(HIGHEST_FIRST_RID - 1)
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
        """The manager restarts streams by itself and in order (``xmpp:restartlogic``), as ejabberd does."""
        self._due = self.next_rid
        self._early: dict[int, Body] = {}
        self._arrived: list[Element] = []
        self._acks = False
        self._last_was_empty = False

    def __repr__(self) -> str:
        return f"<Session at {self.parameters.host!r}, {len(self.outstanding)} outstanding>"

    @property
    def created(self) -> bool:
        """Whether the manager has answered the session creation request."""
        return self.sid is not None

    @property
    def room(self) -> int:
        """How many more requests may be sent now."""
        return max(0, self.requests - len(self.outstanding))

    def create(self, *payload: Element) -> Request:
        """The session creation request (XEP-0124, 7.1; XEP-0206, 3), with ``payload`` right behind it."""
        asked = self.parameters
        attributes: dict[Attribute, str] = {
            "content": CONTENT_TYPE,
            "hold": str(asked.hold),
            "rid": str(self.next_rid),
            "to": asked.host,
            "ver": "{}.{}".format(*asked.ver),
            "wait": str(asked.wait),
            (NS_XML, "lang"): asked.lang,
            (NS_XBOSH, "version"): "1.0",
        }
        return self._sent(encode(attributes, payload), creation=True)

    def send(
        self, *payload: Element, restart: bool = False, pause: int | None = None, terminate: bool = False
    ) -> Request:
        """The next request.

        :param restart: restart the stream (XEP-0206, 5); takes no payload.
        :param pause: ask for so many seconds of inactivity (XEP-0124, 10).
        :param terminate: end the session (XEP-0124, 13).
        """
        assert self.sid is not None
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
        """A request outside the window, on which a manager ends the session whatever it still waits for."""
        assert self.sid is not None
        return encode({"rid": str(self.next_rid + 1000), "sid": self.sid, "type": "terminate"})

    def receive(self, rid: int, status: int, data: bytes) -> None:
        """Take the response to a request; what became readable by it is in `take`.

        :param status: the HTTP status.
        :raises Recoverable: the request is to be sent again.
        :raises BoshError: the session is over, or the response is none; see `warmside.bosh.errors`.
        """
        body = self._read(status, data)
        if body.attributes.get("type") == "error":
            raise Recoverable("the manager asked for a request again")
        del self.outstanding[rid]
        self._early[rid] = body
        while (ready := self._early.pop(self._due, None)) is not None:
            if not self.created:
                self._take_creation(ready)
            self._due += 1
            self._arrived.extend(ready.elements)
            if ready.attributes.get("type") == "terminate":
                self._terminated(ready)

    def take(self) -> list[Element]:
        """The elements that have arrived in order and were not taken before."""
        arrived, self._arrived = self._arrived, []
        return arrived

    def _sent(self, body: bytes, *, creation: bool = False, delay: float = 0.0) -> Request:
        request = Request(self.next_rid, body, creation, delay)
        self.outstanding[request.rid] = request
        self.next_rid += 1
        return request

    def _read(self, status: int, data: bytes) -> Body:
        if status != 200:
            if self.created and status in OLD_STATUS:
                raise ended(Terminated, f"the connection manager answered HTTP {status}", OLD_STATUS[status])
            kind = "a redirect" if 300 <= status < 400 else "an error" if status >= 400 else "an answer"
            raise InvalidResponse(f"the connection manager's address gave {kind}: HTTP {status}")
        try:
            return decode(data)
        except InvalidBody as error:
            raise InvalidResponse(f"the answer is no BOSH response: {error}") from None

    def _take_creation(self, body: Body) -> None:
        attributes = body.attributes
        sid = attributes.get("sid", "")
        if attributes.get("type") == "terminate" and not sid:
            self._terminated(body)
        if not 0 < len(sid) <= 1024:
            raise InvalidResponse("the answer to the session creation has no sid")
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
            if (element.uri, element.name) == (NS_STREAMS, "error"):
                raise stream_error(element)
        condition = str(body.attributes.get("condition", UNDEFINED))
        raise ended(Terminated, "the connection manager terminated the session", condition)


def stream_error(element: Element) -> BoshError:
    """The error for a ``<stream:error/>`` (RFC 6120, 4.9.2)."""
    return ended(StreamFailed, "the server closed the stream", condition_in(element))


def condition_in(error: Element) -> str:
    """The condition that an error element names: the first child that is not its ``<text/>``."""
    return next((child.name for child in error.elements() if child.name != "text"), UNDEFINED)


def _number(text: str | None, default: int) -> int:
    number = _optional_number(text)
    return default if number is None else number


def _optional_number(text: str | None) -> int | None:
    """A number of XEP-0124's attributes: digits, and few enough that it can mean something."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InvalidResponse("the answer to the session creation has a number that is none")
    return int(text)
