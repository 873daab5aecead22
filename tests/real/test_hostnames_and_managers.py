"""Logins on real servers: own passwords without extauth, bans, unusual host names, managers that lose payload."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from private_ejabberd import free_port

from tests.real.boshclient import BoshClient
from tests.real.managers import ImitatedManager
from tests.real.parts import INTERNAL, TWISTD, Server, Site, exchanged, until
from tests.real.processes import Folder
from tests.real.prosody import Prosody


@contextmanager
def daemon(site: Site, toml: Path, environ: dict[str, str]) -> Iterator[None]:
    """Run ``twistd warmside`` beside a server that has no extauth program."""
    process = subprocess.Popen([TWISTD, "-n", "warmside", "--config", toml], env=environ)
    try:
        until(site.serves)
        yield
    finally:
        process.terminate()
        process.wait(10)


def test_own_passwords_work_on_an_ejabberd_that_never_asks_warmside(tmp_path: Path) -> None:
    server = Server(tmp_path, ("auth_method: [external]", "auth_method: [internal]"))
    server.start(serving=False)
    try:
        server.command("register", user="juliet", host="example.org", password="capulet")
        with daemon(server, server.toml, server.environ):
            right = server.warm(jid="juliet@example.org", password="capulet")
            assert right.status == 200, right.body
            client = BoshClient(server.bosh).attach(right.json())
            assert client.ping()
            client.terminate()
            wrong = server.warm(jid="juliet@example.org", password="montague")
            assert (wrong.status, wrong.json()["type"]) == (403, "urn:warmside:password-refused")
            assert "warmside-probe-" not in server.output(), "the host was probed"
    finally:
        server.stop()


def test_own_passwords_work_on_prosody(folder: Folder) -> None:
    prosody = Prosody(folder.path / "prosody")
    try:
        prosody.register("juliet", "capulet")
        folder.write(f'[bosh]\nurl = "http://127.0.0.1:{prosody.port}/http-bind"\n')
        site = Site(folder.port)
        with daemon(site, folder.toml, folder.environ):
            for _ in range(3):
                right = site.warm(jid="juliet@example.org", password="capulet")
                assert right.status == 200, right.body
                client = BoshClient(prosody.port, path="/http-bind").attach(right.json())
                assert client.ping()
                client.terminate()
            wrong = site.warm(jid="juliet@example.org", password="montague")
            assert (wrong.status, wrong.json()["type"]) == (403, "urn:warmside:password-refused")
    finally:
        prosody.stop()


OWNERS = ("bans the browser's address, which the field address names, and not warmside's", "from warmside's address")
"""Texts about a ban of the browser's address alone, and of warmside's."""


@pytest.mark.parametrize("trusted", [True, False])
def test_a_ban_names_the_owner_of_the_banned_address(tmp_path: Path, trusted: bool) -> None:
    owner, other = OWNERS if trusted else OWNERS[::-1]
    strict = ("  mod_fail2ban:\n    access: trusted_network\n", "  mod_fail2ban:\n    c2s_max_auth_failures: 3\n")
    proxies = ("loglevel: info\n", f"loglevel: info\ntrusted_proxies: {['127.0.0.1'] if trusted else []}\n")
    server = Server(tmp_path, INTERNAL, strict, proxies).start()
    try:
        server.command("register", user="paris", host="example.org", password="county")
        browser = {"jid": "paris@example.org", "address": "203.0.113.7"}
        assert server.warm(**browser, password="county").status == 200
        for number in range(4):
            server.warm(**browser, password=f"wrong{number}")
        replies = [server.warm(**browser, password="county") for _ in range(5)]
        assert {reply.status for reply in replies} == {503}
        # Sometimes ejabberd removes the session before it can return the reason.
        banned = [reply.json() for reply in replies if reply.json()["type"] == "urn:warmside:banned"]
        # Where it removes that of the login which finds out the owner, the reply names both.
        assert any(owner in each["detail"] for each in banned) and not any(other in each["detail"] for each in banned)
        assert not any("203.0.113.7" in each["detail"] for each in banned)
        assert (server.warm(jid="paris@example.org", password="county").status == 200) is trusted
    finally:
        server.stop()


def test_a_connection_manager_at_an_ipv6_address_is_logged_in_to(tmp_path: Path) -> None:
    port = free_port()
    listener = (
        f'  - port: {port}\n    ip: "::1"\n    module: ejabberd_http\n    request_handlers:\n      /bosh: mod_bosh\n'
    )
    server = Server(tmp_path, listeners=listener)
    plain = f'url = "http://127.0.0.1:{server.bosh}/bosh"'
    server.toml.write_text(exchanged(server.toml.read_text(), (plain, f'url = "http://[::1]:{port}/bosh"')))
    server.start()
    try:
        server.attached("juliet@example.org").terminate()
        assert server.request("GET", "/ready").status == 200
    finally:
        server.stop()


def test_hosts_with_an_underscore_or_in_punycode_are_warmed(tmp_path: Path) -> None:
    hosts = 'hosts:\n  - example.org\n  - my_host.example\n  - "xn--bcher-kva.example"\n  - "zoë.example"\n'
    server = Server(tmp_path, ("hosts:\n  - example.org\n", hosts)).start()
    try:
        for asked, served in (
            ("my_host.example", "my_host.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("zoë.example", "zoë.example"),
            ("xn--zo-ija.example", "zoë.example"),
        ):
            reply = server.warm(jid=f"juliet@{asked}", presence="available", fetch="roster", wait=1)
            assert reply.status == 200, (asked, reply.body)
            session = reply.json()
            assert session["jid"].partition("/")[0] == f"juliet@{served}"
            client = BoshClient(server.bosh, served).attach(session)
            assert client.ping()
            client.terminate()
            given = server.post("/credentials", jid=f"romeo@{asked}").json()
            assert given["jid"] == f"romeo@{served}"
            client = BoshClient(server.bosh, served)
            client.log_in("romeo", given["password"])
            client.terminate()
        assert server.command("check_account", user="romeo", host="xn--bcher-kva.example") in (0, None)
    finally:
        server.stop()


@pytest.mark.parametrize("fault", ["drops_payload", "breaks_on_early_restart"])
def test_managers_that_mishandle_early_requests_are_logged_in_to(tmp_path: Path, fault: str) -> None:
    server = Server(tmp_path, INTERNAL)
    manager = ImitatedManager(server.bosh, **{fault: True})
    plain = f'url = "http://127.0.0.1:{server.bosh}/bosh"'
    imitated = f'url = "http://127.0.0.1:{manager.port}/bosh"'
    server.toml.write_text(exchanged(server.toml.read_text(), (plain, imitated)))
    server.start()
    try:
        server.command("register", user="paris", host="example.org", password="county")
        for _ in range(30):
            server.attached("juliet@example.org").terminate()
        server.attached("paris@example.org", password="county").terminate()
        wrong = server.warm(jid="paris@example.org", password="wrong")
        assert (wrong.status, wrong.json()["type"]) == (403, "urn:warmside:password-refused")
        processes = 2
        assert manager.lost <= processes, "each process recognizes the manager at its first failure"
        assert fault == "drops_payload" or manager.lost, "the imitation loses sessions"
    finally:
        server.stop()
        manager.stop()
