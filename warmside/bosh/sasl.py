"""SASL (RFC 6120, 6): choose a mechanism and run it, without I/O.

A one-time password uses PLAIN only, because ejabberd asks its extauth program with no other mechanism. The user's own
password uses the strongest mechanism that the server offers.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from scramp import ScramClient, ScramException
from twisted.words.protocols.jabber.jid import JID
from twisted.words.protocols.jabber.sasl_mechanisms import Plain
from twisted.words.xish.domish import Element

from warmside.bosh.body import NS_SASL
from warmside.bosh.errors import InvalidResponse, NoMechanism, Refused, ServerSignatureInvalid

SCRAM = ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1")
"""The SCRAM mechanisms, strongest first."""

MAX_ITERATIONS = 1_000_000
"""Maximum SCRAM iterations that a server may request. 100,000 iterations take about 0.1 s of CPU time."""

Work = Callable[[], bytes]
"""Work that is too slow for the reactor's thread; returns the data of the next SASL response."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Account and password of a login. ``one_time`` is True if warmside minted the password."""

    jid: JID
    password: str = field(repr=False)
    one_time: bool


class PlainExchange:
    """PLAIN (RFC 4616)."""

    name = "PLAIN"

    def __init__(self, credentials: Credentials) -> None:
        self._mechanism = Plain(None, credentials.jid.user, credentials.password)

    def initial(self) -> bytes:
        """Return the initial response."""
        response: bytes = self._mechanism.getInitialResponse()
        return response

    def challenged(self, data: bytes) -> Work:
        """Reject a challenge.

        :raises InvalidResponse: always; PLAIN has no challenges.
        """
        raise InvalidResponse("the server sent a challenge in reply to PLAIN")

    def succeeded(self, data: bytes) -> None:
        """Do nothing: PLAIN does not verify the server."""


class ScramExchange:
    """SCRAM (RFC 5802, RFC 7677) without channel binding."""

    def __init__(self, name: str, credentials: Credentials) -> None:
        self.name = name
        self._client = ScramClient([name], credentials.jid.user, credentials.password)
        self._final_sent = False

    def initial(self) -> bytes:
        """Return the client-first message."""
        first: str = self._client.get_client_first()
        return first.encode()

    def challenged(self, data: bytes) -> Work:
        """Read the server-first message.

        :returns: work that returns the client-final message.
        :raises InvalidResponse: it is malformed, or requests more than `MAX_ITERATIONS`.
        """
        try:
            message = data.decode()
            iterations = int(dict(part.split("=", 1) for part in message.split(",")).get("i", ""))
            if self._final_sent or not 1 <= iterations <= MAX_ITERATIONS:
                raise ValueError
            self._client.set_server_first(message)
        except (ValueError, ScramException):
            raise InvalidResponse("the server's SCRAM challenge is malformed or requests too many iterations") from None
        self._final_sent = True
        return self._final

    def succeeded(self, data: bytes) -> None:
        """Verify the server's signature.

        :raises ServerSignatureInvalid: it is missing or wrong.
        """
        try:
            if not self._final_sent:
                raise ValueError
            self._client.set_server_final(data.decode())
        except (ValueError, ScramException):
            raise ServerSignatureInvalid("the server's SCRAM signature is missing or wrong") from None

    def _final(self) -> bytes:
        final: str = self._client.get_client_final()
        return final.encode()


Exchange = PlainExchange | ScramExchange


def choose(credentials: Credentials, offered: Collection[str]) -> Exchange:
    """Return an exchange with the strongest usable mechanism that the server offers.

    :raises NoMechanism: the server offers no usable mechanism.
    :raises Refused: SCRAM can't carry the password.
    """
    if not credentials.one_time:
        for name in SCRAM:
            if name in offered:
                try:
                    return ScramExchange(name, credentials)
                except ScramException:
                    # SASLprep (RFC 4013) rejects it, so it is no account's password.
                    raise Refused("the password has characters that SASLprep forbids", "not-authorized") from None
    if "PLAIN" in offered:
        return PlainExchange(credentials)
    usable = "PLAIN" if credentials.one_time else ", ".join((*SCRAM, "PLAIN"))
    raise NoMechanism(f"the server offers none of these SASL mechanisms: {usable}")


def auth(exchange: Exchange) -> Element:
    """Return the ``<auth/>`` element that begins an exchange."""
    element = Element((NS_SASL, "auth"))
    element["mechanism"] = exchange.name
    element.addContent(b64encode(exchange.initial()).decode())
    return element


def response(data: bytes) -> Element:
    """Return a ``<response/>`` element."""
    element = Element((NS_SASL, "response"))
    element.addContent(b64encode(data).decode())
    return element


def content(element: Element) -> bytes:
    """Return the data of a SASL element.

    :raises InvalidResponse: the data is not base64.
    """
    text = str(element).strip()
    try:
        return b"" if text in ("", "=") else b64decode(text, validate=True)
    except (Base64Error, ValueError):
        raise InvalidResponse("the server's SASL data is not base64") from None
