"""The configuration: one TOML file into frozen dataclasses.

Every key has its default here. Whatever is wrong with a file ends in one `ConfigError` that names
the file, the key and the value and says what would be right; nothing is listened on before.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from cryptography.x509 import load_pem_x509_certificates

from warmside import listening
from warmside.jids import InvalidJID, Pattern, prepare_host
from warmside.tables import ConfigError, Table

__all__ = ["DEFAULT_PATH", "Bosh", "Config", "ConfigError", "Policy", "load"]

DEFAULT_PATH = Path("/etc/warmside/warmside.toml")

ENDPOINT = 'a Twisted server endpoint string such as "tcp:5281:interface=127.0.0.1"'
STORE = '"sqlite", "sqlite:///PATH" or "sqlite://:memory:"'
PATTERN = 'a pattern of bare JIDs such as "*@example.org", or "*" for everyone'

LATER = {
    "http.trusted_proxies",
    "extauth.listen",
    "extauth.program",
    "extauth.program_copies",
    "extauth.url",
    "extauth.secret_file",
    "admins.accounts",
    "admin",
}
"""Keys that have their place in the file but nothing behind them yet."""


@dataclass(frozen=True)
class Http:
    listen: tuple[str, ...]


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
    store: str
    lifetime: float


@dataclass(frozen=True)
class Extauth:
    users: str
    users_file: Path | None


@dataclass(frozen=True)
class Admins:
    file: Path | None


@dataclass(frozen=True)
class Policy:
    """Whose sessions may be warmed. An empty ``hosts`` allows all of them."""

    hosts: frozenset[str]
    users: tuple[Pattern, ...]
    protected: tuple[Pattern, ...]

    def allows(self, bare: str, host: str) -> bool:
        """Whether a prepared bare JID at a prepared host may be warmed."""
        return (
            (not self.hosts or host in self.hosts)
            and any(pattern.matches(bare) for pattern in self.users)
            and not any(pattern.matches(bare) for pattern in self.protected)
        )


@dataclass(frozen=True)
class Log:
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


def load(path: Path) -> Config:
    """Read a configuration file.

    :raises ConfigError: it can't be read, or something in it is wrong.
    """
    try:
        with path.open("rb") as file:
            raw = tomllib.load(file)
    except OSError as error:
        raise ConfigError(path, message=f"it can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(path, message=f"it is not TOML: {error}") from None
    return _config(Table(path, "", raw, LATER))


def _config(root: Table) -> Config:
    insecure = root.flag("insecure", False)
    http = _http(root.table("http"), insecure)
    bosh = _bosh(root.table("bosh"), None, insecure)
    host: dict[str, Bosh] = {}
    for table in (root.table("host").table(name) for name in root.table("host").names()):
        name = _host(table)
        if name in host:
            raise ConfigError(root.file, key=table.name, message="this host is there twice, in another spelling")
        host[name] = _bosh(table, bosh, insecure)
    passwords = _passwords(root.table("passwords"))
    extauth = _extauth(root.table("extauth"))
    admins = _admins(root.table("admins"))
    policy = _policy(root.table("policy"))
    log = _log(root.table("log"))
    root.refuse_unknown()
    return Config(root.file, http, bosh, passwords, extauth, admins, policy, log, insecure, host)


def _http(table: Table, insecure: bool) -> Http:
    listen = table.texts("listen", ("tcp:5281:interface=127.0.0.1",), single=True)
    if not listen:
        raise table.error("listen", f"give {ENDPOINT}")
    for description in listen:
        try:
            place = listening.examine(description)
        except ValueError as error:
            raise table.error("listen", f"{error}; give {ENDPOINT}", description) from None
        if place.kind == "tcp" and not listening.is_loopback(place.interface) and not insecure:
            raise table.error(
                "listen",
                "passwords would cross the network in plain http: add interface=127.0.0.1, "
                "use ssl:, or set insecure = true if a tunnel protects it",
                description,
            )
    table.refuse_unknown()
    return Http(listen)


def _bosh(table: Table, common: Bosh | None, insecure: bool) -> Bosh:
    url = table.text("url", common.url if common else "http://127.0.0.1:5282/bosh")
    parts = _parts(url)
    if parts is None:
        raise table.error("url", 'give the address of the connection manager, such as "http://127.0.0.1:5282/bosh"')
    if parts.username is not None or parts.password is not None:
        raise table.error("url", "it must not hold a user name or password", "(not shown)")
    if parts.scheme == "http" and not listening.is_loopback(parts.hostname or "") and not insecure:
        raise table.error("url", "passwords would cross the network in plain http: use https, or set insecure = true")
    ca_file = table.path("ca_file", common.ca_file if common else None)
    if ca_file is not None:
        try:
            certificates = load_pem_x509_certificates(ca_file.read_bytes())
        except OSError as error:
            raise table.error("ca_file", f"it can't be read ({error.strerror}); give a PEM file") from None
        except ValueError:
            certificates = []
        if not certificates:
            raise table.error("ca_file", "there is no certificate in it; give a PEM file")
    public_url = table.optional_text("public_url", common.public_url if common else None)
    if public_url is not None and _parts(public_url) is None:
        raise table.error("public_url", 'give an http or https address, such as "https://example.org/bosh"')
    timeout = table.number("timeout", common.timeout if common else 10, 0.1, 300)
    connections = table.integer("connections", common.connections if common else 8, 1, 1000)
    table.refuse_unknown()
    return Bosh(url, ca_file, public_url, timeout, connections)


def _parts(url: str) -> SplitResult | None:
    """The parts of an http or https address; ``None`` if it is no such address."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable and re.fullmatch(r"[!-~]+", url) else None


