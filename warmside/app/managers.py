"""Connection managers of all virtual hosts: one `ConnectionManager` for each URL."""

from collections.abc import Awaitable, Callable
from typing import Any

from warmside.app.resources import awaited
from warmside.bosh.transport import ConnectionManager
from warmside.config.settings import Bosh, Config
from warmside.sessions.hosts import BoshHost
from warmside.sessions.reachability import check_managers


class ConnectionManagers:
    """The connection managers of a configuration. Hosts that share a URL share its connections.

    :param on_change: called with each change of the number of reserved connections.
    """

    def __init__(self, reactor: Any, config: Config, on_change: Callable[[int], None]) -> None:
        self._reactor = reactor
        self._config = config
        self._on_change = on_change
        self._managers: dict[str, ConnectionManager] = {}

    def host(self, host: str) -> BoshHost:
        """Return settings and connections for a prepared host."""
        settings = self._config.bosh_for(host)
        return BoshHost(settings, self._manager(settings))

    def check(self) -> Awaitable[str]:
        """Return the state of all managers; see `check_managers`."""
        return check_managers(self._reactor, [self._manager(each) for each in self._config.managers()])

    async def close(self) -> None:
        """Close the idle connections."""
        for manager in self._managers.values():
            await awaited(manager.close)

    def _manager(self, settings: Bosh) -> ConnectionManager:
        manager = self._managers.get(settings.url)
        if manager is None:
            every = (self._config.bosh, *self._config.host.values())
            connections = min(each.connections for each in every if each.url == settings.url)
            manager = ConnectionManager(self._reactor, settings.url, connections, settings.ca_file, self._on_change)
            self._managers[settings.url] = manager
        return manager
