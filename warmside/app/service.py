"""The service: the one place that connects the parts.

`warmside.app.daemon` runs it under twistd, `warmside.app.program` as ejabberd's extauth program.
"""

from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from warmside.app import resources
from warmside.app.authority import AuthorityMaker, authority_maker, open_authority
from warmside.app.drain import finish_requests
from warmside.app.listening import Listener
from warmside.app.managers import ConnectionManagers
from warmside.app.resources import Paths, StartError, config_errors_for
from warmside.app.startline import start_line
from warmside.app.stores import OpenStores, open_stores
from warmside.bosh.runner import Runtime
from warmside.config.reloading import ReloadingFile
from warmside.config.running import ProcessRecord
from warmside.config.settings import Config
from warmside.extauth.check import AuthorityCheck
from warmside.extauth.handlers import OneTimeAuthority, RequestHandler
from warmside.extauth.request import ExtauthRequest
from warmside.extauth.server import ExtauthFactory
from warmside.jids import prepare
from warmside.sessions.accounts import UserAccounts
from warmside.sessions.ending import SessionEnder
from warmside.sessions.warmer import Warmer
from warmside.throttle.throttle import Throttle
from warmside.web.admins import AdminDirectory, AdminRealm
from warmside.web.audited import Access
from warmside.web.authenticator import AdminAuthenticator
from warmside.web.checker import AdminChecker
from warmside.web.hashing import Bcrypt
from warmside.web.metrics import FLUSH_INTERVAL, Metrics, open_metrics
from warmside.web.readiness import Check, Readiness, check_hosts, check_store
from warmside.web.resources import resource_tree
from warmside.web.site import BoundedSite

__all__ = ["StartError", "WarmsideService"]


