"""Callers that disconnect before they have read the reply cost their users nothing."""

import json
import socket
import sqlite3
import struct
import time
from collections.abc import Iterator

import pytest

from tests.real.parts import Server, basic, until

WAITING = 40
USER = "emilia"
DELAYS = [each / 1000 for each in range(0, 91, 6)]
"""Seconds from the request to the disconnect."""


def raw(path: str, fields: dict[str, str], connection: str) -> bytes:
    body = json.dumps(fields).encode()
    version = "1.0" if connection == "old" else "1.1"
    closing = "Connection: close\r\n" if connection == "close" else ""
    head = (
        f"POST {path} HTTP/{version}\r\nHost: x\r\n{closing}Authorization: {basic()}\r\nAccept: application/json\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def disconnect(client: socket.socket, reset: bool) -> None:
    if reset:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def passwords(server: Server) -> int:
    """Return the number of one-time passwords in the store."""
    connection = sqlite3.connect(f"file:{server.store}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM passwords").fetchone()[0])
    finally:
        connection.close()


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with 40 messages that wait for a user."""
    server = Server(tmp_path_factory.mktemp("disconnects")).start()
    server.attached(f"{USER}@example.org").terminate()
    sender = server.attached("iago@example.org")
    for number in range(WAITING):
        sender.message(f"{USER}@example.org", f"message {number}")
    assert sender.ping()
    sender.terminate()
    until(lambda: server.offline_messages(USER) == WAITING and server.connected() == 0)
    yield server
    server.stop()


@pytest.mark.parametrize("connection", ["keep", "close", "old"])
@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("path", ["/warm", "/credentials"])
def test_a_disconnect_leaves_no_session_and_no_password(
    waiting: Server, path: str, reset: bool, connection: str
) -> None:
    fields = {"jid": f"{USER}@example.org"} | ({"presence": "available"} if path == "/warm" else {})
    request = raw(path, fields, connection)
    for delay in DELAYS:
        client = socket.create_connection(("127.0.0.1", waiting.port), timeout=20)
        client.sendall(request)
        time.sleep(delay)
        disconnect(client, reset)
    until(lambda: waiting.connected() == 0 and passwords(waiting) == 0, within=10)
    assert waiting.offline_messages(USER) == WAITING


@pytest.mark.parametrize("connection", ["keep", "close", "old"])
def test_a_caller_that_reads_the_reply_and_closes_keeps_the_session(waiting: Server, connection: str) -> None:
    with socket.create_connection(("127.0.0.1", waiting.port), timeout=20) as client:
        client.sendall(raw("/warm", {"jid": f"{USER}@example.org", "presence": "available"}, connection))
        received = b""
        while not received.endswith(b"}\n"):
            received += client.recv(65536)
    session = json.loads(received.partition(b"\r\n\r\n")[2])
    time.sleep(2)
    assert waiting.sessions(USER) == [session["jid"]] and waiting.offline_messages(USER) == WAITING
    waiting.command(
        "kick_session", user=USER, host="example.org", resource=session["jid"].partition("/")[2], reason="x"
    )
    until(lambda: waiting.connected() == 0)
