"""A wrong ``bosh.url`` or ``mod_bosh``: /warm names the cause, and /ready is not ok. With a real ejabberd."""

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from private_ejabberd import free_port

from tests.certificates import certificate
from tests.real.parts import Server, Site, exchanged, listeners_of_all_kinds, until
from tests.real.processes import NO, YES, Folder, Program


class Ports(NamedTuple):
    """Ports of 127.0.0.1: BOSH, the same with TLS, XMPP over TCP, and an HTTP server that redirects and rejects."""

    bosh: int
    tls: int
    xmpp: int
    web: int


class OtherServer(http.server.BaseHTTPRequestHandler):
    """Responds with the status in the path."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(int(self.path[1:]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    """Run an ejabberd with all kinds of listeners, and another HTTP server."""
    folder = tmp_path_factory.mktemp("causes")
    _, both = certificate(folder)
    tls, xmpp = free_port(), free_port()
    listeners, certfiles = listeners_of_all_kinds(tls, xmpp, both)
    server = Server(folder, certfiles, listeners=listeners).start()
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), OtherServer)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield Ports(server.bosh, tls, xmpp, web.server_port)
    web.shutdown()
    web.server_close()
    server.stop()


CASES = [
    ("http://127.0.0.1:{bosh}/nothing", 502, "HTTP 404", "not-bosh"),
    ("http://127.0.0.1:{web}/301", 502, "HTTP 301", "not-bosh"),
    ("http://127.0.0.1:{web}/401", 502, "HTTP 401", "not-bosh"),
    ("http://127.0.0.1:{web}/200", 502, "not BOSH", "not-bosh"),
    ("http://127.0.0.1:{own}/bosh", 502, "HTTP 404", "not-bosh"),
    ("http://127.0.0.1:{xmpp}/bosh", 502, "XMPP over TCP", "not-bosh"),
    ("https://localhost:{bosh}/bosh", 503, "does not speak TLS", "unreachable"),
    ("https://localhost:{xmpp}/bosh", 503, "does not speak TLS", "unreachable"),
    ("https://localhost:{tls}/bosh", 503, "bosh.ca_file", "unreachable"),
    ("https://127.0.0.1:{tls}/bosh", 503, "another name", "unreachable"),
    ("http://127.0.0.1:{tls}/bosh", 503, "https", "unreachable"),
]


@pytest.mark.parametrize(("url", "status", "cause", "state"), CASES)
def test_a_wrong_url_is_named_and_not_ready(
    ports: Ports, tmp_path: Path, url: str, status: int, cause: str, state: str
) -> None:
    folder = Folder(tmp_path)
    url = url.format(**ports._asdict(), own=folder.port)
    trusted = f'\nca_file = "{certificate(tmp_path)[0]}"' if "127.0.0.1" in url and url.startswith("https:") else ""
    folder.write(f'[bosh]\nurl = "{url}"{trusted}\n')
    program, site = Program(folder), Site(folder.port)
    try:
        until(site.serves)
        reply = site.warm(jid="juliet@example.org")
        assert reply.status == status and cause in reply.json()["detail"], reply.body
        ready = site.request("GET", "/ready")
        assert ready.status == 503 and json.loads(ready.body)["connection_manager"] == state, ready.body
        assert url in program.log()
    finally:
        program.end()


def test_prebind_of_mod_bosh_is_named(tmp_path: Path) -> None:
    server = Server(tmp_path, ("mod_bosh: {}", "mod_bosh: {prebind: true}"))
    server.toml.write_text(
        exchanged(
            server.toml.read_text(),
            ("# timeout = 10 ", "timeout = 2 # "),
        )
    )
    server.start()
    try:
        reply = server.warm(jid="juliet@example.org")
        assert reply.status == 504 and "prebind: true" in reply.json()["detail"], reply.body
        # A login with the user's own password sends it only once the server has offered its mechanisms.
        reply = server.warm(jid="juliet@example.org", password="own")
        assert reply.status == 504 and "prebind: true" in reply.json()["detail"], reply.body
    finally:
        server.stop()


class Application(http.server.BaseHTTPRequestHandler):
    """Accepts every password."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"result": true}')

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def application(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Run a web application with TLS; return its port and its self-signed certificate."""
    cert, both = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Application)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, cert
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("scheme", "host", "trusted", "cause"),
    [
        ("https", "localhost", True, None),
        ("https", "localhost", False, "set extauth.ca_file to a PEM file"),
        ("https", "127.0.0.1", True, "the certificate is for another name than the one in extauth.url"),
    ],
)
def test_a_web_application_with_its_own_certificate(
    application: tuple[int, Path], folder: Folder, scheme: str, host: str, trusted: bool, cause: str | None
) -> None:
    port, cert = application
    ca_file = f'ca_file = "{cert}"\n' if trusted else ""
    folder.write(f'[extauth]\nurl = "{scheme}://{host}:{port}/"\n{ca_file}')
    program = Program(folder)
    try:
        assert program.ask(b"auth:juliet:example.org:own") == (NO if cause else YES)
        assert cause is None or cause in program.log()
    finally:
        program.end()
