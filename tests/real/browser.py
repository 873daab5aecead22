"""Run headless Chromium and the demo."""

import fcntl
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from private_ejabberd import free_port
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.real.parts import PASSWORD, ROOT, Server, until

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1000,720",
)
SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", "/tmp/warmside-screenshots"))


def libraries() -> Path:
    """Return a folder with Strophe and Converse.js; the quickstart installs it with npm unless it is there."""
    install = f"import runpy; runpy.run_path({str(ROOT / 'etc/quickstart')!r})['client_libraries']()"
    with (ROOT / ".venv/demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # against another worker of the same test run
        subprocess.run([sys.executable, "-c", install], check=True, capture_output=True, timeout=300)
    return ROOT / ".venv/demo/node_modules"


class Demo:
    """The demo of ``etc/demo`` beside a test server."""

    def __init__(self, server: Server, bosh: int) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environ = os.environ | {
            "WARMSIDE": f"http://127.0.0.1:{server.port}",
            "WARMSIDE_PASSWORD": PASSWORD,
            "CHAT_HOST": "example.org",
            "BOSH_URL": f"http://127.0.0.1:{bosh}/bosh",
            "WEBSOCKET_URL": f"ws://127.0.0.1:{bosh}/ws",
        }
        command = [sys.executable, str(ROOT / "etc/demo/server.py"), str(self.port), str(libraries())]
        self.process = subprocess.Popen(command, env=environ)
        until(self.answers)

    def answers(self) -> bool:
        """Return True if the demo accepts connections."""
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def close(self) -> None:
        """Stop the demo."""
        self.process.terminate()
        self.process.wait(10)


class Browser:
    """The browser of one user.

    :param profile: a folder for its files.
    :param requests: True if it records its requests, see `requested`.
    """

    def __init__(self, name: str, profile: Path, *, requests: bool = False) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"} | ({"performance": "ALL"} if requests else {}))
        self.name = name
        self.driver: Any = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        self.driver.set_script_timeout(90)

    def get(self, url: str) -> None:
        """Open a page."""
        self.driver.get(url)

    def requested(self) -> list[str]:
        """Return the URLs of requests and WebSocket connections since the last call, without those that CSP blocked."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls: dict[str, str] = {}
        for message in messages:
            parameters = message["params"]
            if message["method"] == "Network.requestWillBeSent":
                urls[parameters["requestId"]] = parameters["request"]["url"]
            elif message["method"] == "Network.webSocketCreated":
                urls[parameters["requestId"]] = parameters["url"]
            elif parameters.get("blockedReason") == "csp":
                urls.pop(parameters["requestId"], None)
        return list(urls.values())

    def look(self, width: int, scheme: str) -> None:
        """Show the page at a width of the screen, and in the colour scheme ``light`` or ``dark``."""
        size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def slow_down(self) -> "Browser":
        """Delay every request by 300 ms."""
        conditions = {"offline": False, "latency": 300, "downloadThroughput": -1, "uploadThroughput": -1}
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)
        return self

    def log_in(self, url: str, client: str = "/strophe") -> "Browser":
        """Log in to the demo with this browser's name."""
        self.get(url)
        self.type("#name", self.name)
        self.click(f"input[value='{client}']")
        self.click("#login button[type=submit]")
        return self

    def find(self, selector: str) -> Any:
        """Wait for an element and return it."""
        return self.until(lambda: next(iter(self.driver.find_elements(By.CSS_SELECTOR, selector)), None))

    def text(self, selector: str) -> str:
        """Return the text of all matching elements."""
        return "\n".join(element.text for element in self.driver.find_elements(By.CSS_SELECTOR, selector))

    def click(self, selector: str) -> None:
        """Wait until an element can be clicked, and click it."""
        self.until(lambda: self.find(selector).click() or True)

    def type(self, selector: str, text: str) -> None:
        """Wait for a field and type into it."""
        self.until(lambda: self.find(selector).send_keys(text) or True)

    def sees(self, selector: str, text: str) -> None:
        """Wait until a matching element contains the text."""
        self.until(lambda: text in self.text(selector))

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script that calls its last argument with the result."""
        return self.driver.execute_async_script(script, *arguments)

    def until(self, condition: Callable[[], Any]) -> Any:
        """Call a function until its result is true; ignore errors of elements that the page replaces meanwhile."""

        def attempt() -> Any:
            try:
                return condition()
            except WebDriverException:
                return None

        return until(attempt, within=90)

    def screenshot(self, name: str) -> Path:
        """Save a screenshot and the console's log."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / (re.sub(r"[^A-Za-z0-9_-]+", "-", f"{name}-{self.name}") + ".png")
        self.driver.save_screenshot(str(path))
        console = "\n".join(line["message"] for line in self.driver.get_log("browser"))
        path.with_suffix(".log").write_text(console[-100_000:])
        return path

    def close(self) -> None:
        """Close the browser."""
        self.driver.quit()


Open = Callable[[str], Browser]
"""Opens the browser of the user with this name."""
