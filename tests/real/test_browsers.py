"""The demo in real browsers, against a real ejabberd."""

import http.client
from pathlib import Path
from typing import Any

import pytest
from private_ejabberd import free_port

from tests.real.boshclient import BoshClient
from tests.real.browser import Browser, Demo, Open
from tests.real.conftest import browser_listener
from tests.real.pages import befriend
from tests.real.parts import Server, until


def test_two_users_meet_and_chat_with_strophe(demo: Demo, open_browser: Open) -> None:
    mercutio = open_browser("mercutio").log_in(demo.url)
    rosaline = open_browser("rosaline").slow_down().log_in(demo.url)
    for user in (mercutio, rosaline):
        user.sees("#state", "online")
    mercutio.type("#add input", "Rosaline")
    mercutio.click("#add button")
    rosaline.sees("#contacts", "Mercutio")
    rosaline.click(".accept")
    for user, other in ((mercutio, "Rosaline"), (rosaline, "Mercutio")):
        user.sees("#contacts li.online", other)
    rosaline.click("#contacts button")
    rosaline.type("#send input", "But soft! <b>What light?</b>")
    rosaline.click("#send button")
    mercutio.sees("#messages .theirs", "But soft! <b>What light?</b>")
    mercutio.type("#send input", "Ay me!")
    mercutio.click("#send button")
    rosaline.sees("#messages .theirs", "Ay me!")


def test_messages_and_contact_requests_wait_for_a_closed_window_to_open_again(
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
    until(lambda: server.offline_messages("benvolio") == 1)
    benvolio.get(demo.url + "/strophe")
    benvolio.sees("#contacts", "Accept")
    benvolio.click("#contacts button")
    benvolio.sees("#messages .theirs", "What, drawn, and talk of peace?")


def chat_with_a_friend(server: Server, browser: Browser, user: str) -> None:
    """Send a message to the browser's Converse.js, and answer it there."""
    friend = server.attached("friend@example.org")
    friend.presence()
    friend.message(f"{user}@example.org", "Hello from afar")
    browser.sees("converse-root", "New messages")
    browser.until(lambda: open_chat(browser))
    browser.type("textarea.chat-textarea", "Hello yourself\n")
    assert friend.await_message() == "Hello yourself"
    friend.terminate()


def open_chat(browser: Browser) -> bool:
    """Open the chat with the friend; return True if it shows the message."""
    for entry in browser.driver.find_elements("css selector", "converse-roster-contact a"):
        if "friend" in entry.text:
            entry.click()
            break
    return "Hello from afar" in browser.text(".chat-msg__text")


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


def test_a_page_that_attaches_late_finds_its_session_and_messages(
    demo: Demo, open_browser: Open, tmp_path: Path
) -> None:
    browser = open_browser("late")
    browser.get(demo.url + "/style.css")  # pages of the demo may connect to the demo's ejabberd alone
    port = free_port()
    inactivity = ("  mod_bosh: {}\n", "  mod_bosh:\n    max_inactivity: 2\n")
    server = Server(tmp_path, inactivity, listeners=browser_listener(port)).start()
    try:
        session = server.warm(jid="late@example.org", presence="available", attach_within=60, wait=2).json()
        assert (session["attach_within"], session["inactivity"]) == (60, 2)
        friend = server.attached("friend@example.org")
        friend.message(session["jid"], "You are late")
        friend.terminate()
        script = demo.url + "/lib/strophe.js/dist/strophe.umd.min.js"
        seen = browser.run(LATE, script, f"http://127.0.0.1:{port}/bosh", session, 5)
        assert seen == "You are late"
    finally:
        server.stop()


def test_the_listener_for_browsers_serves_the_same_sessions(served: tuple[Server, int]) -> None:
    server, port = served
    client = BoshClient(port).attach(server.warm(jid="juliet@example.org", wait=1).json())
    assert client.ping()
    client.terminate()


def test_the_demo_rejects_requests_without_a_login(demo: Demo) -> None:
    for method, path in (
        ("GET", "/chat-session"),
        ("POST", "/chat-session?jid=juliet@example.org"),
        ("GET", "/chat-credentials"),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", demo.port)
        connection.request(method, path)
        response = connection.getresponse()
        body: Any = response.read()
        assert response.status in (401, 404) and b"sid" not in body
        assert response.headers["Cache-Control"] == "no-store"
        connection.close()
    connection = http.client.HTTPConnection("127.0.0.1", demo.port)
    connection.request("GET", "/../server.py")
    assert connection.getresponse().status == 404
    connection.close()
