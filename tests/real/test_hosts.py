"""Wrong configurations of ejabberd and warmside; each test has its own ejabberd."""

import os
import signal
import subprocess
import time
from pathlib import Path

from tests.real.boshclient import BoshClient
from tests.real.parts import INTERNAL, TWISTD, Server, until

FOUR_HOSTS = "hosts:\n  - example.org\n  - one.example\n  - two.example\n  - three.example\n"


def test_a_host_with_the_authentication_cache_is_rejected(tmp_path: Path) -> None:
    server = Server(tmp_path, ("auth_use_cache: false", "auth_use_cache: true")).start()
    try:
        reply = server.warm(jid="juliet@example.org")
        assert reply.status == 503
        assert reply.json()["type"] == "urn:warmside:unsafe-host"
        assert "auth_use_cache: false" in reply.json()["detail"]
        assert int(reply.headers["Retry-After"]) > 0
        assert server.connected() == 0
    finally:
        server.stop()


def test_a_wrong_configuration_stops_no_ordinary_login_and_service_starts_once_it_is_fixed(tmp_path: Path) -> None:
    server = Server(tmp_path, ("hosts:\n  - example.org\n", FOUR_HOSTS), INTERNAL)
    valid = server.toml.read_text()
    server.toml.write_text(valid + "\n[polcy]\n")
    server.start(serving=False)
    try:
        server.command("register", user="nurse", host="three.example", password="angelica")
        until(lambda: "polcy = {}: unknown key: did you mean policy?" in server.output())
        programs = until(lambda: len(server.programs()) == 2 and server.programs())
        time.sleep(1.5)  # ejabberd gives up after 10 restarts within a second
        client = BoshClient(server.bosh, host="three.example")
        client.log_in("nurse", "angelica")
        assert client.ping()
        client.terminate()
        assert not server.serves()
        assert server.programs() == programs
        server.toml.write_text(valid)
        # The processes start to serve one after the other.
        until(lambda: server.output().count("the error is fixed") == 2)
        assert server.programs() == programs
        for host in ("example.org", "one.example", "two.example", "three.example"):
            reply = server.warm(jid=f"juliet@{host}")
            assert reply.status == 200, reply.body
            juliet = BoshClient(server.bosh, host=host).attach(reply.json())
            assert juliet.ping()
            juliet.terminate()
    finally:
        server.stop()


def test_an_ejabberd_that_does_not_call_warmside_is_reported(tmp_path: Path) -> None:
    server = Server(tmp_path, ("auth_method: [external]", "auth_method: [internal]"))
    # ejabberd starts no extauth program, so a daemon serves beside it.
    server.start(serving=False)
    try:
        daemon = subprocess.Popen([TWISTD, "-n", "warmside", "--config", server.toml], env=server.environ)
        try:
            until(server.serves)
            reply = server.warm(jid="juliet@example.org")
            assert reply.status == 502
            assert reply.json()["type"] == "urn:warmside:otp-not-asked"
            assert "never asked warmside" in reply.json()["detail"]
        finally:
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(10) == -signal.SIGTERM, "twistd exits by the signal that it received"
    finally:
        server.stop()


def test_stopping_ejabberd_leaves_no_process(tmp_path: Path) -> None:
    server = Server(tmp_path).start()
    programs = until(lambda: len(server.programs()) == 2 and server.programs())
    server.stop()
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in programs))
