"""Private interfaces that the code depends on: a failure here names the interface that a release has changed."""

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet import tcp, unix
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from warmside.compat import ports

reactor: Any = installed_reactor


class Counting(Factory):
    """Count connections."""

    protocol = Protocol
    noisy = False
    count = 0

    def buildProtocol(self, addr: object) -> Protocol:
        self.count += 1
        return Protocol()


class Ports(TestCase):
    """Ports of Twisted. Each test method is a coroutine."""

    async def test_a_unix_socket_is_adopted(self) -> None:
        for name in ("_fromListeningDescriptor", "startListening"):
            self.assertTrue(hasattr(unix.Port, name), f"Twisted's unix.Port.{name} is gone")
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as sock:
            path = Path(folder) / "x.sock"
            sock.bind(str(path))
            sock.listen()
            sock.setblocking(False)
            path.chmod(0o600)
            factory: Any = Counting()
            port: Any = ports.adopt_unix_port(reactor, sock.fileno(), factory)
            self.assertEqual(path.stat().st_mode & 0o777, 0o600, "Twisted's unix.Port._bindPath does not keep the mode")
            await port.stopListening()
            self.assertTrue(path.exists(), "Twisted's unix.Port._bindPath does not keep the path")

    async def test_the_accept_queue_is_emptied_before_the_socket_is_closed(self) -> None:
        factory = Counting()
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        for name in ("numberAccepts", "doRead", "socket"):
            self.assertTrue(hasattr(port, name), f"Twisted's tcp.Port.{name} is gone")
        self.assertIsInstance(port, tcp.Port)
        port.numberAccepts = 1  # as after a quiet time
        clients = [socket.create_connection(_address(port)) for _ in range(9)]
        fd = port.socket.fileno()
        closed = ports.accept_and_close(port)
        self.assertEqual(factory.count, 9, "Twisted's tcp.Port.numberAccepts does not bound doRead")
        with self.assertRaises(OSError, msg="Twisted's tcp.Port.socket is not the one that listens"):
            os.fstat(fd)
        await closed
        for client in clients:
            client.close()
        await deferLater(reactor, 0.05)


def _address(port: Any) -> tuple[str, int]:
    return port.getHost().host, port.getHost().port
