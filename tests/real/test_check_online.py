"""Faults that ``warmside check`` finds by connecting: each is named, its cure followed to the letter, and gone."""

import json
import re
import socket
import sqlite3
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from xml.etree.ElementTree import ParseError

import pytest
from private_ejabberd import free_port

from tests.certificates import certificate
from tests.doctor import cures
from tests.real.boshclient import BoshClient, Refused, Terminated
from tests.real.checked import OLD
from tests.real.parts import PYTHON, Server, exchanged, listeners_of_all_kinds, run, until
from tests.real.processes import Folder, Program
from tests.real.test_causes import OtherServer

HOSTS = ("  - example.org\n", "  - example.org\n  - example.net\n")


class Online:
    """A running server whose files a test breaks, and ``warmside check`` on them."""

    def __init__(self, server: Server, tls: int, xmpp: int) -> None:
        self.server, self.tls, self.xmpp = server, tls, xmpp
        self.yml = server.folder / "ejabberd" / "ejabberd.yml"
        self.kept = {path: path.read_text() for path in (self.yml, server.toml)}
        self.restarted = False

    def restore(self) -> None:
        """Write the files again as they were, and restart ejabberd if it was restarted with others."""
        for path, text in self.kept.items():
            path.write_text(text)
        if self.restarted or not self.server.ejabberd.running():
            self.restart()
        self.restarted = False

    def change(self, path: Path, *pairs: tuple[str, str]) -> None:
        """Replace texts in a file; see `exchanged`."""
        path.write_text(exchanged(path.read_text(), *pairs))

    def set_url(self, url: str) -> None:
        """Set ``bosh.url``."""
        self.change(self.server.toml, (f'"http://127.0.0.1:{self.server.bosh}/bosh"', f'"{url}"'))

    def restart(self, *, serving: bool = True) -> None:
        """Restart ejabberd with its files as they are."""
        self.server.stop()
        self.server.ejabberd._configuration = self.yml.read_text()
        self.server.start(serving=serving)
        self.restarted = True

    def run_with(self, *pairs: tuple[str, str], serving: bool = True) -> None:
        """Restart ejabberd with changes that its file does not have any more."""
        self.change(self.yml, *pairs)
        self.restart(serving=serving)
        self.yml.write_text(self.kept[self.yml])

    def report(self, *arguments: str) -> dict[str, Any]:
        """Return the report of ``warmside check --json``."""
        files = ("--config", self.server.toml, "--ejabberd", self.yml)
        ended = run(PYTHON, "-I", "-m", "warmside", "check", "--json", *files, *arguments, env=self.server.environ)
        report: dict[str, Any] = json.loads(ended.stdout)
        assert ended.returncode == (0 if report["ok"] else 1), ended.stderr
        report["findings"] = [each for each in report["findings"] if each["name"] != OLD]
        return report

    def cured(self, *expected: tuple[str, str | None], restarts: bool = True) -> list[str]:
        """Find exactly these faults, follow their cures, and see them gone. Return what they say."""
        found = self.report()["findings"]
        assert [(each["name"], each["host"]) for each in found] == list(expected), found
        for cure in dict.fromkeys(each["cure"] for each in found):
            cures.apply(cure, self.restart if restarts else None)
        report = self.report()
        assert report["findings"] == [] and report["unseen"] == []
        return [each["says"] for each in found]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Online]:
    """Run one server with listeners of all kinds and two hosts."""
    folder = tmp_path_factory.mktemp("online")
    _, both = certificate(folder)
    tls, xmpp = free_port(), free_port()
    listeners, certfiles = listeners_of_all_kinds(tls, xmpp, both)
    server = Server(folder, certfiles, HOSTS, listeners=listeners).start()
    yield Online(server, tls, xmpp)
    server.stop()


@pytest.fixture
def online(running: Online) -> Iterator[Online]:
    """The running server; its files are restored after the test."""
    yield running
    running.restore()


