"""The form of ``GET /warm`` in a real browser, behind a reverse proxy with its own ``Host`` and a path prefix."""

import http.client
import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.real.browser import Open
from tests.real.parts import Server, basic

PREFIX = "/tools/chat"
HOP_BY_HOP = ("connection", "host", "accept-encoding")


class PrefixProxy(http.server.BaseHTTPRequestHandler):
    """Forward requests below `PREFIX`, with the admin's password and with the server's own address as ``Host``."""

    server: Any

    def do_GET(self) -> None:
        path = self.path.removeprefix(PREFIX)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=30)
        connection.request(self.command, path, body, headers | {"Authorization": basic()})
        response = connection.getresponse()
        self.send_response(response.status if path != self.path else 404)
        for name, value in response.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response.read())
        connection.close()

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def proxy(server: Server) -> Iterator[int]:
    """Run the proxy in front of the shared server; return its port."""
    running: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), PrefixProxy)
    running.target = server.port
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running.server_port
    running.shutdown()
    running.server_close()


def test_the_form_works_behind_a_proxy_with_its_own_host_and_a_prefix(proxy: int, open_browser: Open) -> None:
    browser = open_browser("admin")
    browser.get(f"http://localhost:{proxy}{PREFIX}/warm")
    browser.type("#jid-without-password", "laurence@example.org")
    browser.click("form:first-of-type input[type=submit]")
    browser.sees("p", "Success")
    browser.sees("dd.jid", "laurence@example.org/")


def test_a_form_of_another_site_is_rejected_behind_the_proxy(proxy: int, open_browser: Open) -> None:
    browser = open_browser("victim")
    browser.get(f"http://127.0.0.1:{proxy}{PREFIX}/health")
    browser.get(
        f"data:text/html,<form method=post action='http://localhost:{proxy}{PREFIX}/warm'>"
        "<input name=jid value=laurence@example.org><input type=submit></form>"
    )
    browser.click("input[type=submit]")
    browser.sees("p", "Forbidden")
