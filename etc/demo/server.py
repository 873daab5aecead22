"""The demo's web application. Standard library only.

The part between the two lines below is what an application needs: it gets a session from warmside for its logged-in
user. The rest is static files and a login, which has no password because this is a demo.

    WARMSIDE=http://127.0.0.1:5281 WARMSIDE_PASSWORD=... python3 etc/demo/server.py PORT LIBRARIES
"""

import base64
import json
import os
import re
import secrets
import signal
import sys
import urllib.error
import urllib.request
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from introduce import introduce

WARMSIDE = os.environ.get("WARMSIDE", "http://127.0.0.1:5281")
LOGIN = f"webapp:{os.environ.get('WARMSIDE_PASSWORD', '')}"
HOST = os.environ.get("CHAT_HOST", "localhost")
BOSH = os.environ.get("BOSH_URL", "http://127.0.0.1:5282/bosh")
WEBSOCKET = os.environ.get("WEBSOCKET_URL", "ws://127.0.0.1:5282/ws")

# ------------------------------------------------------------------ for your own application


def post_to_warmside(path: str, **fields: object) -> tuple[int, dict[str, Any]]:
    """Send a POST request with JSON to warmside; return status and JSON.

    The status is 200, or 502 for any failure.
    """
    request = urllib.request.Request(
        WARMSIDE + path,
        data=json.dumps(fields).encode(),
        headers={
            "Authorization": "Basic " + base64.b64encode(LOGIN.encode()).decode(),
            "Content-Type": "application/json",
            "Accept": "application/json",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=15) as reply:
            return 200, json.load(reply)
    except urllib.error.HTTPError as error:
        print(f"warmside: status {error.code}: {error.read(1000).decode(errors='replace')}", file=sys.stderr)
    except OSError as error:
        print(f"warmside: request failed: {error}", file=sys.stderr)
    return 502, {"error": "the chat is not available; try again later"}


def chat_session(user: str | None, **fields: object) -> tuple[int, dict[str, Any]]:
    """Return a session for the logged-in user. The JID comes from the site's own login, never from the browser."""
    if user is None:
        return 401, {"error": "log in first"}
    return post_to_warmside("/warm", jid=f"{user}@{HOST}", **fields)


def chat_credentials(user: str | None) -> tuple[int, dict[str, Any]]:
    """Return a one-time password for a browser that logs in itself over WebSocket."""
    if user is None:
        return 401, {"error": "log in first"}
    return post_to_warmside("/credentials", jid=f"{user}@{HOST}")


def inline(page: str, name: str, value: object) -> str:
    """Put a value into the page's empty script element with this ID. Without the escape, text could end the element."""
    text = json.dumps(value).replace("<", "\\u003c")
    return page.replace(f'id="{name}"></script>', f'id="{name}">{text}</script>')


# ------------------------------------------------------------------ the rest of the demo

HERE = Path(__file__).parent
LIBRARIES = Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else HERE / "node_modules"
FOLDERS = {"/lib/": LIBRARIES, "/examples/": HERE.parent / "examples"}
PAGES = {"/": "index.html", "/strophe": "strophe.html", "/converse": "converse.html"}
POLICY = (  # Converse.js needs the hashes and inline style attributes; its pictures of other hosts are not fetched
    "default-src 'none'; script-src 'self'; style-src 'self' 'sha256-JRf3eZJIF59VkE1tlxlBPiCQXjGJ1uE88pEYh49RtTY='"
    " 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; style-src-attr 'unsafe-inline';"
    f" connect-src 'self' {BOSH} {WEBSOCKET}; font-src 'self'; img-src 'self' data: blob:; media-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {
    ".css": "text/css",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
LOGGED_IN: dict[str, str] = {}
MAX_LOGGED_IN = 10_000


class Demo(BaseHTTPRequestHandler):
    """Serve the demo's pages, its login, and the two paths that use warmside."""

    protocol_version = "HTTP/1.1"
    timeout = 30

    def user(self) -> str | None:
        """Return the name of the logged-in user, or ``None``."""
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get("demo")
        return LOGGED_IN.get(cookie.value) if cookie else None

    def do_GET(self) -> None:
        """Serve pages and files, and the session or password for Converse.js."""
        path = self.path.partition("?")[0]
        if path == "/chat-session":
            self.reply(*chat_session(self.user()))
        elif path == "/chat-credentials":
            self.reply(*chat_credentials(self.user()))
        elif path in PAGES:
            self.page(PAGES[path])
        else:
            self.file(path)

    def do_POST(self) -> None:
        """Log in or out, or return a session for Strophe or a one-time password for Converse.js."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal() or int(length) > 1000:
            self.close_connection = True
            self.reply(413, {"error": "body too long: at most 1000 bytes"})
            return
        body = self.rfile.read(int(length))
        origin = self.headers.get("Origin", "")
        if origin and origin.partition("//")[2] != self.headers.get("Host"):
            self.reply(403, {"error": "requests from pages of other sites are rejected"})
        elif self.path == "/login":
            name = re.sub(r"[^a-z0-9]", "", body.decode(errors="replace").lower())[:20]
            if not name or len(LOGGED_IN) >= MAX_LOGGED_IN:
                self.reply(400, {"error": "choose a name of letters and digits"})
            else:
                token = secrets.token_urlsafe()
                LOGGED_IN[token] = name
                self.reply(200, {"user": name}, cookie=f"demo={token}; HttpOnly; SameSite=Strict; Path=/")
        elif self.path == "/logout":
            user = self.user()
            for token in [token for token in LOGGED_IN if f"demo={token}" in self.headers.get("Cookie", "")]:
                del LOGGED_IN[token]
            if user is not None:
                post_to_warmside("/end", jid=f"{user}@{HOST}")
            self.reply(200, {}, cookie="demo=; Max-Age=0; Path=/")
        elif self.path == "/chat-session":
            self.reply(*chat_session(self.user(), presence="available", fetch="roster"))
        elif self.path == "/chat-credentials":
            self.reply(*chat_credentials(self.user()))
        else:
            self.reply(404, {"error": "not found"})

    def page(self, name: str) -> None:
        """Send a page with the user, the addresses and, for Strophe, the session: it is online a round trip earlier."""
        user = self.user()
        config = {"user": user, "host": HOST, "bosh": BOSH, "websocket": WEBSOCKET}
        page = inline((HERE / name).read_text(encoding="utf-8"), "config", config)
        if user is not None and name == "strophe.html":
            status, session = chat_session(user, presence="available", fetch="roster")
            page = inline(page, "chat-session", session) if status == 200 else page  # the page tries again
        self.send(200, TYPES[".html"], page.encode(), {"Cache-Control": "no-store", "Content-Security-Policy": POLICY})

    def file(self, path: str) -> None:
        """Send a file of the demo or of a client library."""
        prefix = next((prefix for prefix in FOLDERS if path.startswith(prefix)), "/")
        root = FOLDERS.get(prefix, HERE)
        file = (root / path.removeprefix(prefix).lstrip("/")).resolve()
        if not file.is_relative_to(root.resolve()) or not file.is_file() or file.suffix in (".py", ".html"):
            self.reply(404, {"error": "not found"})
        else:
            self.send(200, TYPES.get(file.suffix, "application/octet-stream"), file.read_bytes())

    def reply(self, status: int, members: dict[str, Any], cookie: str = "") -> None:
        """Send JSON that no cache may store."""
        headers = {"Cache-Control": "no-store"} | ({"Set-Cookie": cookie} if cookie else {})
        self.send(status, "application/json", json.dumps(members).encode(), headers)

    def send(self, status: int, content_type: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Send a complete response."""
        self.send_response(status)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log no requests."""


def stop(*_: object) -> None:
    """End the process: a signal arrived."""
    sys.exit(0)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a shell's background job starts with SIGINT ignored
        signal.signal(number, stop)
    try:
        introduce(post_to_warmside, BOSH, HOST)
    except OSError as error:
        print(f"demo: juliet and romeo are no contacts yet: {error}", file=sys.stderr)
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Demo).serve_forever()
