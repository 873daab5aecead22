"""The pages of etc/examples after a log-out that they did not begin: they end, say so, and wait for the next login."""

import http.client
import time
from collections.abc import Iterator

import pytest

from tests.real.browser import Browser
from tests.real.pages import CONVERSE, STROPHE, befriend, other_tab, received_by_friend, sees_nothing_of
from tests.real.parts import Server
from tests.real.website import Application, WebServer, log_in

RECORD = """
window.shown = [];
const state = document.getElementById("state");
const record = () => window.shown.push([Date.now() / 1000, state.innerText]);
new MutationObserver(record).observe(state, {childList: true, characterData: true, subtree: true});
record();
window.statuses = [];
const send = window.fetch;
window.fetch = async (...request) => {
  const reply = await send(...request);
  window.statuses.push(reply.status);
  return reply;
};
"""
"""Records the visible text of the state with the time of each change, and the statuses of the application's replies."""


@pytest.fixture(scope="module")
def site(served: tuple[Server, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    """Run the Flask example with the pages, behind nginx."""
    application = Application(served[0], tmp_path_factory.mktemp("static"))
    running = WebServer("nginx", application.port, served[1], tmp_path_factory.mktemp("nginx"))
    yield running
    running.stop()
    application.close()


def log_out_elsewhere(browser: Browser, site: WebServer) -> tuple[float, float]:
    """Log out of the application with the login of the browser, from outside of it; return start and end in seconds.

    The browser keeps its cookie: the application has ended the login.
    """
    cookie = "; ".join(f"{each['name']}={each['value']}" for each in browser.driver.get_cookies())
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    started = time.time()
    connection.request("POST", "/logout", headers={"Cookie": cookie})
    assert connection.getresponse().status == 200
    connection.close()
    return started, time.time()


def shown(browser: Browser) -> list[tuple[float, str]]:
    """Return the texts of the state since `RECORD` ran, each with its time."""
    return [(float(when), text) for when, text in browser.driver.execute_script("return window.shown")]


def statuses(browser: Browser) -> list[int]:
    """Return the statuses of the application's replies since `RECORD` ran."""
    return [int(status) for status in browser.driver.execute_script("return window.statuses")]


def status_after_focus(browser: Browser) -> int:
    """Let the user come back to the tab; return the status of the request that follows."""
    before = len(statuses(browser))
    browser.driver.execute_script("dispatchEvent(new Event('focus'))")
    browser.until(lambda: len(statuses(browser)) > before)
    return statuses(browser)[-1]


def open_both(browser: Browser, site: WebServer) -> None:
    """Open Converse.js in this tab and the page with Strophe in another one; wait until both are online."""
    for page in (CONVERSE, STROPHE):
        browser.get(site.url + page.path)
        browser.sees("#state", "online")
        page.send(browser, "written by Fay")
        browser.driver.execute_script(RECORD)
        other_tab(browser)


def test_after_the_end_both_pages_are_offline_until_the_next_login(
    served: tuple[Server, int], site: WebServer, browser: Browser
) -> None:
    server, _ = served
    befriend(server, "fay", "friend")
    server.attached("friend@example.org").terminate()
    log_in(browser, site.url, "fay")
    open_both(browser, site)
    assert len(server.sessions("fay")) == 2
    started, ended = log_out_elsewhere(browser, site)
    assert server.sessions("fay") == []
    for _ in range(2):
        browser.until(lambda: browser.text("#state") == "logged out")
        first = next(when for when, text in shown(browser) if text != "online" and when > started)
        assert first < ended + 2
        sees_nothing_of(browser, "written by Fay")
        other_tab(browser)
    for _ in range(2):
        assert status_after_focus(browser) == 401
        assert browser.text("#state") == "logged out"
        assert "online" not in [text for when, text in shown(browser) if when > ended]
        other_tab(browser)
    assert server.sessions("fay") == []
    pages = browser.driver.window_handles
    browser.driver.switch_to.new_window("tab")
    log_in(browser, site.url, "fay")
    browser.driver.close()
    browser.driver.switch_to.window(pages[0])
    for page in (CONVERSE, STROPHE):
        browser.sees("#state", "online")
        page.send(browser, f"back with {page.path}")
        other_tab(browser)
    assert len(server.sessions("fay")) == 2
    assert received_by_friend(server, 4) == [
        ("fay@example.org", text)
        for text in ("written by Fay", "written by Fay", f"back with {CONVERSE.path}", f"back with {STROPHE.path}")
    ]
