"""Idle connections, on real sockets over loopback."""

import resource
import socket
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.sessions.fakemanager import run
from tests.web.interface import Interface
from warmside.app.process import allow_more_files
from warmside.web.site import BoundedSite

reactor: Any = _reactor
IDLE = 2100
REQUEST = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


class TestIdle(TestCase):
    timeout = 60

    @run
    async def test_many_idle_connections_do_not_keep_others_out(self) -> None:
        allow_more_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= IDLE + 1200, "raise the hard limit of open files"
        site = BoundedSite(Interface().root, reactor)
        port = reactor.listenTCP(0, site, backlog=IDLE, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        address = ("127.0.0.1", port.getHost().port)

        def act() -> bytes:
            idle = [socket.create_connection(address, timeout=20) for _ in range(IDLE)]
            with socket.create_connection(address, timeout=20) as new:
                new.sendall(REQUEST)
                reply = new.recv(65536)
            for client in idle:
                client.close()
            return reply

        reply = await deferToThread(act)
        assert reply.startswith(b"HTTP/1.1 200 ")
        while site.channels:
            await deferToThread(lambda: None)
