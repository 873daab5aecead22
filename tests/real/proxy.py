"""A TCP proxy that delays every byte by half a round trip, and can fail as a network does."""

import socket
import threading
import time
from collections import deque
from contextlib import suppress


class SlowProxy:
    """Forward connections to a port of this machine.

    :param target: the port; a later one applies to later connections, as a name that fails over.
    :param round_trip: seconds of a round trip; a later value applies to later bytes.
    """

    def __init__(self, target: int, round_trip: float) -> None:
        self.target = target
        self.round_trip = round_trip
        self._flowing = threading.Event()
        self._flowing.set()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> "SlowProxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def cut(self) -> None:
        """End all connections of clients, as a network that fails."""
        while self._open:
            with suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def hold(self) -> None:
        """Deliver nothing until `release`: neither bytes nor the end of a connection. No connection is reset."""
        self._flowing.clear()

    def release(self) -> None:
        """Deliver again, and what was held back first."""
        self._flowing.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        time.sleep(self.round_trip)  # the TCP handshake
        self._flowing.wait()
        self._open.append(client)
        try:
            server = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            client.close()
            return
        threads = [
            threading.Thread(target=self._carry, args=pair, daemon=True)
            for pair in ((client, server), (server, client))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.close()
        server.close()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        waiting: deque[tuple[float, bytes]] = deque()
        there = threading.Condition()

        def deliver() -> None:
            while True:
                with there:
                    while not waiting:
                        there.wait()
                    due, data = waiting.popleft()
                time.sleep(max(0.0, due - time.monotonic()))
                self._flowing.wait()
                try:
                    if not data:
                        target.shutdown(socket.SHUT_WR)
                        return
                    target.sendall(data)
                except OSError:
                    return

        sender = threading.Thread(target=deliver, daemon=True)
        sender.start()
        data = b"-"
        while data:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            with there:
                waiting.append((time.monotonic() + self.round_trip / 2, data))
                there.notify()
        sender.join()
