"""The configuration as frozen dataclasses. `warmside.config.loader` reads them from a file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from warmside.jids import Pattern


@dataclass(frozen=True)
class Http:
    """``[http]``: endpoint strings, and the proxies whose ``X-Forwarded-For`` is trusted."""

    listen: tuple[str, ...]
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()


@dataclass(frozen=True)
class Bosh:
    """``[bosh]`` or ``[host."NAME"]``: the connection manager of a host. ``timeout`` is in seconds."""

    url: str
    ca_file: Path | None
    public_url: str | None
    timeout: float
    connections: int


@dataclass(frozen=True)
class Passwords:
    """``[passwords]``: the store of one-time passwords, and their lifetime in seconds."""

    store: str
    lifetime: float


@dataclass(frozen=True)
class RedisPlace:
    """Where Redis listens: a host and port, with ``tls`` or without, or the path of a unix socket."""

    host: str
    port: int
    tls: bool
    path: Path | None
    user: str | None
    database: int


@dataclass(frozen=True)
class Shared:
    """``[shared]``: the Redis that several machines share. Without ``place`` they share nothing."""

    url: str | None = None
    place: RedisPlace | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    prefix: str = "warmside:"


@dataclass(frozen=True)
class Extauth:
    """``[extauth]``: what answers for ordinary passwords: a program, a URL, an authority or the known users."""

    listen: tuple[str, ...]
    program: tuple[str, ...] | None
    program_copies: int
    url: str | None
    secret_file: Path | None
    ca_file: Path | None
    authority: str | None
    users: str
    users_file: Path | None


@dataclass(frozen=True)
class Policy:
    """``[policy]``: the users whose sessions may be warmed. An empty ``hosts`` allows every host."""

    hosts: frozenset[str] = frozenset()
    users: tuple[Pattern, ...] = (Pattern.parse("*"),)
    protected: tuple[Pattern, ...] = ()

    def allows(self, bare: str, host: str) -> bool:
        """True if a session of the prepared bare JID at the prepared host may be warmed."""
        return (
            (not self.hosts or host in self.hosts)
            and any(pattern.matches(bare) for pattern in self.users)
            and not any(pattern.matches(bare) for pattern in self.protected)
        )


@dataclass(frozen=True)
class Admins:
    """``[admins]``: the admins file, accounts of ejabberd (prepared bare JIDs), and the policy of each admin."""

    file: Path | None
    accounts: frozenset[str]
    narrowed: Mapping[str, Policy]


@dataclass(frozen=True)
class Log:
    """``[log]``: the file (``None`` is stderr), and the format: ``text`` or ``json``."""

    file: Path | None
    format: str


@dataclass(frozen=True)
class Config:
    """The whole configuration. ``host`` has the virtual hosts with their own settings."""

    path: Path
    http: Http
    bosh: Bosh
    passwords: Passwords
    extauth: Extauth
    admins: Admins
    policy: Policy
    log: Log
    insecure: bool
    host: Mapping[str, Bosh] = field(default_factory=dict)
    shared: Shared = Shared()

    def bosh_for(self, host: str) -> Bosh:
        """Return the settings of the connection manager for a prepared host."""
        return self.host.get(host, self.bosh)

    def allows(self, admin: str, bare: str, host: str) -> bool:
        """True if the admin may warm a session of the prepared bare JID at the prepared host."""
        if bare in self.admins.accounts or not self.policy.allows(bare, host):
            return False
        narrowed = self.admins.narrowed.get(admin)
        return narrowed is None or narrowed.allows(bare, host)

    def managers(self) -> list[Bosh]:
        """Return the settings of every connection manager that the policy allows, one for each URL."""
        hosts = self.policy.hosts or {"", *self.host}
        return list({found.url: found for found in map(self.bosh_for, sorted(hosts))}.values())
