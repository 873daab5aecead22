"""``warmside relay``: carries ejabberd's requests to a running daemon, and the responses back.

Standard library only, and little of it: ejabberd starts several relays, and each has to start fast.
A relay runs as long as its stdin is open. While the daemon is down, requests wait for a moment and are then
rejected. A request that was pending when the connection broke is sent again if that is safe, otherwise it is
rejected. Responses are always in the order of the requests.

The daemon closes a connection that is silent from its start. A relay then connects again with the next request.
"""

import os
import select
import socket
import time
from collections import deque

from warmside.extauth.frames import ACCEPTED, REJECTED, is_repeatable, split_frames

RESPONSE_TIMEOUT = 20.0
"""Seconds for the daemon's response; ejabberd waits 30 seconds."""
RECONNECT_TIMEOUT = 5.0
"""Seconds for which requests wait while the daemon is down; after that they are rejected at once."""
CONNECT_TIMEOUT = 1.0  # seconds
MIN_RETRY_DELAY, MAX_RETRY_DELAY = 0.05, 1.0
"""Seconds between attempts to connect. Doubled with each failure."""
REMIND_INTERVAL = 60.0
"""Seconds between log messages about an outage."""
EXIT_TIMEOUT = 0.8
"""Seconds after the end of stdin for pending responses."""
MAX_PENDING = 4096
"""Pending requests; stdin is not read beyond."""
MAX_READ = 1 << 16  # bytes at a time


