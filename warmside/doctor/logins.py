"""Checks that log in: one-time passwords of each host, as a warm session uses them, and a session for a JID."""

from collections.abc import Iterable, Iterator

from twisted.internet.defer import Deferred, DeferredList

from warmside.bosh.errors import Banned, BoshError, NoMechanism, StreamFailed, Terminated
from warmside.bosh.transport import ConnectionManager
from warmside.config.settings import Bosh
from warmside.doctor.causes import cure_of
from warmside.doctor.context import Context
from warmside.doctor.managers import dead_finding, manager_finding, owned_by_ejabberd
from warmside.doctor.warming import LOGIN_TIMEOUT, Opened, open_warmer
from warmside.findings import Finding, make
from warmside.jids import JID
from warmside.sessions.model import WarmRequest
from warmside.sessions.spellings import UNKNOWN_HOST
from warmside.sessions.verdicts import OneTimeRefused, UnsafeHost
from warmside.store.interface import HostState, RevocationStatus, StoreError
from warmside.throttle.limits import TooManyFailures

MAX_HOSTS = 20
"""Hosts that are probed; `Context.unseen` names the number of the others."""
CREATION = "session creation"
"""Step of a login at which ejabberd rejects a host."""


async def logins(context: Context) -> Iterable[Finding]:
    """Find faults of the connection managers, then of the logins of each host."""
    from twisted.internet import reactor

    config = context.config
    if config is None:
        return []
    found: list[Finding] = []
    sound: dict[str, tuple[Bosh, ConnectionManager]] = {}
    for settings in config.managers():
        manager = ConnectionManager(reactor, settings.url, settings.connections, settings.ca_file)
        finding = await manager_finding(context, settings, manager, reactor)
        if finding is None:
            sound[settings.url] = settings, manager
        else:
            found.append(finding)
    hosts = [host for host in _hosts(context) if config.bosh_for(host).url in sound]
    if hosts:
        async with open_warmer(context, {url: manager for url, (_, manager) in sound.items()}, reactor) as opened:
            if opened is not None:
                found += await _Examination(context, opened, sound).examine(hosts)
    for _, manager in sound.values():
        await manager.close()
    return found


def _hosts(context: Context) -> list[str]:
    """Return the hosts to log in at: that of the JID first, then those that warmside serves."""
    config, jid = context.config, context.options.jid
    assert config is not None
    own = [jid.host] if jid is not None else []
    hosts = list(dict.fromkeys((*own, *context.hosts, *sorted(config.policy.hosts), *sorted(config.host))))
    if context.ejabberd is not None and context.ejabberd.complete:
        # Other findings name hosts of the configuration that ejabberd.yml does not have.
        hosts = [host for host in hosts if host in context.ejabberd.hosts or host in own]
    if len(hosts) > MAX_HOSTS:
        context.miss(f"logins: {len(hosts) - MAX_HOSTS} hosts more than {MAX_HOSTS}")
    return hosts[:MAX_HOSTS]


class _Examination:
    """Logins at several hosts.

    :param opened: makes the logins.
    :param sound: settings and connection manager by ``bosh.url``, where BOSH answers.
    """

    def __init__(self, context: Context, opened: Opened, sound: dict[str, tuple[Bosh, ConnectionManager]]) -> None:
        self._context = context
        self._warmer, self._steps = opened
        self._sound = sound
        self._unknown: list[str] = []
        self._served: list[str] = []

    async def examine(self, hosts: list[str]) -> list[Finding]:
        """Probe all hosts at once, then warm the session of the JID."""
        results = DeferredList([Deferred.fromCoroutine(self._probe(host)) for host in hosts], fireOnOneErrback=True)
        found = [finding for _, finding in await results if finding is not None]
        found += self._unknown_hosts()
        jid = self._context.options.jid
        if jid is not None and not any(finding.host == jid.host for finding in found):
            finding = await self._session(jid)
            found += [finding] if finding is not None else []
        return found

    async def _probe(self, host: str) -> Finding | None:
        """Probe a host, whatever its last verdict or back-off was."""
        self._warmer.probe.drop(host)
        self._warmer.probe.asked(host)
        try:
            await self._warmer.probe.ensure_safe(host)
        except (UnsafeHost, BoshError, StoreError, TooManyFailures) as error:
            return self._finding(host, error)
        self._served.append(host)
        return None

    def _finding(self, host: str, error: Exception) -> Finding | None:
        """Return the finding for a failed login; ``None`` if the cause is not determined."""
        context = self._context
        at_creation = isinstance(error, BoshError) and error.step == CREATION
        if isinstance(error, Terminated | StreamFailed) and at_creation and error.condition in UNKNOWN_HOST:
            self._unknown.append(host)
            return None
        self._served.append(host)
        match error:
            case UnsafeHost():
                name = {HostState.CACHING: "auth-cache", HostState.ANONYMOUS: "anonymous"}[error.state]
                where, value = "as a login shows", "login_anon or both"
                return make(name, host=host, where=where, value=value, cure=cure_of(context, name, host))
            case OneTimeRefused() if error.revocation is RevocationStatus.UNASKED:
                return make("not-asked", host=host, cure=cure_of(context, "not-asked", host))
            case Banned():
                return make("banned", cure=cure_of(context, "banned", host))
            case NoMechanism():
                return make("plain-off", host=host, cure=cure_of(context, "plain-off", host))
        context.miss(f"logins at {host}: {error}")
        return None

    def _unknown_hosts(self) -> Iterator[Finding]:
        """Yield the findings about hosts whose session creation ejabberd has ended.

        ejabberd gives the same answer for a host that it does not serve, and for every host once it has given up BOSH.
        """
        context, config = self._context, self._context.config
        assert config is not None
        by_url: dict[str, list[str]] = {}
        for host in self._unknown:
            by_url.setdefault(config.bosh_for(host).url, []).append(host)
        in_file = context.ejabberd.hosts if context.ejabberd is not None else ()
        for url, hosts in by_url.items():
            if any(config.bosh_for(host).url == url for host in self._served):
                dead = False
            elif any(host in in_file for host in hosts) and owned_by_ejabberd(context, url):
                dead = True
            else:
                context.miss(f"logins at {', '.join(hosts)}: {url} ends every session creation")
                continue
            if dead:
                yield dead_finding(self._sound[url][0])
                hosts = [host for host in hosts if host not in in_file]
            for host in hosts:
                yield make("unknown-host", host=host, where=f"as a login at {url} shows", cure=cure_of(context, "unknown-host", host))

    async def _session(self, jid: JID) -> Finding | None:
        """Warm and end a session, and note the time of each step."""
        context, config = self._context, self._context.config
        assert config is not None
        bare = jid.userhost()
        if bare in config.admins.accounts or not config.policy.allows(bare, jid.host):
            context.miss(f"the session of {jid.full()}: policy does not allow it")
            return None
        clock = self._warmer.reactor.seconds
        self._steps.clear()
        since = clock()
        try:
            session = await self._warmer.warm(WarmRequest(jid))
        except (UnsafeHost, BoshError, StoreError, TooManyFailures) as error:
            return self._finding(jid.host, error)
        warmed = clock()
        steps = [f"  {name}: {seconds * 1000:.1f} ms" for name, seconds in self._steps]
        self._warmer.end_later(session)
        await self._warmer.finish(LOGIN_TIMEOUT)
        context.notes += [
            f"warm session of {session.jid}: {(warmed - since) * 1000:.1f} ms",
            *steps,
            f"  end of the session: {(clock() - warmed) * 1000:.1f} ms",
        ]
        return None
