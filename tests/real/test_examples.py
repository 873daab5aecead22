"""The examples for web developers, each in its own runtime, against a real ejabberd."""

import http.client
import json
import os
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from private_ejabberd import answers, free_port

from tests.real.boshclient import BoshClient
from tests.real.parts import PASSWORD, ROOT, Reply, Server, until

EXAMPLES = ROOT / "etc/examples"


def command(name: str, port: int) -> list[str]:
    """Return the command that starts an example."""
    file = str(EXAMPLES / name)
    match Path(name).stem:
        case "flask_app":
            return [sys.executable, "-m", "flask", "--app", file, "run", "--port", str(port)]
        case "django_app":
            return [sys.executable, file, "runserver", "--noreload", f"127.0.0.1:{port}"]
        case "php_app":
            return ["php", "-S", f"127.0.0.1:{port}", file]
    return ["node", file]


class Application:
    """A running example."""

    def __init__(self, name: str, warmside: int, password: str = PASSWORD) -> None:
        self.port = free_port()
        environ = os.environ | {
            "WARMSIDE": f"http://127.0.0.1:{warmside}",
            "WARMSIDE_PASSWORD": password,
            "SECRET_KEY": "for a test",
            "PORT": str(self.port),
        }
        self.process = subprocess.Popen(
            command(name, self.port), env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(lambda: answers(self.port))
        self.cookies = ""
        self.stores_sessions = name in ("php_app.php", "node_app.mjs")
        """True if the example stores sessions; the others put them into a signed cookie."""

    def request(self, method: str, path: str, form: dict[str, str] | None = None) -> Reply:
        """Send one request with the cookies of earlier replies."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Cookie": self.cookies} if self.cookies else {}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, urllib.parse.urlencode(form) if form is not None else None, headers)
        response = connection.getresponse()
        reply = Reply(response.status, response.headers, response.read())
        for value in reply.headers.get_all("Set-Cookie") or ():
            assert "samesite=lax" in value.lower() or "max-age=0" in value.lower()
            self.cookies = value.partition(";")[0]
        connection.close()
        return reply

    def log_in(self, user: str) -> None:
        """Log in to the example."""
        assert self.request("POST", "/login", {"user": user}).status in (200, 302, 303)

    def close(self) -> None:
        """Stop the example."""
        self.process.terminate()
        self.process.wait(10)


NAMES = ("flask_app.py", "django_app.py", "php_app.php", "node_app.mjs")


@pytest.fixture(scope="module", params=NAMES)
def application(request: pytest.FixtureRequest, server: Server) -> Iterator[Application]:
    """Run each example."""
    running = Application(request.param, server.port)
    yield running
    running.close()


PAGES = {"chat.css", "converse.html", "converse-page.js", "session.js", "strophe.html", "strophe-page.js", "user.js"}
"""Files of the pages, which test_page.py runs."""


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == {*NAMES, *PAGES}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_each_tab_gets_its_own_session(application: Application, server: Server, method: str) -> None:
    application.log_in("rosencrantz")
    tabs = [application.request(method, "/chat-session") for _ in range(2)]
    for reply in tabs:
        assert reply.status == 200 and reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["Content-Type"].startswith("application/json")
    sessions = [reply.json() for reply in tabs]
    assert sorted(server.sessions("rosencrantz")) == sorted(session["jid"] for session in sessions)
    for session in sessions:
        client = BoshClient(server.bosh).attach(session)
        assert client.ping()
        client.terminate()


def test_request_fields_do_not_change_the_user(application: Application, server: Server) -> None:
    application.log_in("guildenstern")
    other = {"jid": "hamlet@example.org", "user": "hamlet"}
    query = urllib.parse.urlencode(other)
    replies = [
        application.request("GET", f"/chat-session?{query}"),
        application.request("POST", f"/chat-session?{query}", other),
    ]
    for reply in replies:
        assert reply.json()["jid"].startswith("guildenstern@example.org/")
        BoshClient(server.bosh).attach(reply.json()).terminate()
    assert server.sessions("hamlet") == []


def test_a_session_requires_a_login(application: Application) -> None:
    application.cookies = ""
    assert application.request("GET", "/chat-session?user=hamlet").status == 401
    application.log_in("osric")
    before = application.cookies
    application.request("POST", "/logout", {})
    for cookies in [application.cookies] + ([before] if application.stores_sessions else []):
        application.cookies = cookies
        reply = application.request("GET", "/chat-session")
        assert reply.status == 401 and reply.headers["Cache-Control"] == "no-store"
        assert set(reply.json()) == {"error"}


@pytest.mark.parametrize("name", NAMES)
def test_an_error_tells_the_browser_no_detail(name: str, server: Server) -> None:
    for port, password in ((free_port(), PASSWORD), (server.port, "wrong")):
        application = Application(name, port, password)
        try:
            application.log_in("yorick")
            reply = application.request("POST", "/chat-session", {})
            assert reply.status == 502 and reply.headers["Cache-Control"] == "no-store"
            assert json.loads(reply.body) == {"error": "the chat is not available; try again later"}
        finally:
            application.close()
