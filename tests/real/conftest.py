"""Fixtures of the tests with real servers."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from private_ejabberd import free_port

from tests.real.browser import Browser, Demo, Open
from tests.real.checked import CheckedSite
from tests.real.parts import INTERNAL, LARGE_STANZAS, Server
from tests.real.processes import Folder
from tests.real.website import Application, WebServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run one ejabberd with warmside, from the sample files, for the tests of a file.

    The budgets of failed logins belong to a server: the wrong passwords of one file must not be those of another.
    """
    running = Server(tmp_path_factory.mktemp("server"), INTERNAL, LARGE_STANZAS).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def checked_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server whose files the tests of a module may change."""
    running = Server(tmp_path_factory.mktemp("checked")).start()
    yield running
    running.stop()


@pytest.fixture
def site(checked_server: Server, capsys: "pytest.CaptureFixture[str]") -> Iterator[CheckedSite]:
    """Return the files of a sound set-up; restore them behind the test."""
    checked = CheckedSite(checked_server, capsys)
    yield checked
    checked.restore()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Make a folder with a configuration."""
    return Folder(tmp_path)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    """Run a server with a listener for browsers; return that listener's port, too."""
    port = free_port()
    running = Server(tmp_path_factory.mktemp("browsers"), INTERNAL, listeners=browser_listener(port)).start()
    yield running, port
    running.stop()


def browser_listener(port: int) -> str:
    """Return ejabberd's configuration of a listener for browsers."""
    return (
        f'  - port: {port}\n    ip: "127.0.0.1"\n    module: ejabberd_http\n'
        "    request_handlers:\n      /bosh: mod_bosh\n      /ws: ejabberd_http_ws\n"
    )


@pytest.fixture(scope="session")
def demo(served: tuple[Server, int]) -> Iterator[Demo]:
    """Run the demo."""
    running = Demo(*served)
    yield running
    running.close()


@pytest.fixture
def open_browser(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Return a function that opens a browser; save screenshots if the test fails."""
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


@pytest.fixture(scope="session")
def application(served: tuple[Server, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """Run the Flask example with the pages."""
    running = Application(served[0], tmp_path_factory.mktemp("static"))
    yield running
    running.close()


@pytest.fixture(scope="session")
def website(
    served: tuple[Server, int], application: Application, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebServer]:
    """Run nginx before the application and ejabberd."""
    running = WebServer("nginx", application.port, served[1], tmp_path_factory.mktemp("nginx"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def shared_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Open one browser for all tests of the pages."""
    browser = Browser("shared", tmp_path_factory.mktemp("profile"))
    browser.get("about:blank")
    yield browser
    browser.close()


@pytest.fixture
def browser(shared_browser: Browser, request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Return the browser with one tab; save a screenshot if the test fails."""
    failed_before = request.session.testsfailed
    yield shared_browser
    if request.session.testsfailed > failed_before:
        shared_browser.screenshot(request.node.name)
    first, *others = shared_browser.driver.window_handles
    for handle in others:
        shared_browser.driver.switch_to.window(handle)
        shared_browser.driver.close()
    shared_browser.driver.switch_to.window(first)
    shared_browser.get("about:blank")
