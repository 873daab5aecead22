"""The service opens, serves and closes each resource once."""

import contextlib
import json
import socket
from base64 import b64encode
from typing import Any

import treq
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.web.client import Agent, HTTPConnectionPool

from tests.app.configuration import ADMIN, PASSWORD, ServiceCase
from tests.support import logging
from warmside.app import cleanup, drain
from warmside.app.service import WarmsideService
from warmside.extauth.request import ExtauthRequest
from warmside.store.interface import HostState, HostVerdict

reactor: Any = installed_reactor


class Authority:
    """An authority that records that it was closed."""

    made: "list[Authority]" = []

    def __init__(self, reactor: Any) -> None:
        self.closed = 0
        self.made.append(self)

    def close(self) -> None:
        self.closed += 1

    def auth(self, *_: object) -> bool:
        return True

    isuser = setpass = tryregister = removeuser = removeuser3 = certauth = auth


class ServiceWithHTTP(ServiceCase):
    """Serves, and sends requests."""

    async def serving(self) -> WarmsideService:
        """A service that serves, and is closed after the test."""
        made = self.made()
        made.open()
        await made.serve()
        self.addCleanup(lambda: Deferred.fromCoroutine(made.close(0)))
        return made

    async def get(self, made: WarmsideService, path: str, name: str = "") -> Any:
        """Send a request on a connection of its own; returns the response with its body."""
        agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
        headers: dict[bytes | str, bytes | str] = {"Accept": "text/html"} if path == "/warm" else {}
        if name:
            headers["Authorization"] = "Basic " + b64encode(f"{name}:{PASSWORD}".encode()).decode()
        response: Any = await treq.get(f"http://127.0.0.1:{made.http[0].address.port}{path}", headers, agent=agent)
        response.text = await response.content()
        return response


