"""SASL (RFC 6120, 6): which mechanism to take, and what it says. No I/O.

A one-time password uses PLAIN only, because ejabberd asks its extauth program in no other way; the
user's own password takes the strongest mechanism that the server offers, and no other.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from scramp import ScramClient, ScramException
from twisted.words.protocols.jabber.jid import JID
from twisted.words.protocols.jabber.sasl_mechanisms import Plain
from twisted.words.xish.domish import Element

from warmside.bosh.errors import InvalidResponse, NoMechanism, Refused, ServerSignatureInvalid

NS_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"

SCRAM = ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1")
"""The SCRAM mechanisms, strongest first."""

MAX_ITERATIONS = 1_000_000
"""A server that asks for more is refused: each hundred thousand cost a core about a tenth of a second."""

Work = Callable[[], bytes]
"""What takes long enough to be done off the reactor's thread; gives the next response's data."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who logs in and how. ``one_time`` says that the password is one of warmside's own."""

    jid: JID
    password: str = field(repr=False)
    one_time: bool


class PlainExchange:
    """PLAIN (RFC 4616)."""

    name = "PLAIN"

    def __init__(self, credentials: Credentials) -> None:
        self._mechanism = Plain(None, credentials.jid.user, credentials.password)

    def initial(self) -> bytes:
        """The initial response."""
        response: bytes = self._mechanism.getInitialResponse()
        return response

    def challenged(self, data: bytes) -> Work:
        """:raises InvalidResponse: PLAIN knows no challenges."""
        raise InvalidResponse("the server sent a challenge in reply to PLAIN")

    def succeeded(self, data: bytes) -> None:
        """There is nothing to verify."""


class ScramExchange:
    """SCRAM (RFC 5802, RFC 7677) without channel binding."""

    def __init__(self, name: str, credentials: Credentials) -> None:
        self.name = name
        self._client = ScramClient([name], credentials.jid.user, credentials.password)
        self._final_sent = False

    def initial(self) -> bytes:
        """The client-first message."""
        first: str = self._client.get_client_first()
        return first.encode()

    def challenged(self, data: bytes) -> Work:
        """Read the server-first message.

        :returns: work that gives the client-final message.
        :raises InvalidResponse: it is none, or asks for too many iterations.
        """
        try:
            message = data.decode()
            iterations = int(dict(part.split("=", 1) for part in message.split(",")).get("i", ""))
            if self._final_sent or not 1 <= iterations <= MAX_ITERATIONS:
                raise ValueError
            self._client.set_server_first(message)
        except (ValueError, ScramException):
            raise InvalidResponse("the server's SCRAM challenge is not acceptable") from None
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
    """The exchange for the strongest usable mechanism on offer.

    :raises NoMechanism: there is none.
    :raises Refused: the password is none that SCRAM can carry.
    """
    if not credentials.one_time:
        for name in SCRAM:
            if name in offered:
                try:
                    return ScramExchange(name, credentials)
                except ScramException:
                    # Not a text that SASLprep (RFC 4013) allows, so no account can have it as its password.
                    raise Refused("the password has characters that no password has", "not-authorized") from None
    if "PLAIN" in offered:
        return PlainExchange(credentials)
    usable = "PLAIN" if credentials.one_time else ", ".join((*SCRAM, "PLAIN"))
    raise NoMechanism(f"the server offers no SASL mechanism that can be used here ({usable})")


def auth(exchange: Exchange) -> Element:
    """The ``<auth/>`` element that begins an exchange."""
    element = Element((NS_SASL, "auth"))
    element["mechanism"] = exchange.name
    element.addContent(b64encode(exchange.initial()).decode())
    return element


def response(data: bytes) -> Element:
    """The ``<response/>`` element."""
    element = Element((NS_SASL, "response"))
    element.addContent(b64encode(data).decode())
    return element


def content(element: Element) -> bytes:
    """What an element of SASL carries.

    :raises InvalidResponse: it is not base64.
    """
    text = str(element).strip()
    try:
        return b"" if text in ("", "=") else b64decode(text, validate=True)
    except (Base64Error, ValueError):
        raise InvalidResponse("the server's SASL data is not base64") from None
