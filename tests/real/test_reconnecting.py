"""Clients after a restart of ejabberd and after a lost connection: each logs in with a new one-time password."""

import http.client
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from private_ejabberd import free_port

from tests.certificates import certificate
from tests.real.browser import Browser
from tests.real.conftest import browser_listener
from tests.real.nativeclients import PROGRAMS, NativeClient, installed
from tests.real.pages import CONVERSE, FRIEND, STROPHE, befriend, other_tab, received_by_friend
from tests.real.parts import Reply, Server, until
from tests.real.proxy import SlowProxy
from tests.real.website import Application, WebServer, log_in

USERS = (*PROGRAMS, "eve")
"""The names of the native clients, and the user of both pages."""
COUNTS = [1, 1, 1, 2]
"""Sessions of each user."""


class Chats(NamedTuple):
    """Running parts, and the clients that are online."""

    server: Server
    site: WebServer
    browser: Browser
    clients: list[NativeClient]
    networks: list[SlowProxy]
    cookies: dict[str, str]

    def sessions(self) -> dict[str, list[str]]:
        """Return the full JIDs of each user, sorted."""
        return {user: sorted(self.server.sessions(user)) for user in USERS}

    def pages_see(self, state: str) -> None:
        """Wait until both pages show a state; half as long as a request may be held."""
        for _ in range(2):
            until(lambda: self.browser.text("#state").startswith(state), within=30)
            other_tab(self.browser)

    def printed(self) -> dict[str, int]:
        """Return the number of lines of each client."""
        return {client.name: len(client.lines()) for client in self.clients}

    def clients_print(self, *starts: str, after: dict[str, int]) -> dict[str, str]:
        """Wait until each client has printed a line with one of these beginnings; return the lines."""
        return {client.name: client.await_line(*starts, after=after[client.name]) for client in self.clients}

    def all_chat(self, text: str) -> None:
        """Send a message to each native client, and one from each page; see that they arrive."""
        after = self.printed()
        for client in self.clients:
            (jid,) = self.server.sessions(client.name)
            fields = {"from": FRIEND, "to": jid, "subject": "", "body": text}
            self.server.command("send_message", type="chat", **fields)
        self.clients_print(f"{FRIEND}: {text}", after=after)
        for page in (CONVERSE, STROPHE):
            page.send(self.browser, text)
            other_tab(self.browser)
        assert received_by_friend(self.server, 2) == [("eve@example.org", text)] * 2


def post(site: WebServer, path: str, form: str = "", **headers: str) -> Reply:
    """Send a form to the application."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    connection.request("POST", path, form, {"Content-Type": "application/x-www-form-urlencoded"} | headers)
    response = connection.getresponse()
    reply = Reply(response.status, response.headers, response.read())
    connection.close()
    return reply


def cookie_of(site: WebServer, user: str) -> str:
    """Sign a user up at the application, and return the cookie of the login."""
    reply = post(site, "/signup", f"user={user}")
    assert reply.status == 200, reply.body
    return str(reply.headers["Set-Cookie"]).partition(";")[0]


def served(folder: Path, stack: ExitStack) -> tuple[Server, int, int, Path]:
    """Run ejabberd with stream management; return it, the ports for browsers and for c2s, and the certificate."""
    browsers, c2s = free_port(), free_port()
    trusted, both = certificate(folder, "example.org")
    listener = (
        f'  - port: {c2s}\n    ip: "127.0.0.1"\n    module: ejabberd_c2s\n'
        "    starttls_required: true\n    max_stanza_size: 65000\n"
    )
    server = Server(
        folder,
        ("loglevel: info\n", f'loglevel: info\ncertfiles:\n  - "{both}"\n'),
        ("  mod_bosh: {}\n", "  mod_bosh: {}\n  mod_stream_mgmt: {}\n"),
        listeners=browser_listener(browsers) + listener,
    ).start()
    stack.callback(server.stop)
    return server, browsers, c2s, trusted


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chats]:
    """Run all parts, and wait until all clients are online."""
    with ExitStack() as stack:
        server, browsers, c2s, trusted = served(tmp_path_factory.mktemp("server"), stack)
        application = Application(server, tmp_path_factory.mktemp("static"))
        stack.callback(application.close)
        site = WebServer("nginx", application.port, browsers, tmp_path_factory.mktemp("nginx"))
        stack.callback(site.stop)
        networks = [stack.enter_context(SlowProxy(port, 0)) for port in (browsers, c2s)]
        cookies = {name: cookie_of(site, name) for name in PROGRAMS}
        folder = installed(tmp_path_factory.mktemp("clients"))
        clients = []
        for name in PROGRAMS:
            client = NativeClient(
                name, folder,
                CREDENTIALS_URL=f"{site.url}/chat-credentials",
                COOKIE=cookies[name],
                SERVICE=f"ws://127.0.0.1:{networks[0].port}/ws",
                SERVER=f"127.0.0.1:{networks[1].port}",
                SSL_CERT_FILE=str(trusted),
            )  # fmt: skip
            stack.callback(client.close)
            clients.append(client)
        befriend(server, "eve", "friend")
        server.attached(FRIEND).terminate()
        browser = Browser("eve", tmp_path_factory.mktemp("profile"))
        stack.callback(browser.close)
        log_in(browser, site.url, "eve")
        for page in (CONVERSE, STROPHE):
            browser.get(site.url + page.path)
            browser.sees("#state", "online")
            other_tab(browser)
        running = Chats(server, site, browser, clients, networks, cookies)
        running.clients_print("online", after=dict.fromkeys(PROGRAMS, 0))
        yield running


def test_every_client_replaces_its_session_after_a_restart_of_ejabberd(chats: Chats) -> None:
    before, after = chats.sessions(), chats.printed()
    assert [len(jids) for jids in before.values()] == COUNTS
    chats.server.stop()
    chats.clients_print("offline", after=after)
    chats.pages_see("offline")
    chats.server.start()
    chats.clients_print("online", after=after)
    chats.pages_see("online")
    now = chats.sessions()
    assert [len(jids) for jids in now.values()] == COUNTS
    assert not [name for name in PROGRAMS if now[name] == before[name]]
    chats.all_chat("after the restart")


def test_every_client_resumes_its_session_after_a_lost_connection(chats: Chats) -> None:
    before, after = chats.sessions(), chats.printed()
    chats.site.stop()
    for network in chats.networks:
        network.cut()
    chats.clients_print("offline", after=after)
    chats.pages_see("offline")
    chats.site.start()
    chats.clients_print("resumed", after=after)
    chats.pages_see("online")
    assert chats.sessions() == before
    chats.all_chat("after the loss")


def test_no_client_comes_back_after_the_log_out(chats: Chats) -> None:
    after = chats.printed()
    for cookie in chats.cookies.values():
        assert post(chats.site, "/logout", Cookie=cookie).status == 200
    chats.clients_print("error logged out", after=after)
    for client in chats.clients:
        assert not [line for line in client.lines()[after[client.name] :] if line.startswith(("online", "resumed"))]
        assert chats.server.sessions(client.name) == []
