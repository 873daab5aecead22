"""Find out whether ejabberd accepts a used one-time password, before anything is handed out for a host.

With ``auth_use_cache: true`` ejabberd accepts a used password again for an hour, without a request to
its extauth program. The probe logs in twice with one one-time password, for a random account. If the
second login is accepted, the host is unsafe.
"""

import secrets
from collections.abc import Awaitable, Callable

from cachetools import LRUCache
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from warmside.bosh.errors import Refused
from warmside.jids import JID, PreparedJID
from warmside.otp import OneTimePassword
from warmside.sessions.singleflight import SingleFlight
from warmside.store.interface import PasswordStore, RevocationStatus

MAX_HOSTS = 1000
"""Safe hosts that are remembered; the least recently used one is dropped."""


class UnsafeHost(Exception):
    """ejabberd accepted a used one-time password for this host: its authentication cache is on."""

    def __init__(self, host: str) -> None:
        self.host = host
        super().__init__(f"ejabberd accepts used one-time passwords for {host}: set auth_use_cache: false there")


class OneTimeRefused(Refused):
    """ejabberd rejected a fresh one-time password. ``revocation`` is the status that its revocation found."""

    def __init__(self, refused: Refused, revocation: RevocationStatus) -> None:
        super().__init__("ejabberd rejected a fresh one-time password", refused.condition)
        self.step = refused.step
        self.revocation = revocation


Authenticate = Callable[[JID, OneTimePassword], Awaitable[None]]
"""Authenticates over BOSH and ends the session; raises `OneTimeRefused` or another `BoshError`."""


class ReplayProbe:
    """Probes each host once, and remembers the safe ones.

    :param store: the store of one-time passwords.
    :param lifetime: seconds after which a one-time password expires.
    :param authenticate: authenticates with a one-time password, without binding a resource.
    """

    log = Logger()

    def __init__(self, store: PasswordStore, lifetime: float, authenticate: Authenticate) -> None:
        self._store = store
        self._lifetime = lifetime
        self._authenticate = authenticate
        self._safe: LRUCache[str, bool] = LRUCache(MAX_HOSTS)
        self._probes: SingleFlight[str, None] = SingleFlight()
        self._starts = 0

    def forget(self) -> None:
        """Forget all results: ejabberd has restarted, and its settings may have changed."""
        self._starts += 1
        self._safe.clear()

    def ensure_safe(self, host: str) -> "Deferred[None]":
        """Return a Deferred that fires when the host is known to be safe. Simultaneous callers share one probe.

        :raises UnsafeHost: the host accepts used one-time passwords.
        :raises BoshError: the first login failed, so that the probe has no result.
        :raises StoreError: the store failed.
        """
        if self._safe.get(host):
            return succeed(None)
        return self._probes.run(host, lambda: self._run(host))

    async def _run(self, host: str) -> None:
        starts = self._starts
        try:
            await self._probe(host)
        except UnsafeHost as error:
            self.log.critical("{reason}", reason=str(error))
            raise
        if starts == self._starts:
            self._safe[host] = True

    async def _probe(self, host: str) -> None:
        jid: JID = PreparedJID(f"warmside-probe-{secrets.token_hex(8)}", host, None)
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
