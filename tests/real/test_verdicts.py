"""Verdicts on hosts: ejabberd's configuration changes without a restart; hosts with anonymous logins; no bans."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.real.parts import ROOT, Reply, Server, basic, until
from tests.real.shortverdicts import MIN_BACK_OFF, VERDICT_TIME
from warmside.web.readiness import MAX_AGE

JULIET = "juliet@example.org"
SAFE, CACHING = "auth_use_cache: false", "auth_use_cache: true"


@contextmanager
def started(server: Server) -> Iterator[Server]:
    """Start a server whose processes have short times for verdicts."""
    environ = server.environ | {"PYTHONPATH": str(ROOT)}
    server.ejabberd.start(environ=environ)
    try:
        until(server.serves)
        yield server
    finally:
        server.stop()


def short(server_folder: Path) -> str:
    """Return the command line of an extauth program with short times."""
    return f"{sys.executable} -m tests.real.shortverdicts extauth --config {server_folder / 'warmside.toml'}"


def reconfigure(server: Server, old: str, new: str) -> None:
    """Change ejabberd's configuration, and let ejabberd read it without a restart."""
    path = config_path(server)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    server.command("reload_config")


def config_path(server: Server) -> Path:
    return next((server.folder / "ejabberd").rglob("*.yml"))


def credentials(server: Server) -> Reply:
    """Send ``POST /credentials`` for juliet."""
    headers = {"Authorization": basic(), "Accept": "application/json", "Content-Type": "application/json"}
    return server.request("POST", "/credentials", json.dumps({"jid": JULIET}).encode(), headers)


def refused_logins(server: Server) -> int:
    """Return how many logins over BOSH ejabberd has rejected."""
    return len(re.findall("Failed c2s PLAIN authentication", server.output()))


def test_a_cache_that_comes_on_without_a_restart_stops_the_host_until_it_is_off(tmp_path: Path) -> None:
    with started(Server(tmp_path, program=short(tmp_path))) as server:
        assert server.warm(jid=JULIET).status == 200
        assert json.loads(server.request("GET", "/ready").body)["hosts"] == "ok"
        programs = server.programs()
        reconfigure(server, SAFE, CACHING)
        since = time.monotonic()
        until(lambda: server.request("GET", "/ready").status == 503)
        assert time.monotonic() - since < 5 * VERDICT_TIME
        for _ in range(10):
            for reply in (server.warm(jid=JULIET), credentials(server)):
                assert reply.status == 503 and reply.json()["type"] == "urn:warmside:unsafe-host", reply.body
                assert SAFE in reply.json()["detail"] and int(reply.headers["Retry-After"]) > 0
        time.sleep(MAX_AGE)  # each process returns its last result until then
        until(lambda: server.request("GET", "/ready").json()["hosts"] == "unsafe example.org")
        assert "accepts a used password again for example.org" in server.output()
        reconfigure(server, CACHING, SAFE)
        since = time.monotonic()
        until(lambda: server.request("GET", "/ready").status == 200)
        assert time.monotonic() - since < 5 * VERDICT_TIME
        assert server.warm(jid=JULIET).status == 200
        assert server.programs() == programs, "reload_config starts no program"


@pytest.mark.parametrize("protocol", ["login_anon", "both"])
def test_a_host_with_anonymous_logins_is_rejected_and_named(tmp_path: Path, protocol: str) -> None:
    methods = f"auth_method: [external, anonymous]\nanonymous_protocol: {protocol}"
    with started(Server(tmp_path, ("auth_method: [external]", methods), program=short(tmp_path))) as server:
        for reply in (server.warm(jid=JULIET), credentials(server)):
            assert reply.status == 503 and reply.json()["type"] == "urn:warmside:unsafe-host", reply.body
            assert "anonymous" in reply.json()["detail"] and "auth_use_cache" not in reply.json()["detail"]
        until(lambda: server.request("GET", "/ready").json()["hosts"] == "unsafe example.org")
        assert "anonymous logins are on" in server.output()
        reconfigure(server, f"anonymous_protocol: {protocol}", "anonymous_protocol: sasl_anon")
        until(lambda: server.warm(jid=JULIET).status == 200)


@pytest.fixture
def unasked(tmp_path: Path) -> Iterator[Server]:
    """Run an ejabberd that starts no extauth program and bans loopback after failures, and two processes beside it."""
    yml = ("auth_method: [external]", "auth_method: [internal]"), ("access: trusted_network", "access: none")
    server = Server(tmp_path, *yml, program=short(tmp_path)).start(serving=False)
    environ = server.environ | {"PYTHONPATH": str(ROOT)}
    log = tmp_path / "warmside.log"
    with log.open("ab") as output:
        processes = [
            subprocess.Popen(short(tmp_path).split(), env=environ, stdin=subprocess.PIPE, stderr=output)
            for _ in range(2)
        ]
    try:
        until(lambda: log.read_text().count("HTTP on ") == 2)  # each start drops the verdicts
        yield server
    finally:
        for process in processes:
            process.communicate(timeout=60)
        server.stop()


def not_asked(server: Server) -> bool:
    """Return True if a warm request fails because ejabberd does not ask."""
    reply = server.warm(jid=JULIET)
    return bool(reply.json()["type"] == "urn:warmside:otp-not-asked")


def test_a_host_that_does_not_ask_gets_one_login_for_each_back_off_and_bans_nobody(unasked: Server) -> None:
    since = time.monotonic()
    while time.monotonic() - since < 3.5 * MIN_BACK_OFF:  # the second back-off is twice as long
        for _ in range(30):
            assert not_asked(unasked)
        time.sleep(0.1)
    assert refused_logins(unasked) == 3
    assert "Banned" not in unasked.output()
    unasked.command("register", user="nurse", host="example.org", password="angelica")
    assert unasked.warm(jid="nurse@example.org", password="angelica").status == 200


def test_a_back_off_ends_at_sighup_and_once_ejabberd_asks(unasked: Server) -> None:
    assert not_asked(unasked)
    os.kill(unasked.programs()[0], signal.SIGHUP)
    until(lambda: not_asked(unasked) and refused_logins(unasked) == 2)
    reconfigure(unasked, "auth_method: [internal]", "auth_method: [internal, external]")
    until(lambda: unasked.warm(jid=JULIET).status == 200, within=MIN_BACK_OFF)


def test_no_login_waits_for_the_renewal_of_the_verdict(tmp_path: Path) -> None:
    with started(Server(tmp_path, program=short(tmp_path))) as server:
        until(lambda: server.output().count("HTTP on ") == 2)
        assert server.warm(jid=JULIET).status == 200
        waits, probes = probe_waits(server), refused_logins(server) / 2
        assert waits == 1
        since = time.monotonic()
        while time.monotonic() - since < 3 * VERDICT_TIME:
            assert server.warm(jid=JULIET).status == 200
        renewals = refused_logins(server) / 2 - probes
        assert renewals >= 2
        assert probe_waits(server) - waits < renewals


def probe_waits(server: Server) -> int:
    """Return how many logins have waited for as long as a probe takes."""
    metrics = server.metrics()
    short, every = (
        float(re.findall(rf'warmside_step_seconds_bucket{{le="{limit}",step="replay probe"}} (\S+)', metrics)[0])
        for limit in ("0.01", r"\+Inf")
    )
    return int(every - short)
