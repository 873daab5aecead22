"""Bans, https, the browser's address, and a burst of requests, on a real ejabberd."""

import threading
import time
from pathlib import Path

from private_ejabberd import free_port

from tests.certificates import certificate
from tests.real.parts import INTERNAL, Server, exchanged


def test_a_ban_is_reported_as_a_ban(tmp_path: Path) -> None:
    strict = ("  mod_fail2ban:\n    access: trusted_network\n", "  mod_fail2ban:\n    c2s_max_auth_failures: 3\n")
    server = Server(tmp_path, INTERNAL, strict).start()
    try:
        server.command("register", user="paris", host="example.org", password="county")
        assert server.warm(jid="paris@example.org", password="county").status == 200
        statuses = [server.warm(jid="paris@example.org", password="wrong").status for _ in range(4)]
        assert statuses[0] == 403
        replies = [server.warm(jid="paris@example.org", password="county") for _ in range(5)]
        assert [reply.status for reply in replies] == [503] * 5
        # Sometimes ejabberd removes the session before it can return the reason.
        banned = [reply for reply in replies if reply.json()["type"] == "urn:warmside:banned"]
        assert banned and "mod_fail2ban" in banned[0].json()["detail"] and banned[0].headers["Retry-After"]
    finally:
        server.stop()


def https_server(folder: Path, *, trusted: bool) -> Server:
    """Run a server whose warmside logs in over https.

    :param trusted: True if ``bosh.ca_file`` has the certificate.
    """
    cert, both = certificate(folder)
    port = free_port()
    listener = (
        f'  - port: {port}\n    ip: "127.0.0.1"\n    module: ejabberd_http\n    tls: true\n'
        "    request_handlers:\n      /bosh: mod_bosh\n"
    )
    server = Server(folder, ("loglevel: info\n", f'loglevel: info\ncertfiles:\n  - "{both}"\n'), listeners=listener)
    plain = f'url = "http://127.0.0.1:{server.bosh}/bosh"'
    https = f'url = "https://localhost:{port}/bosh"' + (f'\nca_file = "{cert}"' if trusted else "")
    server.toml.write_text(exchanged(server.toml.read_text(), (plain, https)))
    return server.start()


def test_https_with_a_trusted_certificate_works(tmp_path: Path) -> None:
    server = https_server(tmp_path, trusted=True)
    try:
        client = server.attached("juliet@example.org")
        assert client.ping()
        client.terminate()
    finally:
        server.stop()


def test_an_untrusted_certificate_is_rejected(tmp_path: Path) -> None:
    server = https_server(tmp_path, trusted=False)
    try:
        reply = server.warm(jid="juliet@example.org")
        assert reply.status == 503, reply.body
        assert "certificate" in reply.json()["detail"]
    finally:
        server.stop()


def test_the_browsers_address_is_passed_on(tmp_path: Path) -> None:
    proxied = ("loglevel: info\n", 'loglevel: info\ntrusted_proxies: ["127.0.0.1"]\n')
    server = Server(tmp_path, proxied).start()
    try:
        for address, logged in (("192.0.2.7", "192.0.2.7"), ("2001:DB8::7", "2001:db8::7")):
            reply = server.warm(jid="juliet@example.org", address=address)
            assert reply.status == 200
            assert f"juliet@example.org by external backend from {logged}" in server.output().replace("::ffff:", "")
    finally:
        server.stop()


def test_a_burst_of_sixty_four_requests_loses_no_connection_attempt(server: Server) -> None:
    took: list[float] = []
    statuses: list[int] = []

    def warm(number: int) -> None:
        started = time.monotonic()
        statuses.append(server.warm(jid=f"burst{number}@example.org").status)
        took.append(time.monotonic() - started)

    server.warm(jid="burst@example.org")
    threads = [threading.Thread(target=warm, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 64
    took.sort()
    # A lost SYN is sent again after 1 s, then after 3 s. Requests wait in one queue, so the last one waits longest.
    assert took[-1] < 4 * took[31] + 0.2, took[::8]
