"""The example applications of etc/examples, each in its own runtime."""

import http.client
import os
import subprocess
import sys
import urllib.parse
from pathlib import Path

from private_ejabberd import answers, free_port

from tests.real.parts import PASSWORD, ROOT, Reply, until

EXAMPLES = ROOT / "etc/examples"
NAMES = ("flask_app.py", "django_app.py", "php_app.php", "node_app.mjs")


def command(name: str, port: int) -> list[str]:
    """Return the command that starts an example."""
    file = str(EXAMPLES / name)
    match Path(name).stem:
        case "flask_app":
            return [sys.executable, "-m", "flask", "--app", file, "run", "--port", str(port)]
        case "django_app":
            return [sys.executable, file, "runserver", "--noreload", f"127.0.0.1:{port}"]
        case "php_app":
            return ["php", "-S", f"127.0.0.1:{port}", file]
    return ["node", file]


class Application:
    """A running example. Each has users of its own: their names begin with the example's."""

    def __init__(self, name: str, folder: Path, warmside: int, password: str = PASSWORD) -> None:
        self.name = name.partition("_")[0]
        self.port = free_port()
        environ = os.environ | {
            "WARMSIDE": f"http://127.0.0.1:{warmside}",
            "WARMSIDE_PASSWORD": password,
            "SECRET_KEY": "for a test",
            "PORT": str(self.port),
            "DATABASE": str(folder / f"{name}.sqlite3"),
            "ACCOUNTS": str(folder / f"{name}.json"),
            "PYTHONPATH": str(EXAMPLES),
            "STATIC": str(EXAMPLES),
        }
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command(name, self.port), env=environ, stdout=log, stderr=log)
        until(lambda: answers(self.port))
        self.cookies: dict[str, str] = {}

    def request(self, method: str, path: str, form: dict[str, str] | None = None, *, token: bool = True) -> Reply:
        """Send one request with the cookies of earlier replies, and Django's token as its pages send it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if token and "csrftoken" in self.cookies:
            headers["X-CSRFToken"] = self.cookies["csrftoken"]
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, urllib.parse.urlencode(form) if form is not None else None, headers)
        response = connection.getresponse()
        reply = Reply(response.status, response.headers, response.read())
        for value in reply.headers.get_all("Set-Cookie") or ():
            assert "samesite=lax" in value.lower() or "max-age=0" in value.lower()
            name, _, content = value.partition(";")[0].strip().partition("=")
            self.cookies[name] = content
        connection.close()
        assert reply.headers["Cache-Control"] == "no-store"
        return reply

    def sign_up(self, name: str) -> Reply:
        """Sign up in a new browser; the first request gets Django's token."""
        self.cookies.clear()
        assert self.request("GET", "/chat-user").status == 401
        return self.request("POST", "/signup", {"user": name})

    def user(self, name: str) -> str:
        """Sign up a user; return the JID."""
        reply = self.sign_up(f"{self.name} {name}")
        assert reply.status == 200, reply.body
        return str(reply.json()["jid"])

    def close(self) -> None:
        """Stop the example."""
        self.process.terminate()
        self.process.wait(10)
