"""The Flask example's page in a real browser: reload, logout, and the time until a user is online."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from private_ejabberd import free_port

from tests.real.browser import Browser, Open, libraries
from tests.real.parts import PASSWORD, ROOT, Server, until
from tests.real.proxy import SlowProxy


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
        """Log in as a user, in a page of the example."""

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
        """Log in as a user and open the page."""
        self.log_in(browser, user, f"http://127.0.0.1:{self.port}/static/page.html#user=none")
        browser.get("about:blank")
        browser.get(f"http://127.0.0.1:{self.port}/static/page.html#user={user}&bosh={self.bosh}")

    def close(self) -> None:
        """Stop the example."""
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture(scope="module")
def example(served: tuple[Server, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    """Run the example."""
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


def test_another_user_who_logs_in_does_not_get_the_first_users_session(
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
    # Without a logout, too, the next user's page does not attach to the session of this tab.
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
        for _ in range(3):
            for how, times in took.items():
                browser.get("about:blank")
                browser.get(page)
                times.append(browser.run(RACE, "strophe.umd.min.js", address, how, "county"))
    middle = {how: sorted(times)[1] for how, times in took.items()}
    with capsys.disabled():
        print("\n100 ms round trips, from the loaded page to the first answered ping: "
              + ", ".join(f"{how} {milliseconds:.0f} ms" for how, milliseconds in middle.items()))  # fmt: skip
    assert middle["attach"] < middle["connect"]
