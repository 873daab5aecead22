"""Check whether the connection managers can be reached, without opening a session."""

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError

from warmside.bosh.errors import BoshError, InvalidResponse
from warmside.bosh.transport import ConnectionManager

CHECK_TIMEOUT = 0.9
"""Seconds for one check."""


async def check_managers(reactor: Any, managers: Iterable[ConnectionManager]) -> str:
    """Check all connection managers at the same time; return ``ok``, or the fault of the first that has one.

    A fault is ``unreachable``, or ``not-bosh`` if the response is not a connection manager's; its cause follows.

    :param reactor: for the time limit.
    """
    checks = [Deferred.fromCoroutine(_check_manager(reactor, manager)) for manager in managers]
    states = [await check for check in checks]
    return next((state for state in states if state != "ok"), "ok")


async def _check_manager(reactor: Any, manager: ConnectionManager) -> str:
    try:
        await Deferred.fromCoroutine(manager.check()).addTimeout(CHECK_TIMEOUT, reactor)
    except InvalidResponse as error:
        return f"not-bosh: {manager.url}: {error}"
    except BoshError as error:
        return f"unreachable: {manager.url}: {error}"
    except TimeoutError:
        return f"unreachable: {manager.url}: no response within {CHECK_TIMEOUT} s"
    return "ok"