class Relay:
    """Carries frames between two file descriptors and a daemon's socket.

    :param stdin: file descriptor of ejabberd's requests.
    :param stdout: file descriptor for the responses.
    :param address: family and address of the daemon's socket; ``None`` to reject every request.
    :param name: start of log messages. Without an address, the whole message, which is logged once a minute.
    """

    def __init__(self, stdin: int, stdout: int, address: "tuple[int, object] | None", name: str) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._address = address
        self._name = name
        self._socket: socket.socket | None = None
        self._used = False
        """True if a request was sent on this connection."""
        self._resting = False
        """True if the next request opens the next connection, because the last one was closed without a request."""
        self._stdin_ended_at: float | None = None
        self._pending: deque[tuple[bytes | None, float]] = deque()
        """Frames of pending requests, in order, and the time of arrival. The frame is ``None`` if rejected."""
        self._partial_request = self._partial_response = b""
        self._to_daemon = self._to_ejabberd = b""
        self._down_since = time.monotonic()
        self._next_attempt = 0.0
        self._retry_delay = MIN_RETRY_DELAY
        self._logged_at: float | None = None
        self._poll = select.poll()
        self._polled: dict[int, int] = {}

    def run(self) -> None:
        """Run until stdin has ended and no response is pending, or until stdout is closed."""
        os.set_blocking(self._stdin, False)
        os.set_blocking(self._stdout, False)
        try:
            while not self._done():
                self._turn()
        except BrokenPipeError:
            pass

    def _done(self) -> bool:
        if self._stdin_ended_at is None:
            return False
        return not (self._pending or self._to_ejabberd) or time.monotonic() > self._stdin_ended_at + EXIT_TIMEOUT

    def _turn(self) -> None:
        now = time.monotonic()
        if self._address is None:
            self._log_outage(now)
        elif self._socket is None and not self._resting and now >= self._next_attempt:
            self._connect(now)
        self._reject_late(now)
        reading = self._stdin_ended_at is None and len(self._pending) < MAX_PENDING
        self._register(self._stdin, select.POLLIN if reading else 0)
        self._register(self._stdout, select.POLLOUT if self._to_ejabberd else 0)
        if self._socket is not None:
            self._register(self._socket.fileno(), select.POLLIN | (select.POLLOUT if self._to_daemon else 0))
        for fd, events in self._poll.poll(self._poll_timeout(now)):
            if fd == self._stdin:
                self._read_requests()
            elif fd == self._stdout:
                self._write_responses()
            elif self._socket is not None:
                self._exchange(events)

    def _register(self, fd: int, events: int) -> None:
        if self._polled.get(fd, 0) != events:
            self._polled[fd] = events
            if events:
                self._poll.register(fd, events)
            else:
                self._poll.unregister(fd)

    def _poll_timeout(self, now: float) -> float:
        """Return the milliseconds until a timeout or the next attempt to connect."""
        due = now + REMIND_INTERVAL
        if self._address is None and self._logged_at is not None:
            due = self._logged_at + REMIND_INTERVAL
        elif self._socket is None and not self._resting:
            due = min(due, self._next_attempt)
        if self._pending:
            due = min(due, self._deadline())
        if self._stdin_ended_at is not None:
            due = min(due, self._stdin_ended_at + EXIT_TIMEOUT)
        return max(1.0, (due - now) * 1000)

    def _read_requests(self) -> None:
        try:
            data = os.read(self._stdin, MAX_READ)
        except BlockingIOError:
            return
        now = time.monotonic()
        if not data:
            self._stdin_ended_at = now
            return
        buffer = self._partial_request + data
        frames, self._partial_request = split_frames(buffer)
        self._pending.extend([(frame, now) for frame in frames])
        if self._socket is not None:
            self._to_daemon += buffer[: len(buffer) - len(self._partial_request)]
            self._send()
        elif frames:
            if self._resting:
                self._resting = False
                self._down_since = self._next_attempt = now
            elif self._address is not None and now >= self._deadline():
                self._connect(now)  # the daemon may have started since the last attempt
            if self._socket is None:
                self._reject_late(now)

    def _exchange(self, events: int) -> None:
        assert self._socket is not None
        if events & ~select.POLLOUT:
            try:
                data = self._socket.recv(MAX_READ)
            except BlockingIOError:
                data = None
            except OSError:
                data = b""
            if data == b"":
                self._disconnect("the daemon closed the connection")
                return
            if data and not self._take_responses(data):
                self._disconnect("the daemon sent an invalid response")
                return
        if events & select.POLLOUT:
            self._send()

    def _take_responses(self, data: bytes) -> bool:
        """Pass responses on in the order of the requests. Return True if all of them are valid."""
        buffer = self._partial_response + data
        whole = len(buffer) & ~3
        for at in range(0, whole, 4):
            response = buffer[at : at + 4]
            if response not in (ACCEPTED, REJECTED) or not self._pending:
                return False
            self._respond(response)
        self._partial_response = buffer[whole:]
        self._retry_delay = MIN_RETRY_DELAY
        self._write_responses()
        return True

    def _respond(self, response: bytes) -> None:
        """Respond to the first pending request, and to rejected ones behind it."""
        self._pending.popleft()
        self._to_ejabberd += response
        while self._pending and self._pending[0][0] is None:
            self._pending.popleft()
            self._to_ejabberd += REJECTED

    def _write_responses(self) -> None:
        try:
            written = os.write(self._stdout, self._to_ejabberd)
        except BlockingIOError:
            return
        self._to_ejabberd = self._to_ejabberd[written:]

    def _send(self) -> None:
        assert self._socket is not None
        try:
            sent = self._socket.send(self._to_daemon)
        except BlockingIOError:
            return
        except OSError:
            self._disconnect("the daemon closed the connection")
            return
        self._used = True
        self._to_daemon = self._to_daemon[sent:]

    def _connect(self, now: float) -> None:
        assert self._address is not None
        family, address = self._address
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(CONNECT_TIMEOUT)
            connection.connect(address)  # type: ignore[arg-type]
            connection.setblocking(False)
        except OSError as error:
            connection.close()
            self._retry_later(now, f"no connection: {error.strerror or error}")
            return
        if family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._logged_at is not None:
            _write_log(f"{self._name}: connected")
        self._logged_at = None
        self._socket = connection
        self._used = False
        self._to_daemon = b"".join(frame for frame, _ in self._pending if frame is not None)
        if self._to_daemon:
            self._send()

    def _disconnect(self, reason: str) -> None:
        """Close the connection. Pending requests are sent again later, or rejected where that is not safe."""
        if self._socket is not None:
            self._register(self._socket.fileno(), 0)
            self._socket.close()
        self._socket = None
        self._partial_response = self._to_daemon = b""
        self._down_since = time.monotonic()
        self._pending = deque((frame if frame and is_repeatable(frame) else None, at) for frame, at in self._pending)
        if self._pending and self._pending[0][0] is None:
            self._respond(REJECTED)
        self._write_responses()
        if self._used or self._pending:
            self._retry_later(self._down_since, reason)
        else:
            self._resting = True

    def _retry_later(self, now: float, reason: str) -> None:
        self._next_attempt = now + self._retry_delay
        self._retry_delay = min(2 * self._retry_delay, MAX_RETRY_DELAY)
        self._log_outage(now, reason)

    def _deadline(self) -> float:
        """Return the time at which the first pending request is rejected."""
        arrived = self._pending[0][1]
        if self._address is None:
            return arrived
        if self._socket is None:
            return min(arrived + RESPONSE_TIMEOUT, max(arrived, self._down_since + RECONNECT_TIMEOUT))
        return arrived + RESPONSE_TIMEOUT

    def _reject_late(self, now: float) -> None:
        if not self._pending or now < self._deadline():
            return
        if self._socket is not None:
            # A late response would be taken for that of the next request.
            self._pending[0] = (None, self._pending[0][1])
            self._disconnect(f"the daemon did not respond within {RESPONSE_TIMEOUT:g} seconds")
            return
        while self._pending and now >= self._deadline():
            self._respond(REJECTED)
        self._write_responses()

    def _log_outage(self, now: float, reason: str = "") -> None:
        if self._logged_at is None or now - self._logged_at >= REMIND_INTERVAL:
            self._logged_at = now
            _write_log(f"{self._name}: {reason}" if reason else self._name)


def _write_log(text: str) -> None:
    try:
        os.write(2, f"{text}\n".encode("utf-8", "replace"))
    except OSError:
        pass
