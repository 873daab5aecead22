"""Open what several machines share: the stores on Redis, each over the one of this machine."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from warmside.config.reloading import ReloadingFile
from warmside.config.settings import Config
from warmside.store.interface import StoreError
from warmside.store.redisclient import RedisClient
from warmside.web.readiness import OK

PROBE_LIFETIME = 10
"""Seconds after which the key of a check expires."""


@dataclass(frozen=True)
class SharedParts:
    """The connection to Redis, and makers of the stores that use it."""

    client: RedisClient

    async def check(self) -> str:
        """Return ``ok`` if Redis can be used and takes writes; else a word for the fault and its cause."""
        client = self.client
        if client.state == OK:
            try:
                await client.call("SET", client.key("ready"), "", "EX", PROBE_LIFETIME)
            except StoreError as error:
                return f"failed: {error}" if client.state == OK else client.state
        return client.state


def open_shared(
    config: Config, reactor: Any, password: "ReloadingFile[str] | None", observe: Callable[[float], None]
) -> SharedParts | None:
    """Return what several machines share; ``None`` without ``shared.url``. Call ``client.start`` and ``client.close``.

    :param password: the content of ``shared.password_file``.
    :param observe: called with the seconds of each command of Redis.
    """
    if config.shared.place is None:
        return None
    read = (lambda: None) if password is None else (lambda: password.content)
    return SharedParts(RedisClient(reactor, config.shared, read, observe))