class Services(ServiceWithHTTP):
    """Each test method is a coroutine."""

    async def test_each_resource_is_opened_once_and_closed(self) -> None:
        made = self.made()
        made.open()
        self.assertEqual(len(self.sockets), 1)
        self.assertEqual(self.databases.opened, [], "a SQLite connection must not cross a fork")
        await made.serve()
        self.assertIsNotNone(made.authority)
        self.assertEqual(json.loads((await self.get(made, "/health")).text), {"status": "ok"})
        self.assertEqual(
            self.databases.opened, ["passwords.sqlite"] * 4 + ["accepted-passwords.sqlite", "users.sqlite"]
        )
        self.assertEqual((len(self.sockets), self.databases.open()), (1, 6))
        port = made.http[0].address.port
        await made.close()
        self.assertEqual((self.databases.open(), self.sockets[0].fileno(), made.authority), (0, -1, None))
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()

    async def test_the_endpoints_are_served(self) -> None:
        made = await self.serving()
        self.assertEqual((await self.get(made, "/openapi.json")).code, 200)
        self.assertEqual((await self.get(made, "/ready")).code, 503)  # there is no connection manager
        self.assertEqual((await self.get(made, "/warm")).code, 401)
        self.assertEqual((await self.get(made, "/warm", ADMIN)).code, 200)
        metrics = (await self.get(made, "/metrics")).text
        self.assertIn(b"warmside_connections_in_use", metrics)

    async def test_reload_reads_the_admins_file_again(self) -> None:
        made = await self.serving()
        self.folder.write_admins(ADMIN, "other")
        with logging() as logged:
            made.reload()
        self.assertTrue(any("admins: read again" in line for line in logged))
        self.assertEqual((await self.get(made, "/warm", "other")).code, 200)

    async def test_verdicts_on_hosts_are_dropped_at_the_start_and_at_reload(self) -> None:
        made = await self.serving()
        self.record(made, HostState.CACHING)
        self.assertEqual(json.loads((await self.get(made, "/ready")).text)["hosts"], "unsafe example.org")
        await self.serving()
        self.assertEqual(made._stores.stores.verdicts.unsafe(), [])
        self.record(made, HostState.CACHING)
        made.reload()
        self.assertEqual(made._stores.stores.verdicts.unsafe(), [])

    async def test_an_extauth_request_ends_the_back_off_of_its_host(self) -> None:
        made = await self.serving()
        self.record(made, HostState.REFUSED)
        made.answered(None, False)
        made.answered(ExtauthRequest.parse(b"isuser:juliet:other.example"), False)
        self.assertIsNotNone(made._stores.stores.verdicts.get("example.org"))
        made.answered(ExtauthRequest.parse(b"isuser:juliet:example.org"), False)
        self.assertIsNone(made._stores.stores.verdicts.get("example.org"))

    def record(self, made: WarmsideService, state: HostState) -> None:
        """Record a verdict on example.org."""
        now = made._stores.stores.verdicts.now()
        self.assertTrue(made._stores.stores.verdicts.begin("example.org", "lease", 5))
        self.assertTrue(
            made._stores.stores.verdicts.record("example.org", "lease", HostVerdict(state, now, now + 60, 1, "{}"))
        )

    async def test_relays_are_answered_until_the_close(self) -> None:
        self.folder.write(f'[extauth]\nlisten = "unix:{self.folder.path}/x.sock"\nusers = "any"\n')
        made = self.made(shared=False)
        made.open()
        await made.serve()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(f"{self.folder.path}/x.sock")
            sock.sendall(b"\0\x19isuser:juliet:example.org")
            sock.setblocking(False)
            self.assertEqual(await self.received(sock), b"\0\2\0\1")
            await made.close()
            self.assertEqual(await self.received(sock), b"")
        self.assertFalse((self.folder.path / "x.sock").exists())

    async def received(self, sock: socket.socket) -> bytes:
        """Return the next bytes that arrive on a socket that does not block."""
        while True:
            with contextlib.suppress(BlockingIOError):
                return sock.recv(65536)
            await deferLater(reactor, 0.005)

    async def test_an_authority_of_a_plugin_is_closed_once(self) -> None:
        Authority.made.clear()
        self.folder.write(f'[extauth]\nauthority = "{__name__}.Authority"\n')
        made = self.made()
        made.open()
        await made.serve()
        await made.close()
        self.assertEqual([each.closed for each in Authority.made], [1])

    async def test_a_connection_without_a_request_is_waited_for_and_answered_at_the_close(self) -> None:
        made = await self.serving()
        with socket.create_connection(("127.0.0.1", made.http[0].address.port)) as sock:
            closing = Deferred.fromCoroutine(made.close())
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            sock.setblocking(False)
            response = await self.received(sock)
            await closing
        self.assertTrue(response.startswith(b"HTTP/1.1 200") and b"Connection: close" in response, response)

    async def test_a_kept_connection_gets_the_response_to_a_request_that_is_on_its_way(self) -> None:
        made = await self.serving()
        request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        with socket.create_connection(("127.0.0.1", made.http[0].address.port)) as sock:
            sock.setblocking(False)
            sock.sendall(request)
            await self.received(sock)
            closing = Deferred.fromCoroutine(made.close())
            await deferLater(reactor, drain.KEPT_REQUEST_TIMEOUT / 4)
            sock.sendall(request)
            response = await self.received(sock)
            await closing
        self.assertTrue(response.startswith(b"HTTP/1.1 200") and b"Connection: close" in response, response)

    async def test_a_response_that_is_not_written_yet_does_not_end_the_close(self) -> None:
        made = await self.serving()
        await self.get(made, "/health")
        made.site.channels.clear()
        channel = _Channel()
        made.site.channels[channel] = None  # type: ignore[index]
        closing = Deferred.fromCoroutine(made.close())
        await deferLater(reactor, drain.FIRST_REQUEST_TIMEOUT + 0.1)
        self.assertFalse(closing.called)
        made.site.channels.clear()
        await closing

    async def test_the_rest_is_closed_after_an_error_in_the_close(self) -> None:
        made = self.made()
        made.open()
        await made.serve()

        def fail() -> None:
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            await made.close(0, fail)
        self.assertEqual(self.databases.open(), 0)

    async def test_one_process_may_keep_passwords_in_memory(self) -> None:
        self.folder.write('[passwords]\nstore = "sqlite://:memory:"\n[extauth]\nusers = "none"\n')
        made = self.made(shared=False)
        made.open()
        await made.serve()
        self.assertEqual(self.databases.opened, ["memory"] * 5)
        await made.close(0)

    async def test_hosts_that_share_a_url_share_one_connection_manager(self) -> None:
        text = '[bosh]\nconnections = 5\n[host."example.net"]\nconnections = 3\n'
        self.folder.write(text + '[host."example.com"]\nurl = "http://127.0.0.1:1/"\n')
        made = await self.serving()
        first, second, other = (made._managers.host(f"example.{top}").manager for top in ("org", "net", "com"))
        self.assertIs(first, second)
        self.assertEqual(first.connections, 3)
        self.assertIsNot(other, first)

    async def test_expired_passwords_are_removed_and_an_error_is_logged(self) -> None:
        self.patch(cleanup, "SWEEP_INTERVAL", 0.01)
        made = await self.serving()
        await made._stores.plain.mint("juliet@example.org", -1)
        count = "SELECT count(*) FROM passwords"
        while self.databases.connections[0].execute(count).fetchone() != (0,):
            await deferLater(reactor, 0.005)
        self.databases.connections[0].close()
        with logging() as logged:
            while not any("expired-entry cleanup failed" in line for line in logged):
                await deferLater(reactor, 0.005)


class _Channel:
    """A connection whose response is being written."""

    busy = awaited = rejected = False

    def end(self) -> None:
        pass
