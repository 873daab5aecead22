"""A page that is rendered with its session: safe for any text, used once, and online earlier."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.real.applications import Application
from tests.real.browser import Browser
from tests.real.parts import Server, until
from tests.real.race import measure
from tests.real.website import WebServer, log_in

SCRIPT = "</script><script>document.title = 'broken out'</script>"
HOSTILE: dict[str, Any] = {
    "jid": f"ann@example.org/{SCRIPT}",
    "sid": "1",
    "rid": 1,
    "stanzas": [
        f"<message xmlns='jabber:client'><script xmlns='urn:x'>{SCRIPT}<body>&lt;/script></body></message>",
        "<presence xmlns='jabber:client'><status><!--<script></status></presence>\u2028",
    ],
}
"""Reply of ``/warm`` with every text that ends a script element, or begins one in a comment."""


class Answers(ThreadingHTTPServer):
    """warmside's ``/users`` and ``/warm`` with fixed replies: a real one rarely has a stanza before the page."""

    daemon_threads = True
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answering(BaseHTTPRequestHandler):
    """One request to `Answers`."""

    def do_POST(self) -> None:
        """Return the JIDs as they were sent, or the hostile session."""
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps(HOSTILE if self.path == "/warm" else sent).encode()
        assert isinstance(self.server, Answers)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log no requests."""


@pytest.fixture
def answers() -> Iterator[Answers]:
    """Run warmside's replies."""
    with Answers() as server:
        yield server
        server.shutdown()


SCRIPTS = """
const page = new DOMParser().parseFromString(arguments[0], "text/html");
return [...page.scripts].map((script) => script.src ? "file" : script.textContent);
"""


@pytest.mark.parametrize("name", ["flask_app.py", "django_app.py"])
def test_no_text_of_a_session_breaks_out_of_the_page(
    answers: Answers, browser: Browser, tmp_path: Path, name: str
) -> None:
    application = Application(name, tmp_path, answers.server_port)
    try:
        application.user("Ann")
        page = application.request("GET", "/chat").body.decode()
        session, *others = browser.driver.execute_script(SCRIPTS, page)
        assert json.loads(session) == HOSTILE and "<" not in session
        assert others == ["file", "file"]
        answers.status = 503  # the page requests a session itself
        page = application.request("GET", "/chat").body.decode()
        assert browser.driver.execute_script(SCRIPTS, page) == ["", "file", "file"]
    finally:
        application.close()


def test_the_page_of_django_can_request_the_next_session(server: Server, browser: Browser, tmp_path: Path) -> None:
    application = Application("django_app.py", tmp_path, server.port)
    try:
        application.user("Bea")
        page = application.request("GET", "/chat").body.decode()
        script = (
            "const page = new DOMParser().parseFromString(arguments[0], 'text/html');"
            "return page.querySelector('meta[name=csrf-token]').content"
        )
        application.cookies["csrftoken"] = browser.driver.execute_script(script, page)
        assert application.request("POST", "/chat-session").json()["jid"].startswith("django\\20bea@example.org/")
    finally:
        application.close()


FETCHED = "return performance.getEntriesByName(location.origin + '/chat-session').length"


def test_a_page_uses_its_session_once(served: tuple[Server, int], website: WebServer, browser: Browser) -> None:
    server, _ = served
    log_in(browser, website.url, "una")
    browser.driver.get_log("browser")
    browser.get(website.url + "/chat")
    browser.sees("#state", "online")
    assert browser.driver.execute_script(FETCHED) == 0
    assert browser.driver.find_elements("css selector", "#chat-session") == []
    (first,) = server.sessions("una")
    assert server.post("/end", jid=first).json() == {"ended": [first]}
    until(lambda: server.sessions("una"))
    browser.until(lambda: browser.driver.execute_script(FETCHED) == 1)
    browser.sees("#state", "online")
    (second,) = server.sessions("una")
    assert second != first
    assert [line for line in browser.driver.get_log("browser") if "Content Security Policy" in line["message"]] == []


def test_a_session_in_the_page_is_faster_than_a_fetched_one_and_both_than_a_login_over_a_slow_network(
    served: tuple[Server, int], website: WebServer, browser: Browser
) -> None:
    took = {way: median(times) for way, times in measure(*served, website, browser, 3).items()}
    assert took["inline"] < took["fetch"] < took["login"], took
