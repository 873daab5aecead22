"""The pages of etc/examples as they stand, behind nginx with its sample, in a browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.browser import Browser
from tests.real.pages import CONVERSE, STROPHE, Page, befriend, received_by_friend, write_to
from tests.real.parts import Server, until
from tests.real.proxy import SlowProxy
from tests.real.website import Application, WebServer, log_in


@pytest.fixture(scope="module")
def application(served: tuple[Server, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """Run the Flask example with the pages."""
    running = Application(served[0], tmp_path_factory.mktemp("static"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def site(
    served: tuple[Server, int], application: Application, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebServer]:
    """Run nginx before the application and ejabberd."""
    running = WebServer("nginx", application.port, served[1], tmp_path_factory.mktemp("nginx"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Open one browser for all tests of this file."""
    browser = Browser("shared", tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def browser(shared: Browser, request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Return the browser with one tab; save a screenshot if the test fails."""
    failed_before = request.session.testsfailed
    yield shared
    if request.session.testsfailed > failed_before:
        shared.screenshot(request.node.name)
    first, *others = shared.driver.window_handles
    for handle in others:
        shared.driver.switch_to.window(handle)
        shared.driver.close()
    shared.driver.switch_to.window(first)
    shared.get("about:blank")


def open_page(browser: Browser, site: WebServer, page: Page) -> None:
    """Open a page in this tab and wait until its user is online."""
    browser.get(site.url + page.path)
    browser.sees("#state", "online")


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
