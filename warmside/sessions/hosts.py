"""The connection manager of a virtual host."""

from dataclasses import dataclass

from warmside.bosh.transport import ConnectionManager
from warmside.config.settings import Bosh


@dataclass(frozen=True, slots=True)
class BoshHost:
    """Settings and connections of the connection manager that serves a virtual host."""

    settings: Bosh
    manager: ConnectionManager
