"""Limits of ejabberd and of a web server before it, from the samples, with the real programs."""

import base64
import http.client
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import websocket
from private_ejabberd import answers, free_port

from tests.real.boshclient import BoshClient
from tests.real.parts import ROOT, Server, basic, exchanged, until

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


@pytest.fixture
def nginx(sampled: tuple[Server, int], tmp_path: Path) -> Iterator[int]:
    """Run nginx with the sample before ejabberd; return its port."""
    port, limiting = free_port(), free_port()
    ports = ("127.0.0.1:5282", f"127.0.0.1:{sampled[0].bosh}"), ("127.0.0.1:5283", f"127.0.0.1:{limiting}")
    site = exchanged((ROOT / "etc/nginx.conf").read_text(), *ports)
    stream = exchanged((ROOT / "etc/nginx-websocket.conf").read_text(), *ports, ("/etc/nginx", str(ROOT / "etc")))
    modules = "".join(f"load_module /usr/lib/nginx/modules/ngx_stream{name}_module.so;\n" for name in ("", "_js"))
    main = tmp_path / "main.conf"
    main.write_text(
        f"{modules}daemon off;\nmaster_process off;\npid {tmp_path}/pid;\nerror_log {tmp_path}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\nclient_body_temp_path {tmp_path}/body;\n"
        f"proxy_temp_path {tmp_path}/proxy;\nfastcgi_temp_path {tmp_path}/f;\nuwsgi_temp_path {tmp_path}/u;\n"
        f"scgi_temp_path {tmp_path}/s;\nserver {{\nlisten 127.0.0.1:{port};\n{site}}}\n}}\n{stream}"
    )
    process = subprocess.Popen(["/usr/sbin/nginx", "-p", tmp_path, "-c", main])
    until(lambda: answers(port) and answers(limiting))
    yield port
    process.terminate()
    process.wait(20)


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


def test_nginx_passes_sessions_on_and_rejects_oversized_passwords(sampled: tuple[Server, int], nginx: int) -> None:
    server, _ = sampled
    programs = server.programs()
    reply = server.warm(jid="juliet@example.org", wait=1)
    client = BoshClient(nginx).attach(reply.json())
    assert client.ping()
    client.terminate()
    body = (
        "<body xmlns='http://jabber.org/protocol/httpbind' rid='1' to='example.org' wait='1' hold='1' ver='1.6' "
        f"content='text/xml'>{plain('juliet', 'x' * OVERSIZED)}</body>"
    )
    for _ in range(ATTEMPTS):
        connection = http.client.HTTPConnection("127.0.0.1", nginx, timeout=60)
        try:
            connection.request("POST", "/bosh", body.encode(), {"Content-Type": "text/xml; charset=utf-8"})
            assert connection.getresponse().status == 413
        finally:
            connection.close()
    assert server.programs() == programs
    assert server.warm(jid="juliet@example.org").status == 200


def opened(nginx: int) -> websocket.WebSocket:
    """Open a stream over a WebSocket."""
    client = websocket.create_connection(f"ws://127.0.0.1:{nginx}/ws", subprotocols=["xmpp"], timeout=60)
    client.send("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.org' version='1.0'/>")
    while "<stream:features" not in client.recv():
        pass
    return client


def in_frames(text: str, number: int) -> list[websocket.ABNF]:
    """Return the frames of one message."""
    length = -(-len(text) // number)
    parts = [text[index * length : (index + 1) * length] for index in range(number)]
    opcodes = [websocket.ABNF.OPCODE_TEXT] + [websocket.ABNF.OPCODE_CONT] * (number - 1)
    return [
        websocket.ABNF.create_frame(part, opcode, int(index == number - 1))
        for index, (part, opcode) in enumerate(zip(parts, opcodes, strict=True))
    ]


def test_nginx_passes_websockets_on(sampled: tuple[Server, int], nginx: int) -> None:
    server, _ = sampled
    given = server.post("/credentials", jid="juliet@example.org").json()
    client = opened(nginx)
    for frame in in_frames(plain("juliet", "wrong"), 3):
        client.send_frame(frame)
    assert "<failure" in client.recv()
    client.ping("between the messages")
    client.send(plain("juliet", given["password"]))
    assert "<success" in client.recv()
    client.send("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.org' version='1.0'/>")
    while "<bind" not in client.recv():
        pass
    bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"
    client.send(f"<iq xmlns='jabber:client' type='set' id='1'>{bind}</iq>")
    assert "juliet@example.org/" in client.recv()
    for length in (10, 200, 60_000):
        text = (
            f"<iq xmlns='jabber:client' type='get' id='{length}' to='example.org'><x xmlns='x'>{'x' * length}</x></iq>"
        )
        client.send(text)
        assert f"id='{length}'" in client.recv()
    client.close()


@pytest.mark.parametrize("frames", [1, 2, 40])
def test_nginx_rejects_oversized_passwords_over_websockets(
    sampled: tuple[Server, int], nginx: int, frames: int
) -> None:
    server, _ = sampled
    programs = server.programs()
    for _ in range(ATTEMPTS):
        client = opened(nginx)
        with pytest.raises((websocket.WebSocketException, OSError)):
            for frame in in_frames(plain("juliet", "x" * OVERSIZED), frames):
                client.send_frame(frame)
            client.recv()
        client.shutdown()  # type: ignore[no-untyped-call]
    assert server.programs() == programs and len(programs) == 2
    assert server.warm(jid="juliet@example.org").status == 200
