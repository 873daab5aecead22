"""The connection to the Redis that several machines share (``shared.url``).

A call waits neither for a connection nor for long: without one it fails at once, and after `CALL_TIMEOUT` the
connection counts as broken, is closed and opened again. A command whose connection is lost is never repeated.
"""

from collections.abc import Callable, Coroutine, Sequence
from hashlib import sha1
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from warmside.config.settings import Shared
from warmside.store.interface import StoreError
from warmside.store.redislink import CALL_TIMEOUT, Link, state_of
from warmside.store.redisopen import AWAY, OK, Instance, Opening, Password, RedisFault, state_after
from warmside.store.redisprotocol import Argument, RedisError, ResponseError, error_text

MIN_DELAY = 0.25
"""Seconds between the end of a connection and the first attempt to connect again."""
MAX_DELAY = 1.0
"""Maximum seconds between two attempts to connect."""

Listener = Callable[[bytes], None]

__all__ = ["CALL_TIMEOUT", "Argument", "RedisClient", "RedisUnavailable", "Script"]


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
    """The connection to Redis. Call `start`, later `close`.

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
        """The instance of the current connection, or of the last one."""
        self.on_connected: list[Callable[[], None]] = []
        """Called each time a connection can be used, also after a loss of the one before."""
        self._reactor = reactor
        self._url = settings.url
        self._opening = Opening(reactor, settings, password)
        self._observe = observe
        self._listeners: dict[str, list[Listener]] = {}
        self._link: Link | None = None
        self._step: Deferred[Any] | None = None
        self._running: Deferred[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Connect, and connect again after each loss, until `close`."""
        self._running = Deferred.fromCoroutine(self._run())

    def key(self, name: str) -> str:
        """Return a key with ``shared.prefix`` and the version of the layout."""
        return f"{self.prefix}1:{name}"

    def channel(self, name: str) -> str:
        """Return a channel. Databases of Redis share all channels, so its name contains the database."""
        return f"{self.key(name)}:{self._opening.place.database}"

    async def call(self, *command: Argument, within: float = CALL_TIMEOUT) -> Any:
        """Send a command and return the reply; texts as `bytes`.

        :param within: seconds until the reply is due.
        :raises RedisUnavailable: there is no connection, or it was lost; the command may have been carried out.
        :raises StoreError: Redis answered with an error.
        """
        link = self._link
        if link is None:
            raise RedisUnavailable(f"Redis can't be used: {self.state}")
        started = self._reactor.seconds()
        try:
            return await link.send(*command, within=within)
        except ResponseError as error:
            raise self._failed(link, error_text(error)) from None
        except RedisError as error:
            cause = error_text(error) if self.state == OK else self.state
            raise RedisUnavailable(f"Redis can't be used: {cause}") from None
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

        :param channel: its name, from `channel`.
        :param callback: called with each message, and with ``b""`` after each start of the subscription: messages
            before were missed.
        """
        self._listeners.setdefault(channel, []).append(callback)
        if self._link is not None:
            Deferred.fromCoroutine(self._subscribe(self._link, channel))

    async def close(self) -> None:
        """Close the connection. Commands under way fail."""
        self._closed = True
        if self._link is not None:
            self._link.end(f"{AWAY}: closed")
        if self._step is not None:
            self._step.cancel()
        if self._running is not None:
            await self._running

    async def _run(self) -> None:
        delay = MIN_DELAY
        while not self._closed:
            link = Link(self._opening, self._received)
            link.ended.addCallback(self._turn)
            try:
                instance = await self._cancellable(link.open())
                self._use(link, instance)
                delay = MIN_DELAY
                await link.ended
            except (RedisFault, RedisError) as error:
                link.end(state_of(error))
            except CancelledError:
                link.end(f"{AWAY}: closed")
            await link.closed()
            if not self._closed:
                await self._pause(delay)
                delay = min(2 * delay, MAX_DELAY)

    async def _cancellable(self, step: "Coroutine[Deferred[Any], Any, Instance]") -> Instance:
        """Return the result of a step that `close` may cancel."""
        opening = Deferred.fromCoroutine(step)
        self._step = opening
        try:
            return await opening
        finally:
            self._step = None

    async def _pause(self, seconds: float) -> None:
        """Wait; `close` ends the wait."""
        pause: Deferred[None] = Deferred()
        self._step = pause
        call = self._reactor.callLater(seconds, pause.callback, None)
        try:
            await pause
        except CancelledError:
            call.cancel()
        finally:
            self._step = None

    def _use(self, link: Link, instance: Instance) -> None:
        if link.ended.called:
            return
        self.instance = instance
        self._turn(OK)
        self._link = link
        for channel in self._listeners:
            Deferred.fromCoroutine(self._subscribe(link, channel))
        for callback in self.on_connected:
            self._guarded(callback)

    async def _subscribe(self, link: Link, channel: str) -> None:
        """Subscribe to a channel; call its listeners then."""
        try:
            await link.subscribe(channel)
        except RedisError as error:
            link.end(state_of(error))
        else:
            self._received(channel.encode(), b"")

    def _received(self, channel: bytes, message: bytes) -> None:
        for callback in self._listeners.get(channel.decode("utf-8", "replace"), ()):
            self._guarded(callback, message)

    def _guarded(self, callback: Callable[..., None], *arguments: bytes) -> None:
        try:
            callback(*arguments)
        except Exception:
            self.log.failure("Redis: a listener failed")

    def _failed(self, link: Link, text: str) -> StoreError:
        """Return the exception for an error of Redis. After some errors the instance can't be used any more."""
        state = state_after(text)
        if state is None:
            return StoreError(f"Redis: {text}")
        link.end(state)
        return RedisUnavailable(f"Redis can't be used: {state}")

    def _turn(self, state: str) -> None:
        """Set the state; log it if it has changed."""
        self._link = None
        if state == self.state:
            return
        self.state = state
        if state == OK:
            self.log.info("Redis at {url} can be used", url=self._url)
        elif not self._closed:
            self.log.error("Redis at {url} can't be used: {state}", url=self._url, state=state)
