"""The pages of etc/examples as they stand, behind nginx with its sample, in a browser."""

import pytest

from tests.real.browser import Browser
from tests.real.pages import (
    CONVERSE,
    STROPHE,
    Page,
    befriend,
    other_tab,
    received_by_friend,
    sees_nothing_of,
    write_to,
)
from tests.real.parts import Server, until
from tests.real.website import WebServer, log_in


@pytest.fixture
def site(website: WebServer) -> WebServer:
    """Return nginx before the application and ejabberd."""
    return website


def open_page(browser: Browser, site: WebServer, page: Page) -> None:
    """Open a page in this tab and wait until its user is online."""
    browser.get(site.url + page.path)
    browser.sees("#state", "online")


PAGES = pytest.mark.parametrize("page", [STROPHE, CONVERSE], ids=["strophe", "converse"])


@PAGES
def test_after_a_log_out_the_next_user_is_alone_in_all_tabs(
    served: tuple[Server, int], site: WebServer, browser: Browser, page: Page
) -> None:
    server, _ = served
    for user in ("ann", "bob"):
        befriend(server, user, "friend")
    server.attached("friend@example.org").terminate()
    log_in(browser, site.url, "ann")
    open_page(browser, site, page)
    page.send(browser, "written by Ann")
    other_tab(browser)
    open_page(browser, site, page)
    write_to(server, "ann", "for Ann alone")
    other_tab(browser)
    browser.sees("body", "for Ann alone")
    browser.click("#logout")
    for _ in range(2):
        browser.sees("#state", "logged out")
        sees_nothing_of(browser, "for Ann alone", "written by Ann")
        other_tab(browser)
    until(lambda: not server.sessions("ann"))
    log_in(browser, site.url, "bob")
    for text in ("Bob in one tab", "Bob in the other"):
        open_page(browser, site, page)
        page.send(browser, text)
        sees_nothing_of(browser, "for Ann alone", "written by Ann", "ann@example.org")
        other_tab(browser)
    assert server.sessions("ann") == [] and len(server.sessions("bob")) == 2
    assert received_by_friend(server, 3) == [
        ("ann@example.org", "written by Ann"),
        ("bob@example.org", "Bob in one tab"),
        ("bob@example.org", "Bob in the other"),
    ]


@PAGES
def test_without_a_log_out_too_no_page_of_the_next_user_is_the_first_users(
    served: tuple[Server, int], site: WebServer, browser: Browser, page: Page
) -> None:
    server, _ = served
    for user in ("carl", "dora"):
        befriend(server, user, "friend")
    server.attached("friend@example.org").terminate()
    log_in(browser, site.url, "carl")
    open_page(browser, site, page)
    other_tab(browser)
    open_page(browser, site, page)
    page.send(browser, "written by Carl")
    write_to(server, "carl", "for Carl alone")
    browser.sees("body", "for Carl alone")
    log_in(browser, site.url, "dora")
    open_page(browser, site, page)
    page.send(browser, "written by Dora")
    sees_nothing_of(browser, "for Carl alone", "carl@example.org")
    other_tab(browser)
    server.post("/end", jid="carl@example.org")
    browser.sees("#state", "another user is logged in")
    sees_nothing_of(browser, "for Carl alone")
    browser.driver.refresh()
    browser.sees("#state", "online")
    page.send(browser, "Dora again")
    sees_nothing_of(browser, "for Carl alone", "carl@example.org")
    assert server.sessions("carl") == []
    assert received_by_friend(server, 3) == [
        ("carl@example.org", "written by Carl"),
        ("dora@example.org", "written by Dora"),
        ("dora@example.org", "Dora again"),
    ]


def both_see(browser: Browser, state: str) -> None:
    """Wait until both tabs show a state."""
    for _ in range(2):
        browser.until(lambda: browser.text("#state").startswith(state))
        other_tab(browser)


def test_pages_get_new_sessions_after_a_time_offline(
    served: tuple[Server, int], site: WebServer, browser: Browser
) -> None:
    server, _ = served
    befriend(server, "eve", "friend")
    server.attached("friend@example.org").terminate()
    log_in(browser, site.url, "eve")
    open_page(browser, site, CONVERSE)
    CONVERSE.send(browser, "Converse before")
    other_tab(browser)
    open_page(browser, site, STROPHE)
    # The sessions end while the browser is offline, as after `inactivity` seconds.
    site.stop()
    both_see(browser, "offline")
    assert server.post("/end", jid="eve@example.org").status == 200
    site.start()
    both_see(browser, "online")
    until(lambda: len(server.sessions("eve")) == 2)
    for session in server.sessions("eve"):
        fields = {"from": "friend@example.org", "to": session, "subject": "", "body": "for this session"}
        server.command("send_message", type="chat", **fields)
    browser.sees("#messages", "for this session")
    STROPHE.send(browser, "from Strophe")
    other_tab(browser)
    CONVERSE.send(browser, "from Converse")
    browser.sees("body", "for this session")
    assert sorted(received_by_friend(server, 3)) == [
        ("eve@example.org", "Converse before"),
        ("eve@example.org", "from Converse"),
        ("eve@example.org", "from Strophe"),
    ]


LOADED = """
const loaded = performance.getEntriesByType("resource").filter((entry) => entry.responseStatus);
return [loaded.map((entry) => new URL(entry.name).origin), location.origin];
"""
"""Origins of the files that the page loaded, without those that its policy blocked."""


@PAGES
def test_a_link_does_not_change_the_addresses_and_nothing_is_fetched_from_other_hosts(
    served: tuple[Server, int], site: WebServer, browser: Browser, page: Page
) -> None:
    log_in(browser, site.url, "gil")
    elsewhere = "http://127.0.0.1:9/bosh"
    browser.get(f"{site.url}{page.path}?bosh={elsewhere}#bosh={elsewhere}&websocket={elsewhere}&user=ann")
    browser.sees("#state", "online")
    origins, own = browser.driver.execute_script(LOADED)
    assert set(origins) == {own}
    assert len(served[0].sessions("gil")) == 1


@PAGES
def test_the_policy_allows_no_inline_script(browser: Browser, site: WebServer, page: Page) -> None:
    browser.get(site.url + page.path)
    policy = browser.find("meta[http-equiv]").get_dom_attribute("content")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["script-src"] == "'self'" and "unsafe" not in rules["style-src"]
    script = "const e = document.createElement('script'); e.textContent = 'window.ran = true'; document.head.append(e);"
    browser.driver.execute_script(script)
    assert browser.driver.execute_script("return window.ran") is None
