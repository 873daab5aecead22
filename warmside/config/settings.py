"""What the configuration says, as frozen dataclasses. `warmside.config.loader` reads them from a file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from warmside.jids import Pattern


@dataclass(frozen=True)
class Http:
    """Where HTTP is served, and which peers' ``X-Forwarded-For`` is believed."""

    listen: tuple[str, ...]
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()


@dataclass(frozen=True)
class Bosh:
    """Where a host's connection manager is and how it is used."""

    url: str
    ca_file: Path | None
    public_url: str | None
    timeout: float
    connections: int


@dataclass(frozen=True)
class Passwords:
    """Where one-time passwords are kept, and how many seconds they live."""

    store: str
    lifetime: float


@dataclass(frozen=True)
class Extauth:
    """Who answers for what is no one-time password: a program, an address, an authority, or the known users."""

    listen: tuple[str, ...]
    program: tuple[str, ...] | None
    program_copies: int
    url: str | None
    secret_file: Path | None
    authority: str | None
    users: str
    users_file: Path | None


@dataclass(frozen=True)
class Policy:
    """Whose sessions may be warmed. An empty ``hosts`` allows all of them."""

    hosts: frozenset[str] = frozenset()
    users: tuple[Pattern, ...] = (Pattern.parse("*"),)
    protected: tuple[Pattern, ...] = ()

    def allows(self, bare: str, host: str) -> bool:
        """Whether a prepared bare JID at a prepared host may be warmed."""
        return (
            (not self.hosts or host in self.hosts)
            and any(pattern.matches(bare) for pattern in self.users)
            and not any(pattern.matches(bare) for pattern in self.protected)
        )


@dataclass(frozen=True)
class Admins:
    """Who may use the HTTP interface: a file, ejabberd's accounts (prepared bare JIDs), and what narrows each."""

    file: Path | None
    accounts: frozenset[str]
    narrowed: Mapping[str, Policy]


@dataclass(frozen=True)
class Log:
    """Where the log goes (stderr if ``None``), and whether it is ``text`` or ``json``."""

    file: Path | None
    format: str


@dataclass(frozen=True)
class Config:
    """The whole file. ``host`` has the virtual hosts with settings of their own."""

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

    def bosh_for(self, host: str) -> Bosh:
        """The settings of the connection manager that serves a prepared host."""
        return self.host.get(host, self.bosh)

    def allows(self, admin: str, bare: str, host: str) -> bool:
        """Whether an admin may have a prepared bare JID at a prepared host warmed."""
        if bare in self.admins.accounts or not self.policy.allows(bare, host):
            return False
        narrowed = self.admins.narrowed.get(admin)
        return narrowed is None or narrowed.allows(bare, host)

    def managers(self) -> list[Bosh]:
        """The settings of every connection manager that the policy lets be used."""
        hosts = self.policy.hosts or {"", *self.host}
        return list({found.url: found for found in map(self.bosh_for, sorted(hosts))}.values())
