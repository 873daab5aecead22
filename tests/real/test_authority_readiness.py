"""/ready shows the state of the authority for ordinary passwords: real programs, a real web application."""

import http.server
import json
import sys
import threading
import time
from pathlib import Path

from private_ejabberd import free_port

from tests.real.parts import Site, until
from tests.real.processes import Folder, Program

LONGEST = 2.0
"""Seconds for a reply of /ready."""
READY = {"store": "ok", "hosts": "ok", "connection_manager": "unreachable"}
"""No connection manager runs."""


def states(site: Site) -> dict[str, str]:
    """Return the states that /ready shows, within `LONGEST`."""
    started = time.monotonic()
    reply = site.request("GET", "/ready", headers={"Accept": "application/json"})
    assert time.monotonic() - started < LONGEST
    assert reply.status == 503 and reply.json().pop("status") == "not ready"
    return {part: state for part, state in json.loads(reply.body).items() if part != "status"}


def program(folder: Folder, source: str) -> Path:
    """Write a program."""
    path = folder.path / "program.py"
    path.write_text(f"#!{sys.executable}\nimport os, sys, time\n{source}")
    path.chmod(0o755)
    return path


def served(folder: Folder, more: str) -> tuple[Program, Site]:
    """Start warmside."""
    folder.write(f'[bosh]\nurl = "http://127.0.0.1:{free_port()}/bosh"\n[extauth]\n{more}')
    running, site = Program(folder), Site(folder.port)
    until(site.serves)
    return running, site


ANSWERS = """
while size := sys.stdin.buffer.read(2):
    request = sys.stdin.buffer.read(int.from_bytes(size, "big"))
    while os.path.exists(__file__ + ".hangs"):
        time.sleep(0.05)
    if os.path.exists(__file__ + ".ends"):
        sys.exit(3)
    with open(__file__ + ".log", "ab") as log:
        log.write(request + b"\\n")
    os.write(1, b"\\0\\2\\0\\0")
"""


def test_the_state_of_a_program(folder: Folder) -> None:
    path = program(folder, ANSWERS)
    running, site = served(folder, f'program = "{path}"\nprogram_copies = 1\n')
    hangs, ends = path.with_name("program.py.hangs"), path.with_name("program.py.ends")
    try:
        until(lambda: states(site) == READY | {"authority": "ok"})
        hangs.touch()
        until(lambda: states(site)["authority"] == "no-response")
        hangs.unlink()
        until(lambda: states(site)["authority"] == "ok", within=10)
        ends.touch()
        until(lambda: states(site)["authority"] == "not-running")
        ends.unlink()
        until(lambda: states(site)["authority"] == "ok")
        asked = set(path.with_name("program.py.log").read_bytes().split(b"\n")) - {b""}
        assert asked == {b"isuser:warmside-ready-check:warmside.invalid"}
        running.ask(b"isuser:juliet:example.org")
        log = path.with_name("program.py.log")
        until(lambda: states(site) and log.read_bytes().endswith(b"isuser:warmside-ready-check:example.org\n"))
    finally:
        running.end()


class Application(http.server.BaseHTTPRequestHandler):
    """Responds as the class says."""

    status, sent = 200, b'{"result": false}'
    hangs = threading.Event()
    """Set while responses are held."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        while self.hangs.is_set():
            time.sleep(0.05)
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.sent)))
        self.end_headers()
        self.wfile.write(self.sent)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_the_state_of_a_web_application(folder: Folder) -> None:
    port = free_port()
    running, site = served(folder, f'url = "http://127.0.0.1:{port}/extauth"\n')
    server: http.server.ThreadingHTTPServer | None = None
    try:
        assert states(site) == READY | {"authority": "unreachable"}
        for _ in range(4):  # then warmside sends it no request about a password for some seconds
            running.ask(b"auth:juliet:example.org:own")
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Application)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started = time.monotonic()
        until(lambda: states(site)["authority"] == "ok")
        assert time.monotonic() - started < LONGEST + 0.5, "a state is at most two seconds old"
        for Application.status, Application.sent in ((500, b""), (200, b"<html>"), (302, b'{"result": true}')):
            until(lambda: states(site)["authority"] == "invalid-response")
            Application.status, Application.sent = 200, b'{"result": false}'
            until(lambda: states(site)["authority"] == "ok")
        Application.hangs.set()
        until(lambda: states(site)["authority"] == "no-response")
        Application.hangs.clear()
        until(lambda: states(site)["authority"] == "ok", within=15)
    finally:
        Application.hangs.clear()
        if server is not None:
            server.shutdown()
            server.server_close()
        running.end()


def test_no_authority_is_ok(folder: Folder) -> None:
    running, site = served(folder, 'users = "known"\n')
    try:
        assert states(site) == READY | {"authority": "ok"}
    finally:
        running.end()
