"""Open what the running service logs in with: its one-time passwords, verdicts and counts of failures.

ejabberd passes a password to the running service, which redeems it in its store. So the doctor mints in the same store,
with the rights of the store's user.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet.threads import deferToThread

from warmside.bosh.runner import Runtime
from warmside.bosh.transport import ConnectionManager
from warmside.doctor.context import Context
from warmside.doctor.serving import serving, trusted_users
from warmside.otp import OneTimePassword
from warmside.sessions.hosts import BoshHost
from warmside.sessions.passwords import OneTimePasswords, Stores
from warmside.sessions.warmer import Warmer
from warmside.store.accepted import AcceptedPasswords
from warmside.store.ends import SQLiteEnds
from warmside.store.interface import StoreError
from warmside.store.sqlite import SQLiteFailureCounters, SQLiteStore
from warmside.store.verdicts import SQLiteVerdicts
from warmside.throttle.throttle import Throttle

LOGIN_TIMEOUT = 3.0
"""Seconds for one login. A probe makes up to three of them."""


class Opened(NamedTuple):
    """A warmer, and the name and seconds of each step of its logins."""

    warmer: Warmer
    steps: list[tuple[str, float]]


@asynccontextmanager
async def open_warmer(
    context: Context,
    managers: Mapping[str, ConnectionManager],
    reactor: Any,
    asked_elsewhere: Callable[[OneTimePassword], Awaitable[bool]] | None,
) -> AsyncIterator[Opened | None]:
    """Open a warmer on the stores of the running service; ``None`` if that is not possible.

    :param managers: the connection managers by URL.
    :param asked_elsewhere: see `OneTimePasswords`.
    """
    config, running = context.config, serving(context)
    assert config is not None
    if running is None or running.store is None:
        reason = "no process that serves it is found" if running is None else "its store is in the memory of a process"
        context.miss(f"logins with the configuration: {reason}")
        yield None
        return
    steps: list[tuple[str, float]] = []
    async with AsyncExitStack() as resources:
        try:
            _check_owner(context, Path(running.store))
            with as_owner(Path(running.store)):
                store = SQLiteStore(Path(running.store))
                resources.push_async_callback(store.close)
                counters = SQLiteFailureCounters(Path(running.store))
                resources.callback(counters.close)
                verdicts = SQLiteVerdicts(Path(running.store))
                resources.callback(verdicts.close)
                ends = SQLiteEnds(Path(running.store))
                resources.callback(ends.close)
        except (OSError, StoreError) as error:
            context.miss(f"logins with the configuration: {error}")
            yield None
            return
        # What was accepted here concerns no other process.
        accepted = AcceptedPasswords(None, "warmside check")
        resources.callback(accepted.close)

        def host(name: str) -> BoshHost:
            settings = config.bosh_for(name)
            return BoshHost(replace(settings, timeout=min(settings.timeout, LOGIN_TIMEOUT)), managers[settings.url])

        passwords = OneTimePasswords(store, config.passwords.lifetime, asked_elsewhere)
        warmer = Warmer(
            Runtime(reactor, deferToThread, lambda name, seconds: steps.append((name, seconds))),
            host,
            Stores(passwords, passwords, verdicts, ends),
            Throttle(reactor, counters, accepted),
            lambda bare: None,  # a user of an examination is not a known user
        )
        resources.push_async_callback(lambda: warmer.tasks.close(LOGIN_TIMEOUT))
        yield Opened(warmer, steps)


def _check_owner(context: Context, path: Path) -> None:
    """:raises PermissionError: the file belongs to a user that could have written a false record."""
    if path.stat().st_uid not in trusted_users(context):
        raise PermissionError(f"{path} belongs to another user than warmside's")


@contextmanager
def as_owner(path: Path) -> Iterator[None]:
    """Act as the owner of a file, so that what is created belongs to the owner.

    :raises OSError: this user is neither the owner nor root.
    """
    status, user, group = path.stat(), os.geteuid(), os.getegid()
    if status.st_uid == user:
        yield
        return
    if user != 0:
        raise PermissionError(f"{path} belongs to another user: run this as root, or as the user of warmside")
    os.setegid(status.st_gid)
    os.seteuid(status.st_uid)
    try:
        yield
    finally:
        os.seteuid(user)
        os.setegid(group)