class WarmsideService:
    """The service for one configuration. Call `open`, `serve` and `close`, each once, in this order.

    twistd forks between `open` and `serve`. So `open` takes what a fork passes on: sockets and the content of
    files. SQLite connections and locks must not cross a fork: `serve` opens databases and metrics.

    :param shared: True if other processes serve on the same ports, as processes of ``warmside extauth`` do.
    :param record: tells other processes which configuration this one serves, also after a failed start.
    """

    log = Logger()
    paths: Paths
    metrics: Metrics
    site: BoundedSite
    _admins: "ReloadingFile[dict[str, bytes]] | None" = None
    _secret: "ReloadingFile[str] | None" = None
    _redis_password: "ReloadingFile[str] | None" = None
    _maker: AuthorityMaker | None
    _stores: OpenStores
    _managers: ConnectionManagers
    _warmer: Warmer
    _authority_check: AuthorityCheck

    def __init__(self, config: Config, reactor: Any, *, shared: bool, record: ProcessRecord | None = None) -> None:
        self.config = config
        self.authority: RequestHandler | None = None
        """Answers ejabberd while the service serves, and in `close` as long as a login may need it."""
        self.http = [Listener(reactor, each, shared=shared) for each in config.http.listen]
        self.extauth = [Listener(reactor, each, shared=shared, private=True) for each in config.extauth.listen]
        self._reactor = reactor
        self._shared = shared
        self._record = record or ProcessRecord()
        self._serving = False
        self._factories: list[ExtauthFactory] = []
        self._resources = AsyncExitStack()

    def open(self) -> None:
        """Read files, check folders, bind sockets. No socket is left open after an error.

        If another configuration is served on the same port or in the same runtime folder, this process stays recorded
        as rejected.

        :raises ConfigError: a file that the configuration names can't be used.
        :raises StartError: a socket or a folder can't be used.
        """
        if self._shared:
            resources.check_shareable(self.config)
        self._admins = resources.admins_file(self.config)
        self._secret = resources.secret_file(self.config)
        self._redis_password = resources.shared_password(self.config)
        self._maker = authority_maker(self.config)
        self.paths = resources.find_paths(self.config)
        resources.claim(self.config, self.paths, self._record)
        try:
            for key, listeners in (("http.listen", self.http), ("extauth.listen", self.extauth)):
                for listener in listeners:
                    with config_errors_for(self.config, key, listener.description):
                        listener.open()
        except BaseException:
            for listener in self.http + self.extauth:
                listener.release()
            self._record.withdraw()
            raise

    async def serve(self) -> None:
        """Open the databases and serve. Nothing is left open after an error.

        :raises StartError: a database or a socket can't be opened.
        """
        try:
            self._open_databases()
            throttle = Throttle(self._reactor, self._stores.counters, self._stores.accepted)
            self._managers = ConnectionManagers(self._reactor, self.config, self.metrics.connections)
            self._resources.push_async_callback(self._managers.close)
            self._warmer = self._make_warmer(throttle)
            self.site = self._make_site(throttle)
            self.authority = authority = self._open_authority()
            self._warmer.probe.forget()
            self._stores.cleanup.start()
            self._resources.callback(self._stores.cleanup.stop)
            self._warmer.probe.start()
            self._resources.callback(self._warmer.probe.close)
            self._serving = True
            for listener in self.http:
                await self._listen("http.listen", listener, self.site)
            for listener in self.extauth:
                await self._listen("extauth.listen", listener, self._extauth_factory(listener, authority))
            self.log.info(
                "{line}", line=start_line(self.config, self.paths, self._admins.content if self._admins else ())
            )
        except BaseException:
            await self.close(0)
            raise

    async def close(self, within: float = 5.0, last: Callable[[], None] = lambda: None) -> None:
        """Stop listening, finish or end what is under way, revoke, close.

        ejabberd is answered as long as a login may need it; then ``last`` is called.

        :param within: seconds for what is under way; 0 ends it at once.
        """
        async with self._resources:  # closed at the end, also after an error before
            if self._serving:
                self.site.stopping = True
            await DeferredList([Deferred.fromCoroutine(each.close()) for each in self.http + self.extauth])
            self._record.withdraw()
            if self._serving:
                await finish_requests(self._reactor, self.site, within / 2)
                await self._warmer.tasks.close(within / 2)
            for factory in self._factories:
                factory.finish()
            last()
            self.authority = None

    def reload(self) -> None:
        """Read the admins file and the secrets again, and drop all verdicts on hosts."""
        for file in (self._admins, self._secret, self._redis_password):
            if file is not None:
                file.reload()
        if self._serving:
            self._warmer.probe.forget()

    def answered(self, request: ExtauthRequest | None, accepted: bool) -> None:
        """Count a response to ejabberd, and end the back-off of the request's host."""
        self.metrics.answer(request, accepted)
        if request is not None:
            self._warmer.probe.asked(request.host)
            self._authority_check.host = request.host

    def _open_databases(self) -> None:
        with resources.runtime_folder_errors(self.config):
            self._record.renew()
            self.metrics = open_metrics(self.paths.metrics)
        self._resources.callback(self.metrics.close)
        flushing = LoopingCall(self.metrics.flush)
        flushing.clock = self._reactor
        flushing.start(FLUSH_INTERVAL, now=False)
        self._resources.callback(flushing.stop)
        self._stores = open_stores(
            self.config, self._reactor, self.paths, self.metrics, self._redis_password, self._resources
        )

    def _open_authority(self) -> RequestHandler:
        config, secret, maker = self.config, self._secret, self._maker
        following, ask = open_authority(config, self._reactor, secret=secret, maker=maker, users=self._stores.users)
        self._resources.push_async_callback(resources.awaited, following.close)
        self._authority_check = AuthorityCheck(self._reactor, ask, *sorted(config.policy.hosts)[:1])
        return OneTimeAuthority(self._stores.stores.credentials.store, following)

    async def _listen(self, key: str, listener: Listener, factory: Any) -> None:
        with config_errors_for(self.config, key, listener.description):
            await listener.serve(factory)
            if listener.description.startswith("systemd:") and not self.config.insecure:
                listener.require_loopback()

    def _extauth_factory(self, listener: Listener, authority: RequestHandler) -> ExtauthFactory:
        factory = ExtauthFactory(
            authority,
            read_only=listener.place.kind == "tcp",
            count=self.answered,
            peers_changed=self._warmer.probe.forget,
        )
        self._factories.append(factory)
        return factory

    def _make_warmer(self, throttle: Throttle) -> Warmer:
        return Warmer(
            Runtime(self._reactor, self._run_work, self.metrics.step),
            self._managers.host,
            self._stores.stores,
            throttle,
            self._stores.users.remember,
        )

    def _make_site(self, throttle: Throttle) -> BoundedSite:
        config, opened = self.config, self._stores
        checks: dict[str, Check] = {
            "store": lambda: check_store(opened.plain, opened.users),
            "connection_manager": self._managers.check,
            "hosts": lambda: check_hosts(opened.stores.verdicts),
            "authority": lambda: self._authority_check.state(),
        }
        if opened.shared is not None:
            checks["shared"] = opened.shared.check
        ender = SessionEnder(self._warmer, opened.stores)
        root = resource_tree(
            Access(self._make_authenticator(throttle), config.allows),
            self._warmer,
            ender,
            UserAccounts(self._reactor, opened.users, opened.stores, ender),
            config.passwords.lifetime,
            self.metrics,
            Readiness(self._reactor, checks).check,
        )
        return BoundedSite(root, self._reactor)

    def _make_authenticator(self, throttle: Throttle) -> AdminAuthenticator:
        bcrypt_pool = Bcrypt(self._reactor.callFromThread)
        self._resources.callback(bcrypt_pool.close)
        directory = AdminDirectory(self._admins, self.config.admins.accounts)
        checker = AdminChecker(
            directory,
            throttle,
            bcrypt_pool,
            lambda name, password: self._warmer.check_password(prepare(name), password),
        )
        for account in sorted(self.config.admins.accounts)[:1]:
            throttle.on_admins_budget_spent = partial(self._warmer.restore_budget, prepare(account).host)
        return AdminAuthenticator(Portal(AdminRealm(), [checker]), directory.knows, self.config.http.trusted_proxies)

    def _run_work(self, work: Callable[[], bytes]) -> "Deferred[bytes]":
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work)
