"""The connection to the Redis that several machines share (``shared.url``).

A call waits neither for a connection nor for long: without one it fails at once, and after `CALL_TIMEOUT` the
connection counts as broken, is closed and opened again. A command whose connection is lost is never repeated.

There are two connections: one for commands, one for messages. They are opened and closed together, so that messages
come from the instance that gets the commands.
"""

from collections.abc import Callable, Coroutine, Sequence
from hashlib import sha1
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from warmside.config.settings import Shared
from warmside.store.interface import StoreError
from warmside.store.redisopen import (
    AWAY,
    EXAMINE,
    OK,
    Instance,
    Opening,
    Password,
    RedisFault,
    instance_of,
    state_after,
)
from warmside.store.redisprotocol import (
    Argument,
    Bounded,
    Connection,
    RedisError,
    ResponseError,
    Subscriber,
    error_text,
)

CALL_TIMEOUT = 1.0
"""Seconds until the reply to a command is due; then the connection is closed."""
MIN_DELAY = 0.25
"""Seconds between the end of a connection and the first attempt to connect again."""
MAX_DELAY = 1.0
"""Maximum seconds between two attempts to connect."""
PING_INTERVAL = 1.0
"""Seconds between two checks that both connections answer."""
EXAMINE_EACH = 30
"""Checks between two examinations of the instance."""

Listener = Callable[[bytes], None]

__all__ = ["Argument", "RedisClient", "RedisUnavailable", "Script"]


