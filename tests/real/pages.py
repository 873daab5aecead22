"""The pages of etc/examples and of the demo in a browser: what a user does and sees in them."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.real.boshclient import CLIENT, BoshClient
from tests.real.browser import Browser
from tests.real.parts import Server

FRIEND = "friend@example.org"


class Page(NamedTuple):
    """A page with a chat.

    :param path: its path in the site.
    :param send: opens the chat with the friend and sends a text.
    """

    path: str
    send: Callable[[Browser, str], None]


def befriend(server: Server, *users: str) -> None:
    """Make two users contacts of each other."""
    for user, other in (users, users[::-1]):
        server.command(
            "add_rosteritem",
            localuser=user, localhost="example.org", user=other, host="example.org", nick=other, group="", subs="both",
        )  # fmt: skip


def write_to(server: Server, user: str, text: str) -> None:
    """Send a message from the friend to a user."""
    fields = {"from": FRIEND, "to": f"{user}@example.org", "subject": "", "body": text}
    server.command("send_message", type="chat", **fields)


def received_by_friend(server: Server, count: int) -> list[tuple[str, str]]:
    """Wait for a number of messages to the friend; return bare JID of the sender and text, as its client sees them."""
    deadline = time.monotonic() + 20
    while server.offline_messages("friend") < count and time.monotonic() < deadline:
        time.sleep(0.1)  # a missing message is named by the comparison of the test
    count = server.offline_messages("friend")
    client: BoshClient = server.attached(FRIEND)
    client.presence()
    messages: list[Any] = [
        client.await_element(lambda each: each.find(f"{CLIENT}body") is not None) for _ in range(count)
    ]
    client.terminate()
    return [(each.get("from").partition("/")[0], each.findtext(f"{CLIENT}body")) for each in messages]


def send_with_strophe(browser: Browser, text: str) -> None:
    """Send a message with ``strophe.html``."""
    browser.until(lambda: browser.find("#send input[name=to]").clear() or True)
    browser.type("#send input[name=to]", FRIEND)
    browser.type("#send input[name=text]", text)
    browser.click("#send button")
    browser.sees("#messages", text)


def send_with_converse(browser: Browser, text: str) -> None:
    """Send a message with Converse.js."""
    browser.until(lambda: open_converse_chat(browser))
    browser.type("textarea.chat-textarea", text + "\n")
    browser.sees(".chat-msg__text", text)


def open_converse_chat(browser: Browser) -> bool:
    """Open the chat with the friend in Converse.js; return True if it is open."""
    if browser.driver.find_elements("css selector", "textarea.chat-textarea"):
        return True
    for entry in browser.driver.find_elements("css selector", "converse-roster-contact a"):
        if "friend" in entry.text:
            entry.click()
            break
    return False


def comes_online(browser: Browser) -> None:
    """Wait until a page of the demo shows that the user is online."""
    browser.until(lambda: "I am online" in browser.text("body") or browser.text("#state") == "online")


def send_with_demo(browser: Browser, text: str) -> None:
    """Send a message with the demo's page for Strophe."""
    browser.sees("#contacts", "Friend")
    browser.click("#contacts button")
    browser.type("#send input", text)
    browser.click("#send button")
    browser.sees("#messages", text)


def other_tab(browser: Browser) -> None:
    """Switch to another tab; open it if there is one tab."""
    current, handles = browser.driver.current_window_handle, browser.driver.window_handles
    if len(handles) == 1:
        browser.driver.switch_to.new_window("tab")
    else:
        browser.driver.switch_to.window(next(handle for handle in handles if handle != current))


def sees_nothing_of(browser: Browser, *texts: str) -> None:
    """Check that the visible text of the page has none of the texts."""
    visible = browser.text("body")
    assert not [text for text in texts if text in visible], visible


STROPHE = Page("/static/strophe.html", send_with_strophe)
CONVERSE = Page("/static/converse.html", send_with_converse)
