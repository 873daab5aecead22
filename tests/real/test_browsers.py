"""What users see: real browsers against a real ejabberd."""

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from private_ejabberd import free_port

from tests.real.boshclient import BoshClient
from tests.real.browser import Browser, Demo, libraries
from tests.real.parts import PASSWORD, ROOT, Server, until
from tests.real.proxy import SlowProxy

Open = Callable[[str], Browser]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    """A server with a listener for browsers, and that listener's port."""
    port = free_port()
    listener = (
        f'  - port: {port}\n    ip: "127.0.0.1"\n    module: ejabberd_http\n'
        "    request_handlers:\n      /bosh: mod_bosh\n      /ws: ejabberd_http_ws\n"
    )
    running = Server(tmp_path_factory.mktemp("browsers"), listeners=listener).start()
    yield running, port
    running.stop()


@pytest.fixture(scope="module")
def demo(served: tuple[Server, int]) -> Iterator[Demo]:
    running = Demo(*served)
    yield running
    running.close()


@pytest.fixture
def open_browser(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens browsers; what they show is kept when the test fails."""
    browsers: list[Browser] = []
    failed_before = request.session.testsfailed

    def open_one(name: str) -> Browser:
        browsers.append(Browser(name, tmp_path / name))
        return browsers[-1]

    yield open_one
    if request.session.testsfailed > failed_before or os.environ.get("SCREENSHOTS"):
        for browser in browsers:
            browser.screenshot(request.node.name)
    for browser in browsers:
        browser.close()


def test_two_users_meet_and_chat_with_strophe(demo: Demo, open_browser: Open) -> None:
    juliet = open_browser("juliet").log_in(demo.url)
    romeo = open_browser("romeo").slow_down().log_in(demo.url)
    for user in (juliet, romeo):
        user.sees("#state", "online")
    juliet.type("#add input", "Romeo")
    juliet.click("#add button")
    romeo.sees("#contacts", "Juliet")
    romeo.click(".accept")
    for user, other in ((juliet, "Romeo"), (romeo, "Juliet")):
        user.sees("#contacts li.online", other)
    romeo.click("#contacts button")
    romeo.type("#send input", "But soft! <b>What light?</b>")
    romeo.click("#send button")
    juliet.sees("#messages .theirs", "But soft! <b>What light?</b>")
    juliet.type("#send input", "Ay me!")
    juliet.click("#send button")
    romeo.sees("#messages .theirs", "Ay me!")


def test_who_closed_the_window_has_messages_and_contact_requests_when_he_comes_back(
    served: tuple[Server, int], demo: Demo, open_browser: Open
) -> None:
    server, _ = served
    tybalt, benvolio = (open_browser(name).log_in(demo.url) for name in ("tybalt", "benvolio"))
    for user in (tybalt, benvolio):
        user.sees("#state", "online")
    benvolio.get("about:blank")
    until(lambda: not server.sessions("benvolio"))
    tybalt.type("#add input", "benvolio")
    tybalt.click("#add button")
    tybalt.type("#send input", "What, drawn, and talk of peace?")
    tybalt.click("#send button")
    tybalt.sees("#messages .mine", "What, drawn")
    time.sleep(0.5)
    benvolio.get(demo.url + "/strophe")
    benvolio.sees("#contacts", "Accept")
    benvolio.click("#contacts button")
    benvolio.sees("#messages .theirs", "What, drawn, and talk of peace?")


def chat_with_a_friend(server: Server, browser: Browser, user: str) -> None:
    """The browser's Converse.js gets a message, and answers."""
    friend = server.attached("friend@example.org")
    friend.presence()
    friend.message(f"{user}@example.org", "Hello from afar")
    browser.sees("converse-root", "New messages")
    browser.until(lambda: open_chat(browser))
    browser.type("textarea.chat-textarea", "Hello yourself\n")
    assert friend.await_message() == "Hello yourself"
    friend.terminate()


def open_chat(browser: Browser) -> bool:
    """Open the chat with the friend."""
    for entry in browser.driver.find_elements("css selector", "converse-roster-contact a"):
        if "friend" in entry.text:
            entry.click()
            break
    return "Hello from afar" in browser.text(".chat-msg__text")


def befriend(server: Server, *users: str) -> None:
    """Make two users each other's contacts."""
    for user, other in (users, users[::-1]):
        server.command(
            "add_rosteritem",
            localuser=user, localhost="example.org", user=other, host="example.org", nick=other, group="", subs="both",
        )  # fmt: skip


@pytest.mark.parametrize(("client", "user"), [("/converse", "paris"), ("/converse?websocket", "laurence")])
def test_converse_comes_online_sends_and_receives(
    served: tuple[Server, int], demo: Demo, open_browser: Open, client: str, user: str
) -> None:
    server, _ = served
    befriend(server, user, "friend")
    browser = open_browser(user).log_in(demo.url, client)
    browser.sees("converse-root", "I am online")
    assert len(server.sessions(user)) == 1
    chat_with_a_friend(server, browser, user)


LATE = """
const [script, bosh, session, late, done] = arguments;
const element = document.createElement("script");
element.src = script;
element.onload = () => setTimeout(() => {
  const connection = new Strophe.Connection(bosh);
  connection.addHandler((message) => done(message.querySelector("body").textContent), null, "message");
  connection.attach(session.jid, session.sid, session.rid, () => {}, session.wait, session.hold);
}, late * 1000);
document.head.append(element);
"""


def test_a_page_that_attaches_late_finds_its_session_and_what_came(
    served: tuple[Server, int], demo: Demo, open_browser: Open
) -> None:
    server, port = served
    browser = open_browser("late")
    browser.get(demo.url)
    session = server.warm(jid="late@example.org", presence="available", attach_within=60, wait=2).json()
    assert session["attach_within"] == 60 and session["inactivity"] < 45
    friend = server.attached("friend@example.org")
    friend.message(session["jid"], "You are late")
    script = demo.url + "/lib/strophe.js/dist/strophe.umd.min.js"
    seen = browser.run(LATE, script, f"http://127.0.0.1:{port}/bosh", session, 45)
    assert seen == "You are late"
    friend.terminate()


class Example:
    """The Flask example with its page."""

    def __init__(self, server: Server, bosh: int, folder: Path) -> None:
        for name in ("page.html", "session.js"):
            (folder / name).write_bytes((ROOT / "etc/examples" / name).read_bytes())
        strophe = libraries() / "strophe.js/dist/strophe.umd.min.js"
        (folder / strophe.name).write_bytes(strophe.read_bytes())
        self.port = free_port()
        self.bosh = f"http://127.0.0.1:{bosh}/bosh"
        environ = os.environ | {
            "WARMSIDE": f"http://127.0.0.1:{server.port}",
            "WARMSIDE_PASSWORD": PASSWORD,
            "SECRET_KEY": "for a test",
            "STATIC": str(folder),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", ROOT / "etc/examples/flask_app.py", "run", "-p", str(self.port)],
            env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def log_in(self, browser: Browser, user: str, page: str) -> None:
        """Log in as a user."""

        def there() -> bool:
            browser.get("about:blank")
            browser.get(page)
            return True

        browser.until(there)
        browser.run(
            "const [user, done] = arguments;"
            "fetch('/login', {method: 'POST', body: new URLSearchParams({user})}).then(() => done())",
            user,
        )

    def open(self, browser: Browser, user: str) -> None:
        """Log in as a user, and open the page."""
        self.log_in(browser, user, f"http://127.0.0.1:{self.port}/static/page.html#user=none")
        browser.get("about:blank")
        browser.get(f"http://127.0.0.1:{self.port}/static/page.html#user={user}&bosh={self.bosh}")

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture(scope="module")
def example(served: tuple[Server, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    running = Example(*served, tmp_path_factory.mktemp("static"))
    yield running
    running.close()


def test_a_reload_of_the_page_keeps_the_session(
    served: tuple[Server, int], example: Example, open_browser: Open
) -> None:
    server, _ = served
    browser = open_browser("nurse")
    example.open(browser, "nurse")
    browser.sees("#state", "online")
    (session,) = server.sessions("nurse")
    browser.driver.refresh()
    browser.sees("#me", session)
    browser.sees("#state", "online")
    assert server.sessions("nurse") == [session]
    friend = server.attached("friend@example.org")
    friend.message(session, "after the reload")
    browser.sees("#messages", "after the reload")
    friend.terminate()


def test_logging_out_and_in_as_someone_else_does_not_bring_the_first_session_back(
    served: tuple[Server, int], example: Example, open_browser: Open
) -> None:
    server, _ = served
    browser = open_browser("shared")
    example.open(browser, "sampson")
    browser.sees("#me", "sampson@example.org")
    browser.click("#logout")
    browser.sees("#state", "logged out")
    until(lambda: not server.sessions("sampson"))
    browser.driver.refresh()
    browser.sees("#state", "log in first")
    example.open(browser, "gregory")
    browser.sees("#me", "gregory@example.org")
    assert server.sessions("sampson") == [] and len(server.sessions("gregory")) == 1
    # Without logging out, too: another user's page does not take this tab's session over.
    example.open(browser, "abram")
    browser.sees("#me", "abram@example.org")


RACE = """
const [script, bosh, how, secret, done] = arguments;
const element = document.createElement("script");
element.src = script;
element.onload = async () => {
  const connection = new Strophe.Connection(bosh);
  const started = performance.now();
  const online = () => {
    const id = connection.getUniqueId();
    connection.addHandler(() => { connection.disconnect(); done(performance.now() - started); }, null, "iq", null, id);
    connection.send($iq({type: "get", to: "example.org", id}).c("ping", {xmlns: "urn:xmpp:ping"}));
    connection.flush();
  };
  const changed = (status) => {
    if ([Strophe.Status.CONNECTED, Strophe.Status.ATTACHED].includes(status)) online();
    if (status === Strophe.Status.AUTHFAIL || status === Strophe.Status.CONNFAIL) done(null);
  };
  if (how === "connect") return connection.connect("racer@example.org", secret, changed);
  const session = await (await fetch("/chat-session", {method: "POST"})).json();
  connection.attach(session.jid, session.sid, session.rid, changed, session.wait, session.hold);
};
document.head.append(element);
"""


def test_attaching_is_faster_than_logging_in_over_a_slow_network(
    served: tuple[Server, int], example: Example, open_browser: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    server, bosh = served
    server.command("register", user="racer", host="example.org", password="county")
    browser = open_browser("racer")
    took: dict[str, list[float]] = {"connect": [], "attach": []}
    with SlowProxy(bosh, 0.1) as slow_bosh, SlowProxy(example.port, 0.1) as slow_site:
        page = f"http://127.0.0.1:{slow_site.port}/static/page.html#user=none"
        address = f"http://127.0.0.1:{slow_bosh.port}/bosh"
        example.log_in(browser, "racer", page)
        for _ in range(5):
            for how, times in took.items():
                browser.get("about:blank")
                browser.get(page)
                times.append(browser.run(RACE, "strophe.umd.min.js", address, how, "county"))
    middle = {how: sorted(times)[2] for how, times in took.items()}
    with capsys.disabled():
        print("\n100 ms round trips, from the loaded page to the first answered ping: "
              + ", ".join(f"{how} {milliseconds:.0f} ms" for how, milliseconds in middle.items()))  # fmt: skip
    assert middle["attach"] < middle["connect"]


def test_a_bare_client_is_no_browser(served: tuple[Server, int]) -> None:
    """The listener for browsers serves the same sessions as the one for warmside."""
    server, port = served
    client = BoshClient(port).attach(server.warm(jid="juliet@example.org", wait=1).json())
    assert client.ping()
    client.terminate()


def test_the_demo_answers_nobody_who_is_not_logged_in(demo: Demo) -> None:

    for method, path in (
        ("GET", "/chat-session"),
        ("POST", "/chat-session?jid=juliet@example.org"),
        ("GET", "/chat-credentials"),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", demo.port)
        connection.request(method, path)
        response = connection.getresponse()
        body: Any = response.read()
        assert response.status in (403, 404) and b"sid" not in body
        assert response.headers["Cache-Control"] == "no-store"
        connection.close()
    connection = http.client.HTTPConnection("127.0.0.1", demo.port)
    connection.request("GET", "/../server.py")
    assert connection.getresponse().status == 404
    connection.close()
