"""SASL: the choice of a mechanism, its messages, and verification of the server."""

from base64 import b64encode

import pytest
from scramp import ScramMechanism
from twisted.words.xish.domish import Element

from warmside.bosh import sasl
from warmside.bosh.body import NS_SASL
from warmside.bosh.errors import InvalidResponse, NoMechanism, Refused, ServerSignatureInvalid
from warmside.jids import prepare

ALL = {"PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512", "DIGEST-MD5", "X-OAUTH2"}


def credentials(*, one_time: bool = False, password: str = "pässword") -> sasl.Credentials:
    return sasl.Credentials(prepare("juliet@example.org"), password, one_time)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (ALL, "SCRAM-SHA-512"),
        (ALL - {"SCRAM-SHA-512"}, "SCRAM-SHA-256"),
        ({"SCRAM-SHA-1", "PLAIN"}, "SCRAM-SHA-1"),
        ({"PLAIN", "DIGEST-MD5"}, "PLAIN"),
    ],
)
def test_the_users_own_password_uses_the_strongest_offered_mechanism(offered: set[str], chosen: str) -> None:
    assert sasl.choose(credentials(), offered).name == chosen


def test_a_one_time_password_uses_plain_only() -> None:
    assert sasl.choose(credentials(one_time=True), ALL).name == "PLAIN"
    with pytest.raises(NoMechanism):
        sasl.choose(credentials(one_time=True), ALL - {"PLAIN"})


def test_a_mechanism_that_is_not_offered_is_never_used() -> None:
    with pytest.raises(NoMechanism):
        sasl.choose(credentials(), {"DIGEST-MD5", "X-OAUTH2", "scram-sha-1"})


def test_plain_follows_rfc_4616() -> None:
    element = sasl.auth(sasl.choose(credentials(), {"PLAIN"}))
    assert (element.uri, element.name, element["mechanism"]) == (NS_SASL, "auth", "PLAIN")
    assert str(element) == b64encode("\0juliet\0pässword".encode()).decode()


def server(name: str, password: str = "pässword") -> "object":
    mechanism = ScramMechanism(name)
    salt, stored, key, iterations = mechanism.make_auth_info(password, iteration_count=4096)
    return mechanism.make_server(lambda user: (salt, stored, key, iterations))


@pytest.mark.parametrize("name", sasl.SCRAM)
def test_a_scram_exchange_ends_in_a_verified_server(name: str) -> None:
    other = server(name)
    exchange = sasl.choose(credentials(), {name})
    other.set_client_first(exchange.initial().decode())  # type: ignore[attr-defined]
    work = exchange.challenged(other.get_server_first().encode())  # type: ignore[attr-defined]
    other.set_client_final(work().decode())  # type: ignore[attr-defined]
    final = other.get_server_final().encode()  # type: ignore[attr-defined]
    exchange.succeeded(final)


def test_a_server_with_an_invalid_signature_is_rejected() -> None:
    for signature in (b"", b"v=" + b64encode(b"x" * 20), b"e=other-error"):
        other = server("SCRAM-SHA-1")
        exchange = sasl.choose(credentials(), {"SCRAM-SHA-1"})
        other.set_client_first(exchange.initial().decode())  # type: ignore[attr-defined]
        final = exchange.challenged(other.get_server_first().encode())()  # type: ignore[attr-defined]
        other.set_client_final(final.decode())  # type: ignore[attr-defined]
        assert other.get_server_final().encode() != signature  # type: ignore[attr-defined]
        with pytest.raises(ServerSignatureInvalid):
            exchange.succeeded(signature)


def test_success_before_the_end_of_the_exchange_is_rejected() -> None:
    exchange = sasl.choose(credentials(), {"SCRAM-SHA-256"})
    exchange.initial()
    with pytest.raises(ServerSignatureInvalid):
        exchange.succeeded(b"")


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"\xff",
        b"r=x,s={salt},i=4096",
        b"r={nonce},s={salt},i=0",
        b"r={nonce},s={salt},i=1000001",
        b"r={nonce},s={salt},i=x",
    ],
)
def test_an_invalid_challenge_is_rejected(challenge: bytes) -> None:
    exchange = sasl.choose(credentials(), {"SCRAM-SHA-256"})
    nonce = exchange.initial().rpartition(b"r=")[2]
    salt = b64encode(b"sixteen bytes of")
    with pytest.raises(InvalidResponse):
        exchange.challenged(challenge.replace(b"{nonce}", nonce + b"server").replace(b"{salt}", salt))


def test_a_challenge_within_the_limits_is_accepted() -> None:
    exchange = sasl.choose(credentials(), {"SCRAM-SHA-256"})
    nonce = exchange.initial().rpartition(b"r=")[2]
    challenge = b"r=" + nonce + b"server,s=" + b64encode(b"sixteen bytes of") + b",i=4096"
    assert exchange.challenged(challenge)().startswith(b"c=biws,r=" + nonce)


def test_a_password_that_scram_can_not_carry_is_rejected() -> None:
    with pytest.raises(Refused):
        sasl.choose(credentials(password="a\x07b"), {"SCRAM-SHA-256"})


def test_plain_rejects_challenges() -> None:
    with pytest.raises(InvalidResponse):
        sasl.choose(credentials(), {"PLAIN"}).challenged(b"")


@pytest.mark.parametrize(("text", "data"), [("", b""), ("=", b""), (" QUJD\n", b"ABC")])
def test_sasl_data_is_decoded(text: str, data: bytes) -> None:
    element = Element(
        (NS_SASL, "success"),
    )
    element.addContent(text)
    assert sasl.content(element) == data


def test_sasl_data_that_is_not_base64_is_rejected() -> None:
    element = Element((NS_SASL, "success"))
    element.addContent("!!!")
    with pytest.raises(InvalidResponse):
        sasl.content(element)


def test_credentials_show_no_password() -> None:
    assert "pässword" not in repr(credentials())
