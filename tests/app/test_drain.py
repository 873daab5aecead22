"""Ending to listen beside other processes."""

import socket
import subprocess
import sys
import threading

from private_ejabberd import free_port

LISTENER = """
import sys
from twisted.internet import reactor, stdio
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from warmside.app import listening
from warmside.app.drain import stop_listening

class Greeter(Protocol):
    def connectionMade(self):
        self.transport.write(b"hello")
        self.transport.loseConnection()

class Ended(Protocol):
    def connectionLost(self, reason):
        closed = Deferred.fromCoroutine(stop_listening(reactor, port, shared=True))
        closed.addCallback(lambda _: reactor.callLater(1, reactor.stop))

async def start():
    global port
    factory = Factory.forProtocol(Greeter)
    port = await listening.listen(reactor, sys.argv[1], factory, shared=True)
    print("ready", flush=True)

reactor.callWhenRunning(lambda: Deferred.fromCoroutine(start()))
stdio.StandardIO(Ended())
reactor.run()
"""


class Listener:
    """A process that greets whoever connects, until its stdin is closed."""

    def __init__(self, port: int) -> None:
        command = [sys.executable, "-c", LISTENER, f"tcp:{port}:interface=127.0.0.1"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None and self.process.stdin is not None
        assert self.process.stdout.readline() == b"ready\n"

    def end(self) -> None:
        self.process.communicate()
        assert self.process.returncode == 0


def test_a_process_that_ends_resets_nobody_who_connects_meanwhile() -> None:
    port = free_port()
    staying = Listener(port)
    over = threading.Event()
    greeted: list[bytes] = []
    failed: list[OSError] = []

    def connect() -> None:
        while not over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
                    greeted.append(sock.recv(10))
            except OSError as error:
                failed.append(error)

    threads = [threading.Thread(target=connect) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(8):
        Listener(port).end()
    over.set()
    for thread in threads:
        thread.join()
    staying.end()
    assert failed == [] and set(greeted) == {b"hello"}
