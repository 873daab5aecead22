"""Set-ups that are wrong, and what warmside does about them: each test has an ejabberd of its own."""

import os
import signal
import subprocess
import time
from pathlib import Path

from tests.real.boshclient import BoshClient
from tests.real.parts import TWISTD, Server, until

FOUR_HOSTS = "hosts:\n  - example.org\n  - one.example\n  - two.example\n  - three.example\n"


def test_a_host_with_the_authentication_cache_on_gets_nothing(tmp_path: Path) -> None:
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


def test_a_broken_configuration_takes_nothing_down_and_mending_the_file_is_enough(tmp_path: Path) -> None:
    server = Server(tmp_path, ("hosts:\n  - example.org\n", FOUR_HOSTS))
    right = server.toml.read_text()
    server.toml.write_text(right + "\n[polcy]\n")
    server.start(serving=False)
    try:
        server.command("register", user="nurse", host="three.example", password="angelica")
        until(lambda: "polcy = {}: unknown key: did you mean policy?" in server.output())
        copies = until(lambda: len(server.programs()) == 2 and server.programs())
        time.sleep(3)
        client = BoshClient(server.bosh, host="three.example")
        client.log_in("nurse", "angelica")
        assert client.ping()
        client.terminate()
        assert not server.serves()
        assert server.programs() == copies
        server.toml.write_text(right)
        # The copies come to life one after the other.
        until(lambda: server.output().count("the error is fixed") == 2)
        assert server.programs() == copies
        for host in ("example.org", "one.example", "two.example", "three.example"):
            reply = server.warm(jid=f"juliet@{host}")
            assert reply.status == 200, reply.body
            juliet = BoshClient(server.bosh, host=host).attach(reply.json())
            assert juliet.ping()
            juliet.terminate()
    finally:
        server.stop()


def test_an_ejabberd_that_asks_another_program_is_named_as_the_cause(tmp_path: Path) -> None:
    server = Server(tmp_path, ("auth_method: [internal, external]", "auth_method: [internal]"))
    # Nobody starts the program now, so the daemon serves beside ejabberd.
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
            assert daemon.wait(10) == -signal.SIGTERM, "twistd ends by the signal that it was sent"
    finally:
        server.stop()


def test_stopping_ejabberd_leaves_no_process_behind(tmp_path: Path) -> None:
    server = Server(tmp_path).start()
    copies = until(lambda: len(server.programs()) == 2 and server.programs())
    server.stop()
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in copies), within=10)