class Script:
    """A Lua script. Redis runs it as one atomic step.

    :param text: its source.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()


class RedisUnavailable(StoreError):
    """Redis is away, or may not be used. The message names the cause."""


class RedisClient:
    """The connections to Redis. Call `start`, later `close`.

    :param reactor: the reactor.
    :param settings: the table ``[shared]`` of the configuration; its ``place`` is set.
    :param password: reads Redis's password; ``None`` without one. It is called for each connection.
    :param observe: called with the seconds of each command.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Shared,
        password: Password = lambda: None,
        observe: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self.prefix = settings.prefix
        self.state = f"{AWAY}: not connected yet"
        """``ok``, or a word for the fault with its cause after ``: ``."""
        self.instance: Instance | None = None
        """The instance of the current or the last connection."""
        self.on_connected: list[Callable[[], None]] = []
        """Called each time a connection can be used, also after a loss of the one before."""
        self._reactor = reactor
        self._url = settings.url
        self._opening = Opening(reactor, settings, password)
        self._observe = observe
        self._listeners: dict[str, list[Listener]] = {}
        self._connection: Connection | None = None
        self._subscriber: Subscriber | None = None
        self._opened: list[Bounded] = []
        self._ended: Deferred[None] | None = None
        self._work: Deferred[None] | None = None
        self._running: Deferred[None] | None = None
        self._closed = False
        self._beats = 0

    def start(self) -> None:
        """Connect, and connect again after each loss, until `close`."""
        self._running = Deferred.fromCoroutine(self._run())

    def key(self, name: str) -> str:
        """Return a key with ``shared.prefix`` and the version of the layout."""
        return f"{self.prefix}1:{name}"

    async def call(self, *command: Argument, within: float = CALL_TIMEOUT) -> Any:
        """Send a command and return the reply; texts as `bytes`.

        :param within: seconds until the reply is due.
        :raises RedisUnavailable: there is no connection, or it was lost; the command may have been carried out.
        :raises StoreError: Redis answered with an error.
        """
        connection = self._connection
        if connection is None:
            raise RedisUnavailable(f"Redis can't be used: {self.state}")
        started = self._reactor.seconds()
        try:
            return await self._due(connection.send(*command), within)
        except ResponseError as error:
            raise self._failed(error_text(error)) from None
        except RedisError as error:
            raise RedisUnavailable(
                f"Redis can't be used: {error_text(error) if self.state == OK else self.state}"
            ) from None
        finally:
            self._observe(self._reactor.seconds() - started)

    async def run(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Argument], within: float = CALL_TIMEOUT
    ) -> Any:
        """Run a script; see `call`.

        :param keys: the keys that it uses, each from `key`.
        """
        try:
            return await self.call("EVALSHA", script.sha, len(keys), *keys, *arguments, within=within)
        except StoreError as error:
            if not str(error).startswith("Redis: NOSCRIPT"):
                raise
        return await self.call("EVAL", script.text, len(keys), *keys, *arguments, within=within)

    def listen(self, channel: str, callback: Listener) -> None:
        """Subscribe to a channel, for good.

        :param channel: its name, from `key`.
        :param callback: called with each message, and with ``b""`` after each start of the subscription: messages
            before were missed.
        """
        self._listeners.setdefault(channel, []).append(callback)
        if self._connection is not None:
            Deferred.fromCoroutine(self._subscribe(channel))

    async def close(self) -> None:
        """Close the connections. Commands under way fail."""
        self._closed = True
        opened = self._opened
        self._end(f"{AWAY}: closed")
        if self._work is not None:
            self._work.cancel()
        if self._running is not None:
            await self._running
        await DeferredList([each.lost for each in opened])

    async def _run(self) -> None:
        beat = LoopingCall(lambda: Deferred.fromCoroutine(self._beat()))
        beat.clock = self._reactor
        delay = MIN_DELAY
        while not self._closed:
            ended: Deferred[None] = Deferred()
            self._ended = ended
            if await self._finished(self._open()):
                delay = MIN_DELAY
                beat.start(PING_INTERVAL, now=False)
                await ended
                beat.stop()
            if not self._closed:
                await self._finished(self._sleep(delay))
                delay = min(2 * delay, MAX_DELAY)

    async def _finished(self, step: Coroutine[Deferred[Any], Any, None]) -> bool:
        """Run a step that `close` may cancel. Return False if it failed."""
        self._work = Deferred.fromCoroutine(step)
        try:
            await self._work
        except (RedisFault, RedisError) as error:
            self._end(_state(error))
            return False
        except CancelledError:
            return False
        finally:
            self._work = None
        return True

    async def _sleep(self, seconds: float) -> None:
        pause: Deferred[None] = Deferred()
        call = self._reactor.callLater(seconds, pause.callback, None)
        try:
            await pause
        finally:
            if call.active():
                call.cancel()

    async def _open(self) -> None:
        """Open both connections, subscribe, and tell all listeners."""
        connection, instance = await self._opening.open(Connection())
        self._opened.append(connection)
        subscriber, other = await self._opening.open(Subscriber(self._received))
        self._opened.append(subscriber)
        if other != instance:
            raise RedisFault(AWAY, "two connections lead to different instances")
        ended = self._ended
        for each in self._opened:
            each.lost.addCallback(lambda _: self._lost(ended))
        for channel in self._listeners:
            await self._due(subscriber.send("SUBSCRIBE", channel), CALL_TIMEOUT)
        self.instance, self._connection, self._subscriber = instance, connection, subscriber
        self._turn(OK)
        for channel in self._listeners:
            self._received(channel.encode(), b"")
        for callback in self.on_connected:
            self._guarded(callback)

    async def _subscribe(self, channel: str) -> None:
        """Subscribe to a further channel while both connections are open."""
        assert self._subscriber is not None
        try:
            await self._due(self._subscriber.send("SUBSCRIBE", channel), CALL_TIMEOUT)
        except RedisError as error:
            self._end(_state(error))
        else:
            self._received(channel.encode(), b"")

    async def _beat(self) -> None:
        """Check that both connections answer, and from time to time that the instance may still be used."""
        self._beats += 1
        try:
            if self._subscriber is not None:
                await self._due(self._subscriber.send("PING"), CALL_TIMEOUT)
            if self._connection is not None:
                examining = self._beats % EXAMINE_EACH == 0
                command: tuple[Argument, ...] = ("EVAL", EXAMINE, 0) if examining else ("PING",)
                reply = await self._due(self._connection.send(*command), CALL_TIMEOUT)
                if examining:
                    instance_of(reply)
        except (RedisFault, RedisError) as error:
            self._end(_state(error))

    async def _due(self, reply: "Deferred[Any]", within: float) -> Any:
        """Return a reply. If it is late, end both connections, which fails all commands under way."""

        def late() -> None:
            self._end(f"{AWAY}: no response within {within:g} s")

        def due() -> None:  # the reply may have arrived while this process was busy: it is read before the next turn
            calls.append(self._reactor.callLater(0, late))

        calls = [self._reactor.callLater(within, due)]
        try:
            return await reply
        finally:
            for call in calls:
                if call.active():
                    call.cancel()

    def _received(self, channel: bytes, message: bytes) -> None:
        for callback in self._listeners.get(channel.decode("utf-8", "replace"), ()):
            self._guarded(callback, message)

    def _guarded(self, callback: Callable[..., None], *arguments: bytes) -> None:
        try:
            callback(*arguments)
        except Exception:
            self.log.failure("Redis: a listener failed")

    def _failed(self, text: str) -> StoreError:
        """Return the exception for an error of Redis. After some errors the instance can't be used any more."""
        state = state_after(text)
        if state is None:
            return StoreError(f"Redis: {text}")
        self._end(state)
        return RedisUnavailable(f"Redis can't be used: {state}")

    def _lost(self, ended: "Deferred[None] | None") -> None:
        if ended is self._ended:  # none of an earlier pair
            self._end(f"{AWAY}: the connection was lost")

    def _end(self, state: str) -> None:
        """Close both connections. `_run` opens them again."""
        self._connection = self._subscriber = None
        ended, self._ended = self._ended, None
        opened, self._opened = self._opened, []
        if ended is None:
            return
        self._turn(state)
        for each in opened:
            each.transport.abortConnection()
        ended.callback(None)

    def _turn(self, state: str) -> None:
        """Set the state; log it if it has changed."""
        if state == self.state:
            return
        self.state = state
        if self._closed:
            return
        if state == OK:
            self.log.info("Redis at {url} can be used", url=self._url)
        else:
            self.log.error("Redis at {url} can't be used: {state}", url=self._url, state=state)


def _state(error: Exception) -> str:
    return str(error) if isinstance(error, RedisFault) else f"{AWAY}: {error_text(error)}"
