"""The samples of etc/proxies in nginx, Apache and Caddy: one origin for the pages, BOSH and WebSocket."""

import base64
import http.client
import re
import time
from collections.abc import Iterator

import pytest
import websocket

from tests.real.boshclient import BoshClient
from tests.real.parts import ROOT, Server
from tests.real.website import SAMPLES, Application, WebServer

OVERSIZED = 70_000
"""Characters of a password that does not fit into a frame of extauth."""
ATTEMPTS = 30
UNREAD = {400, 411, 413, 500, 502}
"""Statuses of a body that is rejected before it was read."""


@pytest.fixture(scope="module")
def application(served: tuple[Server, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """Run the Flask example with the pages."""
    running = Application(served[0], tmp_path_factory.mktemp("static"))
    yield running
    running.close()


@pytest.fixture(scope="module", params=list(SAMPLES))
def web(
    request: pytest.FixtureRequest, served: tuple[Server, int], application: Application,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[WebServer]:  # fmt: skip
    """Run each web server with its sample."""
    running = WebServer(request.param, application.port, served[1], tmp_path_factory.mktemp(request.param))
    yield running
    running.stop()


def post(port: int, body: bytes, *, chunked: bool = False) -> int:
    """Send a request to ``/bosh`` and return the status, or 0 if the connection was closed before a response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": "text/xml; charset=utf-8"}
    try:
        connection.request("POST", "/bosh", iter([body]) if chunked else body, headers, encode_chunked=chunked)
        return connection.getresponse().status
    except ConnectionError:
        return 0
    finally:
        connection.close()


def plain(user: str, password: str) -> str:
    """Return an ``<auth/>`` for SASL PLAIN."""
    payload = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    return f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{payload}</auth>"


def test_the_page_and_its_files_load(web: WebServer) -> None:
    for path, text in (("strophe.html", b'data-bosh="/bosh"'), ("session.js", b"feedStanzas")):
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=60)
        connection.request("GET", f"/static/{path}")
        response = connection.getresponse()
        assert response.status == 200 and text in response.read()
        connection.close()


def test_a_session_attaches_and_its_held_request_is_not_cut(served: tuple[Server, int], web: WebServer) -> None:
    session = served[0].warm(jid="juliet@example.org", wait=3).json()
    client = BoshClient(web.port).attach(session)
    assert client.ping()
    started = time.monotonic()
    assert client.send() == []
    assert 2 < time.monotonic() - started < 10
    assert client.ping()
    client.terminate()


def test_timeouts_are_above_the_longest_wait(web: WebServer, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["web"]
    text = (ROOT / "etc/proxies" / SAMPLES[name]).read_text()
    timeouts = [int(seconds) for seconds in re.findall(r"timeout[= ](\d+)", text)]
    assert timeouts and min(timeouts) > 300


def test_a_message_passes_without_being_buffered(served: tuple[Server, int], web: WebServer) -> None:
    session = served[0].warm(jid="nurse@example.org", wait=30, presence="available").json()
    client = BoshClient(web.port).attach(session)
    friend = served[0].attached("friend@example.org")
    started = time.monotonic()
    friend.message(session["jid"], "at once")
    assert client.await_message() == "at once"
    assert time.monotonic() - started < 10
    friend.terminate()
    client.terminate()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_rejected(served: tuple[Server, int], web: WebServer, *, chunked: bool) -> None:
    server, _ = served
    programs = server.programs()
    body = (
        "<body xmlns='http://jabber.org/protocol/httpbind' rid='1' to='example.org' wait='1' hold='1' ver='1.6' "
        f"content='text/xml'>{plain('juliet', 'x' * OVERSIZED)}</body>"
    )
    statuses = {post(web.port, body.encode(), chunked=chunked) for _ in range(ATTEMPTS)}
    assert statuses <= (UNREAD if chunked else {413})
    assert server.programs() == programs
    assert server.warm(jid="juliet@example.org").status == 200


def cookie(port: int) -> str:
    """Log in to the application as Juliet; return the cookie. Sign up at the first time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for path in ("/login", "/signup"):
        connection.request("POST", path, b"user=juliet", {"Content-Type": "application/x-www-form-urlencoded"})
        response = connection.getresponse()
        response.read()
        if response.status == 200:
            break
    value = response.headers["Set-Cookie"].partition(";")[0]
    connection.close()
    return value


def websocket_login(port: int, password: str, cookies: str = "") -> str:
    """Log in over WebSocket (RFC 7395) as Juliet; return ejabberd's response to ``<auth/>``."""
    url = f"ws://127.0.0.1:{port}/ws"
    client = websocket.create_connection(url, subprotocols=["xmpp"], timeout=30, cookie=cookies)
    try:
        client.send("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.org' version='1.0'/>")
        while "features" not in str(client.recv()):
            pass
        client.send(plain("juliet", password))
        return str(client.recv())
    finally:
        client.close()


def test_a_logged_in_user_logs_in_over_websocket(served: tuple[Server, int], web: WebServer) -> None:
    server, _ = served
    password = server.post("/credentials", jid="juliet@example.org").json()["password"]
    cookies = cookie(web.port)
    assert "<success" in websocket_login(web.port, password, cookies)
    assert "<failure" in websocket_login(web.port, password, cookies)


@pytest.mark.parametrize("web", ["nginx", "caddy"], indirect=True)
def test_others_can_not_connect_over_websocket(web: WebServer) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        websocket_login(web.port, "secret")
    assert caught.value.status_code == 401
