"""What differs between versions of ejabberd: banned accounts, hosts in Punycode, and limits before the login.

`tests/run newer` runs it with 24.12 and 26.07. With an older version each test expects what that version does.
"""

import base64
import http.client
import json
from collections.abc import Iterator

import pytest
import websocket
from private_ejabberd import free_port, version

from tests.real.boshclient import BoshClient
from tests.real.conftest import browser_listener
from tests.real.parts import Server, until

BANS = version() >= "24.06"
"""True if ``ban_account`` disables an account; older versions only change its password in ejabberd."""
UNICODE_HOSTS = version() >= "26"
"""True if ejabberd turns a host in Punycode in its file into Unicode."""
OVERSIZED = 66_000
"""Characters of a password that does not fit into a frame of extauth."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    """Run a server with the sample; return the port of a listener for browsers, too."""
    port = free_port()
    hosts = ("hosts:\n  - example.org\n", 'hosts:\n  - example.org\n  - "xn--bcher-kva.example"\n')
    private = ("  mod_bosh: {}\n", "  mod_bosh: {}\n  mod_last: {}\n  mod_private: {}\n")
    running = Server(tmp_path_factory.mktemp("newer"), hosts, private, listeners=browser_listener(port)).start()
    yield running, port
    running.stop()


def command(server: Server, name: str, **arguments: object) -> int:
    """Run the newest version of an ejabberd command; return the HTTP status."""
    connection = http.client.HTTPConnection("127.0.0.1", server.api, timeout=30)
    try:
        connection.request("POST", f"/api/{name}", json.dumps(arguments), {"Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_banned_account_is_named_by_warm_and_credentials(served: tuple[Server, int]) -> None:
    server, _ = served
    user = {"user": "tybalt", "host": "example.org"}
    server.attached("tybalt@example.org").terminate()
    status = command(server, "ban_account", **user, reason="Spam")
    if not BANS:
        assert statuses(server, "tybalt") == [200, 200], "the ban does not stop one-time passwords"
        return
    assert status == 200
    for _ in range(3):
        reply = server.warm(jid="tybalt@example.org")
        assert (reply.status, reply.json()["type"]) == (403, "urn:warmside:account-disabled")
        assert "ban_account" in reply.json()["detail"]
    until(lambda: statuses(server, "tybalt") == [403, 403])
    assert statuses(server, "juliet") == [200, 200]
    # unban_account fails for a user without a password in ejabberd: it sets the old password first.
    assert command(server, "private_set", **user, element="<banned xmlns='jabber:ejabberd:banned'/>") == 200
    until(lambda: statuses(server, "tybalt") == [200, 200])


def statuses(server: Server, user: str) -> list[int]:
    """Return the statuses of /warm and /credentials. A process knows of a ban once a /warm of its own has failed."""
    return [server.post(path, jid=f"{user}@example.org").status for path in ("/warm", "/credentials")]


@pytest.mark.parametrize("asked", ["xn--bcher-kva.example", "bücher.example"])
def test_a_host_in_punycode_is_warmed_in_the_spelling_that_ejabberd_knows(
    served: tuple[Server, int], asked: str
) -> None:
    server, _ = served
    known = "bücher.example" if UNICODE_HOSTS else "xn--bcher-kva.example"
    reply = server.warm(jid=f"juliet@{asked}", wait=1)
    assert reply.status == 200, reply.body
    assert reply.json()["jid"].partition("/")[0] == f"juliet@{known}"
    client = BoshClient(server.bosh, known).attach(reply.json())
    assert client.ping()
    client.terminate()
    given = server.post("/credentials", jid=f"romeo@{asked}").json()
    assert given["jid"] == f"romeo@{known}"
    client.log_in("romeo", given["password"])
    client.terminate()


def plain(password: str) -> str:
    """Return an ``<auth/>`` for SASL PLAIN."""
    payload = base64.b64encode(f"\0juliet\0{password}".encode()).decode()
    return f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{payload}</auth>"


def test_the_limit_of_c2s_keeps_oversized_passwords_out_of_bosh(served: tuple[Server, int]) -> None:
    server, port = served
    programs = server.programs()
    body = (
        "<body xmlns='http://jabber.org/protocol/httpbind' rid='1' to='example.org' wait='1' hold='1' ver='1.6' "
        f"content='text/xml'>{plain('x' * OVERSIZED)}</body>"
    )
    for _ in range(30):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/bosh", body.encode(), {"Content-Type": "text/xml; charset=utf-8"})
        assert connection.getresponse().status == 403
        connection.close()
    assert server.programs() == programs and len(programs) == 2
    assert server.warm(jid="juliet@example.org").status == 200


def test_no_limit_of_ejabberd_keeps_oversized_passwords_out_of_websockets(served: tuple[Server, int]) -> None:
    """One password ends the processes of extauth: README advises against a public /ws without a proxy's limit."""
    server, port = served
    programs = set(server.programs())
    client = websocket.create_connection(f"ws://127.0.0.1:{port}/ws", subprotocols=["xmpp"], timeout=60)
    client.send("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.org' version='1.0'/>")
    while "<stream:features" not in client.recv():
        pass
    client.send(plain("x" * OVERSIZED))
    assert "<failure" in client.recv()
    client.close()
    until(lambda: len(server.programs()) == 2 and not programs & set(server.programs()))
    until(server.serves)
