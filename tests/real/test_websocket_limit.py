"""The sample that limits WebSocket messages before ejabberd's ``/ws``, with the real nginx."""

import subprocess
from collections.abc import Iterator

import pytest
import websocket
from private_ejabberd import answers, free_port

from tests.real.parts import ROOT, Server, exchanged, until
from tests.real.test_limits import ATTEMPTS, OVERSIZED, plain


@pytest.fixture(scope="module")
def limited(served: tuple[Server, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    """Run nginx with the sample before ejabberd; return the server and nginx's port."""
    server, listener = served
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    stream = exchanged(
        (ROOT / "etc/proxies/nginx-websocket.conf").read_text(),
        ("127.0.0.1:5282", f"127.0.0.1:{listener}"),
        ("127.0.0.1:5283", f"127.0.0.1:{port}"),
        ("/etc/nginx", str(ROOT / "etc/proxies")),
    )
    modules = "".join(f"load_module /usr/lib/nginx/modules/ngx_stream{name}_module.so;\n" for name in ("", "_js"))
    main = folder / "main.conf"
    main.write_text(
        f"{modules}daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/error.log;\n"
        f"events {{}}\n{stream}"
    )
    process = subprocess.Popen(["/usr/sbin/nginx", "-p", folder, "-c", main])
    until(lambda: answers(port))
    yield server, port
    process.terminate()
    process.wait(20)


def opened(port: int) -> websocket.WebSocket:
    """Open a stream over a WebSocket."""
    client = websocket.create_connection(f"ws://127.0.0.1:{port}/ws", subprotocols=["xmpp"], timeout=60)
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


def test_nginx_passes_websockets_on(limited: tuple[Server, int]) -> None:
    server, nginx = limited
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
def test_nginx_rejects_oversized_passwords_over_websockets(limited: tuple[Server, int], frames: int) -> None:
    server, nginx = limited
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
