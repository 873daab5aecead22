"""Checks that log in: a BOSH session at each host, one-time passwords of each host, and a warm session for a JID."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from warmside.bosh.errors import Banned, BoshError, NoMechanism, StreamFailed, Terminated
from warmside.bosh.runner import terminate
from warmside.bosh.session import Parameters, Session
from warmside.bosh.transport import ConnectionManager
from warmside.config.settings import Config
from warmside.doctor.causes import cure_of
from warmside.doctor.context import Context
from warmside.doctor.managers import dead_finding, manager_finding, owned_by_ejabberd, set_url
from warmside.doctor.shared import asked_elsewhere
from warmside.doctor.warming import LOGIN_TIMEOUT, Opened, open_warmer
from warmside.findings import Finding, make, observed
from warmside.jids import JID
from warmside.sessions.model import WarmRequest
from warmside.sessions.spellings import UNKNOWN_HOST
from warmside.sessions.verdicts import FINDINGS, OneTimeRefused, UnsafeHost
from warmside.store.interface import RevocationStatus, StoreError
from warmside.throttle.limits import TooManyFailures

MAX_HOSTS = 20
"""Hosts that are examined; `Context.unseen` names the number of the others."""
CREATIONS = 3
"""Maximum session creations at a host: ejabberd sometimes removes a session before it returns the reason."""


async def logins(context: Context) -> Iterable[Finding]:
    """Find faults of the connection managers, then of sessions, then of the logins of each host."""
    from twisted.internet import reactor

    config = context.config
    if config is None:
        return []
    managers = {
        each.url: ConnectionManager(reactor, each.url, each.connections, each.ca_file) for each in config.managers()
    }
    found: list[Finding] = []
    looks = {
        each.url: Deferred.fromCoroutine(manager_finding(context, each, managers[each.url], reactor))
        for each in config.managers()
    }
    for url, look in looks.items():
        finding = await look
        if finding is not None:
            found.append(finding)
            del managers[url]
    hosts = [host for host in _hosts(context, config) if config.bosh_for(host).url in managers]
    creations = _Creations(context, config, managers)
    found += await creations.examine(hosts, reactor)
    if creations.served:
        elsewhere = None if config.shared.place is None else partial(asked_elsewhere, config, reactor=reactor)
        async with open_warmer(context, managers, reactor, elsewhere) as opened:
            if opened is not None:
                found += await _Logins(context, config, opened).examine(creations.served)
    for manager in managers.values():
        await manager.close()
    return found


def _hosts(context: Context, config: Config) -> list[str]:
    """Return the hosts to log in at: that of the JID first, then those that warmside serves."""
    own = [context.options.jid.host] if context.options.jid is not None else []
    hosts = list(dict.fromkeys((*own, *context.hosts, *sorted(config.policy.hosts), *sorted(config.host))))
    if context.ejabberd is not None and context.ejabberd.complete:
        # Another check names hosts of the configuration that ejabberd.yml does not have.
        hosts = [host for host in hosts if host in context.ejabberd.hosts or host in own]
    if len(hosts) > MAX_HOSTS:
        context.miss(f"logins: {len(hosts) - MAX_HOSTS} hosts more than {MAX_HOSTS}")
    return hosts[:MAX_HOSTS]


class _Creations:
    """Creates a session at each host and ends it. This needs no password, and no warmside that runs.

    :param managers: connection managers by ``bosh.url``, where BOSH answers.
    :ivar served: hosts at which a session was created.
    """

    def __init__(self, context: Context, config: Config, managers: dict[str, ConnectionManager]) -> None:
        self.served: list[str] = []
        self._context = context
        self._config = config
        self._managers = managers
        self._ended: dict[str, list[str]] = {}
        """Hosts by ``bosh.url`` whose creation ejabberd has ended as for an unknown host."""

    async def examine(self, hosts: list[str], reactor: Any) -> list[Finding]:
        """Create the sessions, all at once."""
        creations = [Deferred.fromCoroutine(self._create(host, reactor)) for host in hosts]
        found = [finding for finding in [await each for each in creations] if finding is not None]
        self.served.sort(key=hosts.index)
        return list(dict.fromkeys([*found, *self._not_served()]))

    async def _create(self, host: str, reactor: Any) -> Finding | None:
        manager = self._managers[self._config.bosh_for(host).url]
        try:
            for attempt in range(CREATIONS):
                try:
                    await _created(manager, host, reactor)
                    break
                except Terminated as error:
                    if error.condition != "item-not-found" or attempt == CREATIONS - 1:
                        raise
        except Banned:
            return make("banned", cure=cure_of(self._context, "banned", host))
        except BoshError as error:
            if isinstance(error, Terminated | StreamFailed) and error.condition in UNKNOWN_HOST:
                self._ended.setdefault(manager.url, []).append(host)
            else:
                self._context.miss(f"a session at {host}: {error}")
        else:
            self.served.append(host)
        return None

    def _not_served(self) -> Iterator[Finding]:
        """Yield the findings about hosts whose session creation ejabberd has ended.

        ejabberd gives the same answer for a host that it does not serve, and for every host once it has given up BOSH.
        """
        context, config = self._context, self._config
        in_file = context.ejabberd.hosts if context.ejabberd is not None else ()
        for url, hosts in self._ended.items():
            unknown = hosts
            if not any(config.bosh_for(host).url == url for host in self.served):
                unknown = [host for host in hosts if host not in in_file]
                if not in_file or not owned_by_ejabberd(context, url):
                    context.miss(f"sessions at {', '.join(hosts)}: {url} ends every session creation")
                    continue
                if len(unknown) < len(hosts):
                    yield dead_finding(url)
            for host in unknown:
                cure = cure_of(context, "unknown-host", host)
                yield make("unknown-host", host=host, where=f"as a session at {url} shows", cure=cure)


async def _created(manager: ConnectionManager, host: str, reactor: Any) -> None:
    """Create a session and end it.

    :raises BoshError: the manager does not create it.
    """
    session = Session(Parameters(host))
    creation = session.create()
    async with manager.reserve(1) as lease:
        posted = lease.post(creation.body)
        timer = reactor.callLater(LOGIN_TIMEOUT, posted.cancel)
        try:
            response = await posted
        finally:
            if timer.active():
                timer.cancel()
        session.receive(creation.rid, response.status, response.body)
        await terminate(reactor, lease, session, LOGIN_TIMEOUT)


class _Logins:
    """Logs in with one-time passwords, as the service does."""

    def __init__(self, context: Context, config: Config, opened: Opened) -> None:
        self._context = context
        self._config = config
        self._warmer, self._steps = opened

    async def examine(self, hosts: list[str]) -> list[Finding]:
        """Probe all hosts at once, then warm the session of the JID."""
        probes = [Deferred.fromCoroutine(self._probe(host)) for host in hosts]
        found = [finding for finding in [await probe for probe in probes] if finding is not None]
        jid = self._context.options.jid
        if jid is not None and jid.host in hosts and not any(finding.host in (None, jid.host) for finding in found):
            finding = await self._session(jid)
            found += [finding] if finding is not None else []
        return list(dict.fromkeys(found))

    async def _probe(self, host: str) -> Finding | None:
        """Probe a host, whatever its last verdict or back-off was."""
        self._warmer.probe.drop(host)
        self._warmer.probe.asked(host)
        try:
            await self._warmer.probe.ensure_safe(host)
        except (UnsafeHost, BoshError, StoreError, TooManyFailures) as error:
            if isinstance(error, OneTimeRefused) and error.revocation is RevocationStatus.ELSEWHERE:
                # The running service may still have another bosh.url than the file: no back-off for it.
                self._warmer.probe.asked(host)
            return self._finding(host, error)
        return None

    def _finding(self, host: str, error: Exception) -> Finding | None:
        """Return the finding for a failed login; ``None`` if the cause is not determined."""
        context = self._context
        match error:
            case UnsafeHost():
                name = FINDINGS[error.state]
                return observed(name, host, cure_of(context, name, host))
            case OneTimeRefused() if error.revocation is RevocationStatus.UNASKED:
                return observed("not-asked", host, cure_of(context, "not-asked", host))
            case OneTimeRefused() if error.revocation is RevocationStatus.ELSEWHERE:
                settings = self._config.bosh_for(host)
                fault = "another machine's warmside was asked about a one-time password"
                return make(
                    "bosh-elsewhere", url=settings.url, fault=fault, cure=set_url(context, settings, "elsewhere")
                )
            case Banned():
                return make("banned", cure=cure_of(context, "banned", host))
            case NoMechanism():
                return make("plain-off", host=host, cure=cure_of(context, "plain-off", host))
        context.miss(f"logins at {host}: {error}")
        return None

    async def _session(self, jid: JID) -> Finding | None:
        """Warm and end a session, and note the time of each step."""
        context, bare = self._context, jid.userhost()
        if bare in self._config.admins.accounts or not self._config.policy.allows(bare, jid.host):
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
        await self._warmer.tasks.finish(LOGIN_TIMEOUT)
        context.notes += [
            f"warm session of {session.jid}: {(warmed - since) * 1000:.1f} ms",
            *steps,
            f"  end of the session: {(clock() - warmed) * 1000:.1f} ms",
        ]
        return None