def _host(table: Table) -> str:
    name = table.name.partition(".")[2]
    try:
        return prepare_host(name)
    except InvalidJID as error:
        raise ConfigError(table.file, key=f'host."{name}"', message=str(error)) from None


def _passwords(table: Table) -> Passwords:
    store = table.text("store", "sqlite")
    if store.startswith(("redis:", "rediss:", "unix:")):
        raise table.error("store", f"the redis store is not there yet: give {STORE}", store.split(":")[0] + ":…")
    is_path = store.startswith("sqlite:///") and len(store) > len("sqlite:///")
    if not is_path and store not in ("sqlite", "sqlite://:memory:"):
        raise table.error("store", f"give {STORE}")
    lifetime = table.number("lifetime", 30, 1, 3600)
    table.refuse_unknown()
    return Passwords(store, lifetime)


def _extauth(table: Table) -> Extauth:
    users = table.choice("users", "known", ("known", "none", "any"))
    users_file = table.path("users_file", None)
    table.refuse_unknown()
    return Extauth(users, users_file)


def _admins(table: Table) -> Admins:
    file = table.path("file", None)
    table.refuse_unknown()
    if file is None:
        raise ConfigError(
            table.file,
            key="admins.file",
            message="nobody could use warmside: give a file with lines NAME:HASH, "
            "each made with `warmside hash-password NAME`",
        )
    return Admins(file)


def _policy(table: Table) -> Policy:
    hosts = set()
    for host in table.texts("hosts", ()):
        try:
            hosts.add(prepare_host(host))
        except InvalidJID as error:
            raise table.error("hosts", f"{error}; give virtual hosts of ejabberd", host) from None
    users = _patterns(table, "users", ("*",))
    protected = _patterns(table, "protected", ("admin@*", "administrator@*", "root@*"))
    table.refuse_unknown()
    return Policy(frozenset(hosts), users, protected)


def _patterns(table: Table, key: str, default: tuple[str, ...]) -> tuple[Pattern, ...]:
    patterns = []
    for text in table.texts(key, default):
        try:
            patterns.append(Pattern.parse(text))
        except InvalidJID as error:
            raise table.error(key, f"{error}; give {PATTERN}", text) from None
    return tuple(patterns)


def _log(table: Table) -> Log:
    file = table.path("file", None)
    form = table.choice("format", "text", ("text", "json"))
    table.refuse_unknown()
    return Log(file, form)
