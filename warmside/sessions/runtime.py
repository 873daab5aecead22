"""Parameters that the classes of this package share."""

from dataclasses import dataclass
from typing import Any

from warmside.bosh.client import Observe, RunWork
from warmside.bosh.transport import ConnectionManager
from warmside.config.settings import Bosh


@dataclass(frozen=True, slots=True)
class Runtime:
    """Environment of logins.

    :param reactor: clock, timers and network.
    :param run_work: runs a function off the reactor's thread.
    :param observe: called with each completed step of a login and its duration in seconds.
    """

    reactor: Any
    run_work: RunWork
    observe: Observe = lambda step, seconds: None


@dataclass(frozen=True, slots=True)
class BoshHost:
    """Settings and connections of the connection manager that serves a virtual host."""

    settings: Bosh
    manager: ConnectionManager
