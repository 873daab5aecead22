"""Limits of ejabberd, from the sample, with the real program."""

import base64
import re
import socket
from collections.abc import Iterator

import pytest
from private_ejabberd import free_port

from tests.real.parts import ROOT, Server, basic

OVERSIZED = 70_000
"""Characters of a password that does not fit into a frame of extauth."""
ATTEMPTS = 30


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    """Run ejabberd with the sample as it stands, without TLS for its clients; return the port for them, too."""
    port = free_port()
    open_port = (
        f'  - port: {port}\n    ip: "127.0.0.1"\n    module: ejabberd_c2s\n    max_stanza_size: 65000\n'
        "    access: c2s\n"
    )
    sockets = ("      /bosh: mod_bosh\n", "      /bosh: mod_bosh\n      /ws: ejabberd_http_ws\n")
    running = Server(tmp_path_factory.mktemp("limits"), sockets, listeners=open_port).start()
    yield running, port
    running.stop()


def plain(user: str, password: str) -> str:
    """Return an ``<auth/>`` for SASL PLAIN."""
    payload = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    return f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{payload}</auth>"


def c2s_reply(port: int, text: str) -> str:
    """Open a stream over TCP, send a text, and return the rest of ejabberd's stream."""
    header = (
        "<stream:stream to='example.org' version='1.0' xmlns='jabber:client' "
        "xmlns:stream='http://etherx.jabber.org/streams'>"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(header.encode())
        received = b""
        while b"</stream:features>" not in received:
            chunk = sock.recv(65536)
            assert chunk, received
            received += chunk
        features = received.decode()
        if not text:
            return features
        try:
            sock.sendall(text.encode())
            while chunk := sock.recv(65536):
                received += chunk
                if b"</stream:stream>" in received or b"<failure" in received or b"<success" in received:
                    break
        except ConnectionError:
            pass  # ejabberd closed the stream before it read everything
        return received.decode().removeprefix(features)


def test_oversized_passwords_of_clients_leave_extauth_and_bosh_alive(sampled: tuple[Server, int]) -> None:
    server, port = sampled
    programs = server.programs()
    for _ in range(ATTEMPTS):
        assert "<success" not in c2s_reply(port, plain("juliet", "x" * OVERSIZED))
    assert server.programs() == programs and len(programs) == 2
    assert server.warm(jid="juliet@example.org").status == 200
    assert "<failure" in c2s_reply(port, plain("juliet", "wrong"))


def test_every_listener_of_clients_in_the_sample_has_the_limit() -> None:
    sample = (ROOT / "etc/ejabberd.yml").read_text()
    listeners = re.findall(r"module: ejabberd_c2s\n((?:    .*\n)+)", sample)
    assert listeners and all("max_stanza_size: 65000\n" in each for each in listeners)


def test_clients_are_offered_plain_and_not_oauth(sampled: tuple[Server, int]) -> None:
    server, port = sampled
    features = c2s_reply(port, "")
    assert re.findall("<mechanism>([^<]*)</mechanism>", features) == ["PLAIN"]
    reply = server.request(
        "POST",
        "/credentials",
        b"jid=juliet@example.org",
        {"Authorization": basic(), "Content-Type": "application/x-www-form-urlencoded"},
    )
    assert reply.status == 200
    password = reply.json()["password"]
    assert "<success" in c2s_reply(port, plain("juliet", password))
    assert server.warm(jid="juliet@example.org").status == 200
