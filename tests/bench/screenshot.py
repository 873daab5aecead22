"""Make the picture of the demo in README.md: ``python -m tests.bench.screenshot`` writes docs/demo.png."""

import tempfile
from pathlib import Path

from private_ejabberd import free_port

from tests.real.browser import Browser, Demo
from tests.real.conftest import browser_listener
from tests.real.pages import befriend
from tests.real.parts import ROOT, Server

PICTURE = ROOT / "docs/demo.png"
SIZE = (760, 580)
"""Width and height of the window, in pixels."""
TALK = (
    ("romeo", "But soft! What light through yonder window breaks?"),
    ("juliet", "How camest thou hither, tell me, and wherefore?"),
    ("romeo", "With love's light wings did I o'erperch these walls."),
)


def main() -> None:
    """Let two users chat, and take the picture of Juliet's window."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        server = Server(Path(folder), listeners=browser_listener(port)).start()
        demo = Demo(server, port)
        browsers: dict[str, Browser] = {}
        try:
            befriend(server, "juliet", "romeo")
            for name in ("juliet", "romeo"):
                browsers[name] = Browser(name, Path(folder) / name).log_in(demo.url)
                browsers[name].driver.set_window_size(*SIZE)
                browsers[name].sees("#state", "online")
            for user, other in (("juliet", "Romeo"), ("romeo", "Juliet")):
                browsers[user].sees("#contacts li.online", other)
                browsers[user].click("#contacts button")
            for user, text in TALK:
                if text in browsers["juliet"].text("#messages"):  # the demo's own greeting
                    continue
                browsers[user].type("#send input", text)
                browsers[user].click("#send button")
                for browser in browsers.values():
                    browser.sees("#messages", text)
            browsers["juliet"].driver.save_screenshot(str(PICTURE))
        finally:
            for browser in browsers.values():
                browser.close()
            demo.close()
            server.stop()


if __name__ == "__main__":
    main()