def test_sound_and_a_session_for_a_jid(online: Online) -> None:
    with sqlite3.connect(online.server.store) as store:  # a back-off, as after a probe that failed
        store.execute(
            "INSERT OR REPLACE INTO verdicts VALUES ('example.org', 'refused', 0, ?, 3, '{}', '', 0)",
            (time.time() + 300,),
        )
    store.close()
    report = online.report("juliet@example.org/balcony")
    assert report["findings"] == [] and report["unseen"] == []
    assert online.server.connected() == 0 and online.server.warm(jid="romeo@example.org").status == 200
    files = ("--config", online.server.toml, "--ejabberd", online.yml)
    shown = run(PYTHON, "-I", "-m", "warmside", "check", *files, "juliet@example.org/balcony")
    assert shown.returncode == 0 and shown.stderr == "" and "\x1b" not in shown.stdout
    assert "warm session of juliet@example.org/balcony: " in shown.stdout
    steps = re.findall(r"^  (.+): [0-9.]+ ms$", shown.stdout, re.MULTILINE)
    # One response may complete several steps; the first of them has the time then.
    assert "session creation" in steps and steps[-2:] == ["handover preparation", "end of the session"]
    assert {"authentication", "stream restart", "resource binding"}.intersection(steps)
    assert "warmside-otp-" not in shown.stdout


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("auth-cache", "auth_use_cache: false", "auth_use_cache: true"),
        ("anonymous", "auth_method: [external]", "auth_method: [external, anonymous]\nanonymous_protocol: login_anon"),
    ],
)
def test_logins_show_what_the_file_does_not(online: Online, name: str, old: str, new: str) -> None:
    online.run_with((old, new))
    says = online.cured((name, "example.net"), (name, "example.org"))
    assert says[0].startswith("ejabberd accepts ")  # the text of the replies


def test_one_host_is_not_asked_about_and_another_is_not_served(online: Online) -> None:
    internal = "host_config:\n  example.net:\n    auth_method: [internal]\nlisten:\n"
    online.run_with(("listen:\n", internal))
    online.change(online.yml, ("  - example.net\n", "  - example.net\n  - new.example\n"))
    online.cured(("unknown-host", "new.example"), ("not-asked", "example.net"))


def test_plain_is_off(online: Online) -> None:
    online.change(online.yml, ("[X-OAUTH2]", "[X-OAUTH2, PLAIN]"))
    online.restart()
    online.cured(("plain-off", "example.net"), ("plain-off", "example.org"))


def test_a_ban(online: Online) -> None:
    online.run_with(("  mod_fail2ban:\n    access: trusted_network\n", "  mod_fail2ban: {}\n"))

    def banned() -> bool:
        try:
            BoshClient(online.server.bosh).log_in("nobody", "wrong")
        except Refused:
            return False
        except (Terminated, ParseError):  # ejabberd 23.01 declares a namespace twice in this answer
            return True
        raise AssertionError("a wrong password was accepted")

    until(banned)
    online.cured(("banned", None))


def test_a_dead_bosh_and_no_warmside(online: Online) -> None:
    program = next(line for line in online.kept[online.yml].splitlines() if line.startswith("extauth_program"))
    online.run_with((program, 'extauth_program: "/bin/false"'), serving=False)
    until(lambda: "given up BOSH" in str(online.report()["findings"]))
    found = {each["name"]: each for each in online.report()["findings"]}
    assert {"bosh-unreachable", "not-running"} <= set(found)
    for cure in (found["bosh-unreachable"]["cure"],):
        cures.apply(cure, online.restart)
    assert online.report()["findings"] == []


def test_nothing_runs(online: Online) -> None:
    online.server.stop()
    found = {each["name"]: each for each in online.report()["findings"]}
    assert {"bosh-unreachable", "not-running"} <= set(found)
    cures.apply(found["not-running"]["cure"], online.restart)
    assert online.report()["findings"] == []


