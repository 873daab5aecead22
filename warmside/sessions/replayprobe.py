"""No unsafe host: before anything is handed out for a virtual host, see that ejabberd really asks.

With ``auth_use_cache: true`` ejabberd accepts a used password again without asking anyone, for an
hour. So warmside logs in twice with one and the same one-time password, for a name that nobody has;
if the second login is accepted, the host is unsafe and gets nothing.
"""

import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from warmside.bosh.errors import Refused
from warmside.jids import JID
from warmside.otp import OneTimePassword
from warmside.sessions.singleflight import SingleFlight
from warmside.store.interface import PasswordStore, RevocationStatus

MAX_HOSTS = 1000
"""Safe hosts that are remembered; beyond, the one that was not asked for longest is forgotten."""


class UnsafeHost(Exception):
    """ejabberd accepted a used one-time password for this host: its authentication cache is on."""

    def __init__(self, host: str) -> None:
        self.host = host
        super().__init__(f"ejabberd accepts used one-time passwords for {host}: set auth_use_cache: false there")


class OneTimeRefused(Refused):
    """ejabberd refused a fresh one-time password. ``leftover`` tells whether it had asked about it."""

    def __init__(self, refused: Refused, leftover: RevocationStatus) -> None:
        super().__init__("ejabberd refused a fresh one-time password", refused.condition)
        self.step = refused.step
        self.leftover = leftover


Authenticate = Callable[[JID, OneTimePassword], Awaitable[None]]
"""Authenticates over BOSH and ends the session; raises `OneTimeRefused` or another `BoshError`."""


class ReplayProbe:
    """Lets nothing be done for a host before the host was found safe.

    :param lifetime: seconds that a one-time password lives.
    :param authenticate: logs in with a one-time password as far as authentication goes.
    """

    log = Logger()

    def __init__(self, store: PasswordStore, lifetime: float, authenticate: Authenticate) -> None:
        self._store = store
        self._lifetime = lifetime
        self._authenticate = authenticate
        self._safe: OrderedDict[str, None] = OrderedDict()
        self._probes: SingleFlight[str, None] = SingleFlight()
        self._starts = 0

    def forget(self) -> None:
        """ejabberd has started anew, perhaps with other settings: every host has to be found safe again."""
        self._starts += 1
        self._safe.clear()

    def ensure_safe(self, host: str) -> "Deferred[None]":
        """Fires when the host is known to be safe. Callers at the same time share one probe.

        :raises UnsafeHost: it isn't.
        :raises BoshError: it can't be found out; the first login failed.
        """
        if host in self._safe:
            self._safe.move_to_end(host)
            return succeed(None)
        return self._probes.run(host, lambda: self._find_out(host))

    async def _find_out(self, host: str) -> None:
        starts = self._starts
        try:
            await self._probe(host)
        except UnsafeHost as error:
            self.log.critical("{reason}", reason=str(error))
            raise
        if starts == self._starts:
            self._safe[host] = None
            while len(self._safe) > MAX_HOSTS:
                self._safe.popitem(last=False)

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
