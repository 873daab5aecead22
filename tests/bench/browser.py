"""Measure in Chromium how long three ways to come online take, and draw the chart `docs/attach.svg`.

    .venv/bin/python -m tests.bench.browser [--rounds N] [--chart FILE]

The clock runs from the loaded page to the first answered ping. A proxy delays the page's site and the connection
manager, which are two origins; the browser has no connection to the manager yet. The session is in the page or is
fetched, or the browser logs in with a password. The exit status is 1 if a way is not faster than the next one.
"""

import argparse
import http.client
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from private_ejabberd import free_port

from tests.bench.chart import Bar, bar_chart
from tests.real.browser import Browser
from tests.real.conftest import browser_listener
from tests.real.parts import INTERNAL, ROOT, Server
from tests.real.race import ROUND_TRIP, WAYS, measure
from tests.real.website import Application, WebServer

PAGES = ("/static/strophe.html", "/chat")
"""The same page as a file, and rendered with its session."""


def page_milliseconds(application: Application, path: str, cookie: str, rounds: int) -> float:
    """Return the median time of a request for a page, without the slow network."""
    took = []
    for _ in range(rounds):
        connection = http.client.HTTPConnection("127.0.0.1", application.port)
        started = time.perf_counter()
        connection.request("GET", path, headers={"Cookie": cookie})
        connection.getresponse().read()
        took.append((time.perf_counter() - started) * 1000)
        connection.close()
    return median(took)


def main() -> int:
    """Measure, print and draw; return 1 if the order of the ways is not the expected one."""
    parser = argparse.ArgumentParser(description="Measure three ways to come online in a browser.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--chart", type=Path, default=ROOT / "docs/attach.svg", metavar="FILE")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, bosh = Path(name), free_port()
        for each in ("server", "static", "nginx"):
            (folder / each).mkdir()
        server = Server(folder / "server", INTERNAL, listeners=browser_listener(bosh)).start()
        application = Application(server, folder / "static")
        website = WebServer("nginx", application.port, bosh, folder / "nginx")
        browser = Browser("racer", folder / "profile")
        try:
            took = measure(server, bosh, website, browser, parsed.rounds)
            (cookie,) = (f"{each['name']}={each['value']}" for each in browser.driver.get_cookies())
            plain, filled = (
                page_milliseconds(application, path, cookie, parsed.rounds)
                for path in ("/static/strophe.html", "/chat")
            )
        finally:
            browser.close()
            website.stop()
            application.close()
            server.stop()
    medians = {way: median(times) for way, times in took.items()}
    title = f"Time to be online at a round trip of {ROUND_TRIP * 1000:.0f} ms (Chromium, Strophe, BOSH)"
    print(f"{title}; median of {parsed.rounds}")
    for way, times in took.items():
        print(f"{WAYS[way]:27}: {medians[way]:5.0f} ms ({min(times):.0f} to {max(times):.0f})")
    print(f"The application takes {plain:.1f} ms for the page as a file, and {filled:.1f} ms with the session inside")
    bars = [Bar(WAYS[way], value, f"{value:.0f} ms", way == "login") for way, value in medians.items()]
    bar_chart(bars, title).write(parsed.chart, encoding="utf-8", xml_declaration=False)
    return 0 if medians["inline"] < medians["fetch"] < medians["login"] else 1


if __name__ == "__main__":
    sys.exit(main())