@pytest.mark.parametrize(
    ("url", "name", "says", "gone"),
    [
        ("http://127.0.0.1:{free}/bosh", "bosh-unreachable", "refused", True),
        ("http://127.0.0.1:{deaf}/bosh", "bosh-unreachable", "no response within 3 s", False),
        ("http://127.0.0.1:{tls}/bosh", "bosh-not-bosh", "speaks TLS", True),
        ("https://127.0.0.1:{bosh}/bosh", "bosh-not-bosh", "does not speak TLS", False),
        ("http://127.0.0.1:{xmpp}/bosh", "bosh-not-bosh", "XMPP over TCP", False),
        ("http://127.0.0.1:{own}/bosh", "bosh-not-bosh", "warmside itself", False),
        ("http://127.0.0.1:{web}/200", "bosh-not-bosh", "HTTP 200", False),
        ("https://localhost:{tls}/bosh", "bosh-certificate", "certificate verification failed", True),
    ],
)
def test_what_answers_at_bosh_url(online: Online, url: str, name: str, says: str, gone: bool) -> None:
    deaf = socket.create_server(("127.0.0.1", 0))
    web = ThreadingHTTPServer(("127.0.0.1", 0), OtherServer)
    Thread(target=web.serve_forever, daemon=True).start()
    ports = {"bosh": online.server.bosh, "own": online.server.port, "tls": online.tls, "xmpp": online.xmpp}
    online.set_url(url.format(**ports, free=free_port(), deaf=deaf.getsockname()[1], web=web.server_port))
    since = time.monotonic()
    try:
        found = [each for each in online.report()["findings"] if each["name"] != "no-handler"]
        assert time.monotonic() - since < 15
        assert [each["name"] for each in found] == [name] and says in found[0]["says"], found
        cures.apply(found[0]["cure"])
        url_line = f'url = "http://127.0.0.1:{online.server.bosh}/bosh"'
        assert [line for line in online.server.toml.read_text().splitlines() if line.startswith("url")] == [url_line]
        if gone:
            assert online.report()["findings"] == []
    finally:
        deaf.close()
        web.shutdown()
        web.server_close()


def test_another_ejabberd(online: Online, tmp_path: Path) -> None:
    other = Server(tmp_path)
    other.start()
    try:
        online.set_url(f"http://127.0.0.1:{other.bosh}/bosh")
        assert "has no listener" in online.cured(("bosh-elsewhere", None), restarts=False)[0]
        # The file has a listener there, and the process of another ejabberd answers.
        online.restore()
        online.set_url(f"http://127.0.0.1:{other.bosh}/bosh")
        listener = f'listen:\n  - port: {other.bosh}\n    ip: "127.0.0.1"\n    module: ejabberd_http\n'
        online.change(online.yml, ("listen:\n", f"{listener}    request_handlers:\n      /bosh: mod_bosh\n"))
        assert "not the ejabberd of" in online.cured(("bosh-elsewhere", None), restarts=False)[0]
    finally:
        other.stop()


def test_two_configurations_and_a_foreign_program(online: Online, tmp_path: Path) -> None:
    second = Folder(tmp_path)
    second.listen_at(f"tcp:{online.server.port}:interface=127.0.0.1")
    program = Program(second)
    try:
        until(lambda: "another configuration" in program.log())
        says = online.cured(("mixed-configurations", None), restarts=False)[0]
        assert f"process {program.process.pid} runs with another configuration, {second.toml}, on tcp:" in says
    finally:
        program.end()
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        second.toml.write_text(second.toml.read_text().replace(str(online.server.port), str(deaf.getsockname()[1])))
        online.change(online.server.toml, (f"tcp:{online.server.port}:", f"tcp:{deaf.getsockname()[1]}:"))
        assert (
            "no response within" in {each["name"]: each["says"] for each in online.report()["findings"]}["not-running"]
        )
    web = ThreadingHTTPServer(("127.0.0.1", 0), OtherServer)
    Thread(target=web.serve_forever, daemon=True).start()
    online.restore()
    online.change(online.server.toml, (f"tcp:{online.server.port}:", f"tcp:{web.server_port}:"))
    try:
        found = {each["name"]: each for each in online.report()["findings"]}
        cures.apply(found["foreign-listener"]["cure"])
        names = [each["name"] for each in online.report()["findings"]]
        assert names == ["not-running"]  # at the new port, until warmside is restarted
    finally:
        web.shutdown()
        web.server_close()


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('program = "/bin/false"', "it ended with status 1"),
        ('url = "http://127.0.0.1:{free}/check"', "connection was refused"),
        ('url = "http://127.0.0.1:{web}/401"', "status 401"),
    ],
)
def test_authority(online: Online, lines: str, says: str) -> None:
    web = ThreadingHTTPServer(("127.0.0.1", 0), OtherServer)
    Thread(target=web.serve_forever, daemon=True).start()
    text = lines.format(free=free_port(), web=web.server_port)
    online.change(online.server.toml, ("[extauth]\n", f"[extauth]\n{text}\n"))
    try:
        assert says in online.cured(("authority", None), restarts=False)[0]
    finally:
        web.shutdown()
        web.server_close()
