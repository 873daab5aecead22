"""The demo in a browser: its first two users, its looks, its requests, and its end."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from private_ejabberd import answers, free_port

from tests.real.browser import Browser, Demo
from tests.real.pages import comes_online
from tests.real.parts import ROOT, Server, until


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Open a browser that records its requests."""
    opened = Browser("juliet", tmp_path_factory.mktemp("profile"), requests=True)
    yield opened
    opened.close()


def log_in(browser: Browser, demo: Demo, user: str, client: str = "/strophe") -> None:
    """Log in as another user, and wait until the user is online."""
    browser.driver.delete_all_cookies()
    browser.name = user
    browser.log_in(demo.url, client)
    comes_online(browser)


SEND_AND_LEAVE = "for (const button of ['#send button', '#logout']) document.querySelector(button).click()"
"""Log out before Strophe, which waits for 100 ms, has sent the message."""


def test_the_first_two_users_are_contacts_and_each_finds_a_greeting(demo: Demo, browser: Browser) -> None:
    for user, other, greeting in (
        ("juliet", "Romeo", "But soft! What light through yonder window breaks?"),
        ("romeo", "Juliet", "O Romeo, Romeo! wherefore art thou Romeo?"),
    ):
        log_in(browser, demo, user)
        browser.sees("#messages .theirs", greeting)
        browser.sees("#contacts li.chosen", other)
        browser.type("#send input", f"{user} answers")
        browser.driver.execute_script(SEND_AND_LEAVE)
        browser.find("#login")
    log_in(browser, demo, "juliet", "/converse")
    browser.sees(".chat-msg__text", "romeo answers")


SMALL = """
const contrast = (one, other) => (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
const numbers = (color) => color.match(/[0-9.]+/g).map(Number);
const luminance = (color) => {
  const [red, green, blue] = numbers(color).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const background = (element) => {
  for (let each = element; each; each = each.parentElement) {
    const color = getComputedStyle(each).backgroundColor;
    if (numbers(color)[3] !== 0) return color;
  }
  return "rgb(255, 255, 255)";
};
const shown = [...document.body.querySelectorAll("*")].filter((each) => each.checkVisibility() && !each.disabled);
const texts = shown.filter((each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
const legible = (each) => contrast(luminance(getComputedStyle(each).color), luminance(background(each))) >= 4.5;
const pale = texts.filter((each) => !legible(each));
const inside = (each) => each.getBoundingClientRect().right <= innerWidth;
const outside = shown.filter((each) => each.matches("button, input") && !inside(each));
return {
  texts: texts.length,
  pale: pale.map((each) => each.outerHTML),
  outside: outside.map((each) => each.outerHTML),
  width: document.documentElement.scrollWidth,
  dark: luminance(background(document.querySelector(".card, .chat"))) < 0.2,
};
"""
"""Return texts with a contrast below 4.5 (WCAG 2, AA), and controls beyond the right edge."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_small_screen_shows_everything_in_readable_colours(demo: Demo, browser: Browser, scheme: str) -> None:
    browser.look(390, scheme)
    for page in ("index", "strophe"):
        if page == "strophe":
            log_in(browser, demo, "rosaline")
            browser.type("#add input", "romeo")
            browser.click("#add button")
            browser.type("#send input", "Good morrow")
            browser.click("#send button")
            browser.sees("#messages .mine", "Good morrow")
        else:
            browser.get(demo.url)
        browser.driver.execute_script("document.activeElement.blur()")
        found = browser.driver.execute_script(SMALL)
        assert found.pop("texts") > 4
        assert found == {"pale": [], "outside": [], "width": 390, "dark": scheme == "dark"}, page


@pytest.mark.parametrize("client", ["/strophe", "/converse", "/converse?websocket"])
def test_nothing_is_requested_from_other_hosts(demo: Demo, browser: Browser, client: str) -> None:
    browser.get("about:blank")
    browser.requested()
    log_in(browser, demo, "mercutio", client)
    requested = [urlsplit(url) for url in browser.requested()]
    assert {url.hostname for url in requested if url.scheme in ("http", "https", "ws", "wss")} == {"127.0.0.1"}
    assert {url.path for url in requested} & {"/bosh", "/ws"}


FETCHED = "return performance.getEntriesByName(location.origin + '/chat-session').length"


def test_the_page_takes_any_text_of_its_session_and_requests_the_next_one(
    served: tuple[Server, int], demo: Demo, browser: Browser
) -> None:
    server, _ = served
    server.command(
        "add_rosteritem",
        localuser="iris", localhost="example.org", user="friend", host="example.org",
        nick="</script><script>document.title = 'broken out'</script><!--<script>", group="", subs="both",
    )  # fmt: skip
    log_in(browser, demo, "iris")
    browser.sees("#contacts", "Friend")
    assert browser.driver.execute_script(FETCHED) == 0
    (first,) = server.sessions("iris")
    assert server.post("/end", jid=first).status == 200
    browser.until(lambda: server.sessions("iris") not in ([], [first]))
    browser.until(lambda: browser.text("#state") == "online")
    assert browser.driver.execute_script(FETCHED) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_the_server_ends_on_a_signal_as_a_shells_background_job_too(number: signal.Signals) -> None:
    port = free_port()
    away = {"WARMSIDE": f"http://127.0.0.1:{free_port()}"}
    command = ["sh", "-c", 'trap "" INT; exec "$0" "$@"', sys.executable, str(ROOT / "etc/demo/server.py"), str(port)]
    with subprocess.Popen(command, env=os.environ | away, stderr=subprocess.PIPE, text=True) as process:
        try:
            until(lambda: answers(port))
            process.send_signal(number)
            _, said = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, "Traceback" in said) == (0, False), said
