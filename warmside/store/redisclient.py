"""One connection to the Redis that several machines share (``shared.url``).

Commands wait neither for a connection nor for long: without one they fail at once, and after `CALL_TIMEOUT` the
connection counts as broken, is closed and opened again. A command whose connection is lost is never repeated.
"""

from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from txredisapi import RedisError, RedisProtocol, ResponseError

from warmside.config.settings import Shared
from warmside.store.interface import StoreError

CALL_TIMEOUT = 1.0
"""Seconds until a command's response is due; then the connection is closed."""
RECONNECT_DELAY = 0.25
"""Seconds between two attempts to connect."""

Argument = str | bytes | int | float


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
    :param settings: the table ``[shared]`` of the configuration.
    :param password: reads Redis's password; ``None`` without one. It is called for each connection.
    """

    log = Logger()

    def __init__(self, reactor: Any, settings: Shared, password: Callable[[], str | None] = lambda: None) -> None:
        self.prefix = settings.prefix
        self.state = "away: not connected yet"
        """``ok``, or a word for the fault with its cause after ``: ``."""
        self.on_connected: list[Callable[[], None]] = []
        """Called each time a connection can be used, also after a loss of the one before."""
        self._reactor = reactor
        self._settings = settings
        self._password = password
        self._protocol: RedisProtocol | None = None
        self._closed = False
        self._running: Deferred[None] | None = None
        self._pause: Deferred[None] | None = None

    def start(self) -> None:
        """Connect, and connect again after each loss, until `close`."""
        self._running = Deferred.fromCoroutine(self._run())

    def key(self, name: str) -> str:
        """Return a key with ``shared.prefix`` and the version of the layout."""
        return f"{self.prefix}1:{name}"

    async def call(self, *command: Argument, within: float = CALL_TIMEOUT) -> Any:
        """Send a command and return the response; texts as `bytes`.

        :param within: seconds until the response is due.
        :raises RedisUnavailable: there is no connection, or it was lost; the command may have been carried out.
        :raises StoreError: Redis answered with an error.
        """
        protocol = self._protocol
        if protocol is None:
            raise RedisUnavailable(f"Redis is {self.state}")
        try:
            return await self._due(protocol.execute_command(*command), within)
        except ResponseError as error:
            raise StoreError(f"Redis: {error}") from None
        except RedisError as error:
            raise RedisUnavailable(f"Redis: {error}") from None

    async def run(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Argument], within: float = CALL_TIMEOUT
    ) -> Any:
        """Run a script; see `call`.

        :param keys: the keys that it uses, each from `key`.
        """
        try:
            return await self.call("EVALSHA", script.sha, len(keys), *keys, *arguments, within=within)
        except StoreError as error:
            if "NOSCRIPT" not in str(error):
                raise
        return await self.call("EVAL", script.text, len(keys), *keys, *arguments, within=within)

    async def close(self) -> None:
        """Close the connection. Commands under way fail."""
        self._closed = True
        if self._pause is not None:
            self._pause.cancel()
        if self._protocol is not None:
            self._protocol.transport.abortConnection()
        if self._running is not None:
            await self._running

    def _endpoint(self) -> IStreamClientEndpoint:
        place = self._settings.place
        if place.path is not None:
            return UNIXClientEndpoint(self._reactor, str(place.path), timeout=CALL_TIMEOUT)
        return HostnameEndpoint(self._reactor, place.host, place.port, timeout=CALL_TIMEOUT)

    async def _run(self) -> None:
        while not self._closed:
            try:
                await self._connect()
            except Exception as error:
                self.state = f"away: {error}"
            self._protocol = None
            if not self._closed:
                self._pause = Deferred()
                call = self._reactor.callLater(RECONNECT_DELAY, self._pause.callback, None)
                await DeferredList([self._pause], consumeErrors=True)
                if call.active():
                    call.cancel()

    async def _connect(self) -> None:
        """Open a connection; return when it is lost."""
        place = self._settings.place
        factory = Factory.forProtocol(
            lambda: RedisProtocol(
                charset=None,
                password=self._password(),
                username=place.user,
                dbid=place.database or None,
                convertNumbers=False,
            )
        )
        factory.isLazy = False
        factory.stopTrying = lambda: None
        factory.connectionError = lambda message: None
        protocol = await self._endpoint().connect(factory)
        lost = protocol.whenDisconnected()
        await self._due(protocol.whenConnected(), CALL_TIMEOUT)
        self._protocol = protocol
        self.state = "ok"
        for listener in self.on_connected:
            listener()
        await lost
        self.state = "away: the connection was lost"

    async def _due(self, result: Deferred[Any], within: float) -> Any:
        protocol = self._protocol

        def too_late() -> None:
            if protocol is not None:
                protocol.transport.abortConnection()
            result.errback(RedisError(f"no response within {within:g} s"))

        call = self._reactor.callLater(within, too_late)
        try:
            return await maybeDeferred(lambda: result)
        finally:
            if call.active():
                call.cancel()
