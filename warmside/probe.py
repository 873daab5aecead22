"""No unsafe host: before anything is handed out for a virtual host, see that ejabberd really asks.

With ``auth_use_cache: true`` ejabberd accepts a used password again without asking anyone, for an
hour. So warmside logs in twice with one and the same one-time password, for a name that nobody has;
if the second login is accepted, the host is unsafe and gets nothing.
"""

import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from warmside.bosh.errors import Refused
from warmside.jids import JID
from warmside.onetime import IStore, Leftover, OneTimePassword

MOST_HOSTS = 1000
"""Safe hosts that are remembered; beyond, the one that was not asked for longest is forgotten."""


class UnsafeHost(Exception):
    """ejabberd accepted a used one-time password for this host: its authentication cache is on."""

    def __init__(self, host: str) -> None:
        self.host = host
        super().__init__(f"ejabberd accepts used one-time passwords for {host}: set auth_use_cache: false there")


class OneTimeRefused(Refused):
    """ejabberd refused a fresh one-time password. ``leftover`` tells whether it had asked about it."""

    def __init__(self, refused: Refused, leftover: Leftover) -> None:
        super().__init__("ejabberd refused a fresh one-time password", refused.condition)
        self.step = refused.step
        self.leftover = leftover


Authenticate = Callable[[JID, OneTimePassword], Awaitable[None]]
"""Authenticates over BOSH and ends the session; raises `OneTimeRefused` or another `BoshError`."""


class HostGuard:
    """Lets nothing be done for a host before the host was found safe.

    :param lifetime: seconds that a one-time password lives.
    :param authenticate: logs in with a one-time password as far as authentication goes.
    """

    log = Logger()

    def __init__(self, store: IStore, lifetime: float, authenticate: Authenticate) -> None:
        self._store = store
        self._lifetime = lifetime
        self._authenticate = authenticate
        self._safe: OrderedDict[str, None] = OrderedDict()
        self._waiting: dict[str, list[Deferred[None]]] = {}

    def ensure_safe(self, host: str) -> "Deferred[None]":
        """Fires when the host is known to be safe. Callers at the same time share one probe.

        :raises UnsafeHost: it isn't.
        :raises BoshError: it can't be found out; the first login failed.
        """
        waiter: Deferred[None] = Deferred()
        if host in self._safe:
            self._safe.move_to_end(host)
            waiter.callback(None)
        elif host in self._waiting:
            self._waiting[host].append(waiter)
        else:
            self._waiting[host] = [waiter]
            Deferred.fromCoroutine(self._probe(host)).addBoth(self._probed, host)
        return waiter

    def _probed(self, result: Failure | None, host: str) -> None:
        if result is None:
            self._safe[host] = None
            while len(self._safe) > MOST_HOSTS:
                self._safe.popitem(last=False)
        elif result.check(UnsafeHost):
            self.log.critical("{reason}", reason=result.getErrorMessage())
        for waiter in self._waiting.pop(host):
            if not waiter.called:
                waiter.callback(result)

    async def _probe(self, host: str) -> None:
        jid = JID(tuple=(f"warmside-probe-{secrets.token_hex(8)}", host, None))
        password = await self._store.mint(jid.userhost(), self._lifetime)
        try:
            await self._authenticate(jid, password)
            try:
                await self._authenticate(jid, password)
            except OneTimeRefused:
                return
            raise UnsafeHost(host)
        finally:
            await self._store.revoke(password)
