"""Two open connections to one Redis instance: one for commands, one for messages.

They are opened and closed together, so that messages come from the instance that gets the commands.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import LoopingCall

from warmside.store.redisopen import AWAY, EXAMINE, Instance, Opening, RedisFault, instance_of
from warmside.store.redisprotocol import Argument, Bounded, Connection, RedisError, Subscriber, error_text

CALL_TIMEOUT = 1.0
"""Seconds until the reply to a command is due; then both connections are closed."""
PING_INTERVAL = 1.0
"""Seconds between two checks that both connections answer."""
EXAMINE_EACH = 30
"""Checks between two examinations of the instance."""


class Link:
    """Two connections. Call `open` once; the object is of no use after `ended` has fired.

    :param opening: opens a connection.
    :param received: called with each channel and message.
    """

    def __init__(self, opening: Opening, received: Callable[[bytes, bytes], None]) -> None:
        self.ended: Deferred[str] = Deferred()
        """Fires with the state in which the connections ended."""
        self._opening = opening
        self._reactor = opening.reactor
        self._connection = Connection()
        self._subscriber = Subscriber(received)
        self._opened: list[Bounded] = []
        self._beats = 0
        self._beat_call = LoopingCall(lambda: Deferred.fromCoroutine(self._beat()))
        self._beat_call.clock = self._reactor

    async def open(self) -> Instance:
        """Open both connections.

        :raises RedisFault: Redis is away, or must not be used.
        :raises RedisError: a connection was lost.
        """
        instance = await self._open_one(self._connection)
        if await self._open_one(self._subscriber) != instance:
            raise RedisFault(AWAY, "two connections lead to different instances")
        self._beat_call.start(PING_INTERVAL, now=False)
        return instance

    async def send(self, *command: Argument, within: float = CALL_TIMEOUT) -> Any:
        """Send a command, and return its reply.

        :raises ResponseError: the reply is an error.
        :raises RedisError: a connection was lost, or too many commands are under way.
        """
        return await self._due(self._connection.send(*command), within)

    async def subscribe(self, channel: str) -> None:
        """Subscribe to a channel; see `send`."""
        await self._due(self._subscriber.send("SUBSCRIBE", channel), CALL_TIMEOUT)

    def end(self, state: str) -> None:
        """Close both connections. Commands under way fail."""
        if self.ended.called:
            return
        if self._beat_call.running:
            self._beat_call.stop()
        for each in self._opened:
            each.transport.abortConnection()
        self.ended.callback(state)

    async def closed(self) -> None:
        """Wait until the connections are closed."""
        await DeferredList([each.lost for each in self._opened])

    async def _open_one(self, protocol: Bounded) -> Instance:
        instance = await self._opening.open(protocol)
        self._opened.append(protocol)
        protocol.lost.addCallback(lambda _: self.end(f"{AWAY}: the connection was lost"))
        return instance

    async def _beat(self) -> None:
        """Check that both connections answer, and from time to time that the instance may still be used."""
        self._beats += 1
        try:
            await self._due(self._subscriber.send("PING"), CALL_TIMEOUT)
            if self._beats % EXAMINE_EACH:
                await self.send("PING")
            else:
                instance_of(await self.send("EVAL", EXAMINE, 0))
        except (RedisFault, RedisError) as error:
            self.end(state_of(error))

    async def _due(self, reply: "Deferred[Any]", within: float) -> Any:
        """Return a reply. If it is late, end both connections, which fails all commands under way."""

        def late() -> None:
            self.end(f"{AWAY}: no response within {within:g} s")

        def due() -> None:  # the reply may have arrived while this process was busy: it is read before the next turn
            calls.append(self._reactor.callLater(0, late))

        calls = [self._reactor.callLater(within, due)]
        try:
            return await reply
        finally:
            for call in calls:
                if call.active():
                    call.cancel()


def state_of(error: Exception) -> str:
    """Return the state that an error of a connection means."""
    return str(error) if isinstance(error, RedisFault) else f"{AWAY}: {error_text(error)}"
