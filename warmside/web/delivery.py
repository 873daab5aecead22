"""Find out if a reply was delivered: its session or its password must not outlive a caller that never read it."""

from collections.abc import Callable
from typing import Any

from warmside.compat.sockets import unread_bytes

DELIVERY_TIMEOUT = 1.0
"""Seconds after the last byte of a reply in which a reset is seen and an orderly end is awaited."""
MAX_DELIVERIES = 10
"""Maximum periods of `DELIVERY_TIMEOUT` in which a slow client may receive a reply."""


class Delivery:
    """Watches one reply.

    On a connection that is kept, a reset within `DELIVERY_TIMEOUT` means that the reply was not delivered. On one that
    is closed after the reply, an orderly end within this time is required: the client's, after the end of writing.

    :param channel: the connection; it has `call_later` and `transport`.
    :param undelivered: called at most once, if the reply was not delivered.
    """

    def __init__(self, channel: Any, undelivered: Callable[[], object]) -> None:
        self.closing = False
        """True if no request follows the reply: writing has ended, and the client's end is awaited."""
        self._channel = channel
        self._undelivered: Callable[[], object] | None = undelivered
        self._periods = 0
        self._slow = False
        self._written = False
        self._timer = channel.call_later(DELIVERY_TIMEOUT, self._time_out)
        # TLS passes the reply on at the next turn of the reactor.
        channel.call_later(0, self._has_written)

    @property
    def pending(self) -> bool:
        """True if the outcome is not known."""
        return self._undelivered is not None

    def close(self) -> None:
        """End writing; the client's end shows that it has read the reply."""
        self.closing = True
        self._restart()
        self._channel.call_later(0, self._end_writing)

    def succeeded(self) -> None:
        """Stop to watch: the client has sent its next request."""
        self._undelivered = None
        self._stop()

    def ended(self, reset: bool, unread: int) -> None:
        """Take the end of a connection with a socket.

        :param reset: True if the client reset it.
        :param unread: bytes that the client's system has not acknowledged.
        """
        # After the end of writing the end itself may be the one byte that is not acknowledged.
        self.lost(reset or unread > int(self.closing) or not self._written)

    def lost(self, failed: bool) -> None:
        """Take the end of the connection.

        :param failed: True if the client has not read the reply.
        """
        if failed:
            self._fail()
        else:
            self.succeeded()

    def _has_written(self) -> None:
        self._written = True

    def _end_writing(self) -> None:
        # No close_notify is sent over TLS: a client that has read the whole reply and closes would answer with a reset.
        if self.pending:
            self._channel.transport.loseWriteConnection()

    def _time_out(self) -> None:
        self._periods += 1
        was_slow, self._slow = self._slow, unread_bytes(self._channel.transport) > int(self.closing)
        # After the last byte was acknowledged, the client has a whole period for its end.
        if (was_slow or self._slow) and self._periods < MAX_DELIVERIES:
            self._restart()
        elif self.closing:
            self._fail()
            self._channel.transport.abortConnection()
        else:
            self.succeeded()

    def _fail(self) -> None:
        undelivered, self._undelivered = self._undelivered, None
        self._stop()
        if undelivered is not None:
            undelivered()

    def _restart(self) -> None:
        self._stop()
        self._timer = self._channel.call_later(DELIVERY_TIMEOUT, self._time_out)

    def _stop(self) -> None:
        if self._timer.active():
            self._timer.cancel()
