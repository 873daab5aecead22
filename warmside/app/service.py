"""Wiring: the one place that puts the parts together and decides nothing.

`WarmsideService` is the whole service for one configuration. `warmside.app.daemon` runs it under twistd,
`warmside.app.program` as ejabberd's extauth program.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from warmside.app import listening
from warmside.app.drain import stop_listening
from warmside.app.parts import Parts, StartError
from warmside.bosh.runner import Runtime
from warmside.config import endpoints
from warmside.config.folders import runtime_folder
from warmside.config.loader import ConfigError
from warmside.config.settings import Config
from warmside.extauth.handlers import RequestHandler
from warmside.extauth.server import ExtauthFactory
from warmside.jids import prepare
from warmside.sessions.hosts import BoshHost
from warmside.sessions.passwords import OneTimePasswords
from warmside.sessions.reachability import check_managers
from warmside.sessions.warmer import Warmer
from warmside.throttle.throttle import Throttle
from warmside.web.admins import AdminChecker, AdminDirectory, AdminRealm
from warmside.web.audited import Access
from warmside.web.authenticator import AdminAuthenticator
from warmside.web.endpoint import Root
from warmside.web.hashing import Bcrypt
from warmside.web.metrics import Metrics
from warmside.web.readiness import Readiness, check_store
from warmside.web.resources import resource_tree
from warmside.web.site import BoundedSite

__all__ = ["StartError", "WarmsideService"]

FIRST_REQUEST_TIME = 1.0
"""Seconds after the end of listening for the first request of who has connected before."""
SWEEP_INTERVAL = 10.0
"""Seconds between removals of expired one-time passwords."""


class WarmsideService:
    """The service. Construct it, `start` it, `stop` it; each once.

    :param shared: whether other processes serve on the same ports, as copies of ``warmside extauth`` do.
    :raises ConfigError: the configuration can't be served.
    """

    log = Logger()

    def __init__(self, config: Config, reactor: Any, *, shared: bool) -> None:
        self.config = config
        self.authority: RequestHandler | None = None
        self._reactor = reactor
        self._shared = shared
        if shared:
            refuse_unshareable(config)
        self._parts = Parts(config, reactor)
        self._ports: list[IListeningPort] = []
        self._extauth: list[ExtauthFactory] = []
        self._site: BoundedSite | None = None

    @property
    def metrics(self) -> Metrics:
        """What is counted; there from `start` on."""
        return self._parts.metrics

    async def start(self) -> None:
        """Open the store, then listen.

        :raises StartError: something that this needs is not to be had; nothing is left open then.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop(0)
            raise

    def check_resources(self) -> None:
        """Open everything that `start` needs, and close it again.

        :raises StartError: something is not to be had.
        """
        try:
            self._parts.open_files()
        finally:
            self._parts.close()
        with ExitStack() as kept:
            for key, description in places(self.config):
                with self._parts.config_errors_for(key, description):
                    kept.enter_context(listening.check_resources(description, shared=self._shared))

    async def stop(self, within: float = 5.0, last: Callable[[], None] = lambda: None) -> None:
        """Stop listening, finish or end what is under way, revoke, let go. Takes about ``within`` seconds.

        ejabberd is answered as long as a login may need it; then ``last`` is called.
        """
        if self._site is not None:
            self._site.stop()
        await DeferredList(
            [Deferred.fromCoroutine(stop_listening(self._reactor, port, shared=self._shared)) for port in self._ports]
        )
        self._ports.clear()
        if within and self.authority is not None:
            await self._finish_requests(within / 2)
            await self._warmer.close(within / 2)
        for factory in self._extauth:
            factory.finish()
        last()
        self.authority = None
        for closing in self._parts.close():
            await closing

    def reload(self) -> None:
        """Read again what may have changed: the admins file and the secret."""
        for file in (self._parts.admins, self._parts.secret):
            if file is not None:
                file.reload()

    async def _start(self) -> None:
        parts = self._parts
        parts.open_files()
        self.log.info("runtime folder: {path}", path=str(runtime_folder()))
        throttle = Throttle(self._reactor, parts.counts, self._run_work)
        self._warmer = Warmer(
            Runtime(self._reactor, self._run_work, parts.metrics.step),
            self._bosh_host,
            OneTimePasswords(parts.store, self.config.passwords.lifetime),
            throttle,
            parts.users.remember,
        )
        self._site = BoundedSite(self._root(throttle), self._reactor)
        for description in self.config.http.listen:
            await self._listen("http.listen", description, self._site)
            self.log.info("HTTP on {where}", where=description)
        self._sweep_regularly()
        authority = parts.open_authority()
        for description in self.config.extauth.listen:
            factory = ExtauthFactory(
                authority,
                read_only=endpoints.examine(description).kind == "tcp",
                count=parts.metrics.answer,
                peers_changed=self._warmer.probe.forget,
            )
            self._extauth.append(factory)
            await self._listen("extauth.listen", description, factory, private=True)
            self.log.info("extauth on {where}", where=description)
        self.authority = authority

    def _bosh_host(self, host: str) -> BoshHost:
        settings = self.config.bosh_for(host)
        return BoshHost(settings, self._parts.manager(settings))

    def _run_work(self, work: Callable[[], bytes]) -> "Deferred[bytes]":
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work)

    async def _listen(self, key: str, description: str, factory: Any, *, private: bool = False) -> None:
        with self._parts.config_errors_for(key, description):
            port = await listening.listen(self._reactor, description, factory, shared=self._shared, private=private)
            self._ports.append(port)
            if description.startswith("systemd:") and not self.config.insecure:
                listening.refuse_beyond_loopback(port)

    async def _finish_requests(self, within: float) -> None:
        """Wait for the requests that are being answered, and a moment for those of whoever has just connected."""
        since = self._reactor.seconds()
        while self._site is not None and (waited := self._reactor.seconds() - since) < within:
            patient = waited < FIRST_REQUEST_TIME
            if not any(channel.busy or (channel.awaited and patient) for channel in self._site.channels):
                return
            await deferLater(self._reactor, 0.01)

    def _root(self, throttle: Throttle) -> Root:
        parts, config = self._parts, self.config
        bcrypt_pool = Bcrypt(self._reactor.callFromThread)
        parts.on_close(bcrypt_pool.close)
        directory = AdminDirectory(parts.admins, config.admins.accounts)
        checker = AdminChecker(
            directory,
            throttle,
            bcrypt_pool,
            lambda name, password: self._warmer.check_password(prepare(name), password),
            self._reactor.seconds,
        )
        guard = AdminAuthenticator(Portal(AdminRealm(), [checker]), directory.knows, config.http.trusted_proxies)
        readiness = Readiness(
            self._reactor,
            {
                "store": lambda: check_store(parts.store),
                "connection_manager": lambda: check_managers(
                    self._reactor, [parts.manager(each) for each in config.managers()]
                ),
            },
        )
        return resource_tree(
            Access(guard, config.allows), self._warmer, config.passwords.lifetime, parts.metrics, readiness.check
        )

    def _sweep_regularly(self) -> None:
        def sweep() -> "Deferred[Any]":
            return Deferred.fromCoroutine(self._sweep()).addErrback(self._sweep_failed)

        sweeper = LoopingCall(sweep)
        sweeper.clock = self._reactor
        sweeper.start(SWEEP_INTERVAL, now=False)
        self._parts.on_close(sweeper.stop)

    async def _sweep(self) -> None:
        await self._parts.store.sweep()
        await self._parts.counts.sweep()

    def _sweep_failed(self, failure: Failure) -> None:
        self.log.error("what has expired was not swept away: {reason}", reason=failure.getErrorMessage())


def places(config: Config) -> list[tuple[str, str]]:
    """Every key that says where to listen, and each endpoint string that it has."""
    both = {"http.listen": config.http.listen, "extauth.listen": config.extauth.listen}
    return [(key, description) for key, descriptions in both.items() for description in descriptions]


def refuse_unshareable(config: Config) -> None:
    """:raises ConfigError: several copies of ``warmside extauth`` can't work with this."""
    for key, description in places(config):
        if endpoints.examine(description).kind in ("unix", "other"):
            raise ConfigError(
                config.path,
                key=key,
                shown=f'"{description}"',
                message="several copies of warmside extauth can't share this socket: "
                "give tcp: with interface=127.0.0.1, or run the daemon (twistd)",
            )
    if config.passwords.store == "sqlite://:memory:":
        raise ConfigError(
            config.path,
            key="passwords.store",
            shown='"sqlite://:memory:"',
            message="several copies of warmside extauth can't share one process's memory: "
            'give "sqlite" or "sqlite:///PATH"',
        )
