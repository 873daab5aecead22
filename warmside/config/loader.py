"""Read the configuration: one TOML file into frozen dataclasses.

Defaults are here, beside the keys. Every error is a `ConfigError` that names the file, the key, the value and the fix.
"""

import tomllib
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from warmside.config import endpoints, files
from warmside.config.settings import Admins, Bosh, Config, Extauth, Http, Log, Passwords, Policy
from warmside.config.shared import shared
from warmside.config.tables import ConfigError, Table
from warmside.config.urls import MAX_SOCKET_PATH, UNIX, may_be_certified, split_unix, split_url
from warmside.jids import InvalidJID, Pattern, prepare, prepare_host

__all__ = ["DEFAULT_PATH", "Config", "ConfigError", "load"]

DEFAULT_PATH = Path("/etc/warmside/warmside.toml")

MAX_FILE = 4 << 20
"""Maximum bytes of the configuration file, and of a file of certificates."""

ENDPOINT = 'a Twisted server endpoint string such as "tcp:5281:interface=127.0.0.1"'
STORE = '"sqlite", "sqlite:///PATH" or "sqlite://:memory:"'
PATTERN = 'a pattern of bare JIDs such as "*@example.org", or "*" for every user'


def load(path: Path) -> Config:
    """Read a configuration file.

    :raises ConfigError: it can't be read, or a key or value in it is invalid.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ConfigError(path, message=f"longer than {MAX_FILE} bytes")
        raw = tomllib.loads(data.decode("utf-8-sig"))  # a byte order mark is skipped
    except OSError as error:
        raise ConfigError(path, message=f"can't be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also of integers with thousands of digits, and of deep nesting
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise ConfigError(path, message=f"not TOML: {reason[:200]}") from None
    return _config(Table(path, "", raw))


def _config(root: Table) -> Config:
    insecure = root.flag("insecure", False)
    http = _http(root.table("http"), insecure)
    bosh = _bosh(root.table("bosh"), None, insecure)
    host: dict[str, Bosh] = {}
    for table in (root.table("host").table(name) for name in root.table("host").names()):
        name = _host(table)
        if name in host:
            raise ConfigError(
                root.file, key=table.name, message="this host is configured twice, in another spelling: remove one"
            )
        host[name] = _bosh(table, bosh, insecure)
    for name, settings in host.items():
        for other in (bosh, *host.values()):
            if other.url == settings.url and other.ca_file != settings.ca_file:
                message = "another host has the same url with another ca_file: give both the same"
                raise ConfigError(root.file, key=f'host."{name}".ca_file', message=message)
    passwords = _passwords(root.table("passwords"))
    extauth = _extauth(root.table("extauth"), insecure)
    admins = _admins(root.table("admins"), root.table("admin"))
    policy = _policy(root.table("policy"))
    log = _log(root.table("log"))
    several = shared(root.table("shared"), insecure)
    root.reject_unknown()
    return Config(root.file, http, bosh, passwords, extauth, admins, policy, log, insecure, host, several)


def _http(table: Table, insecure: bool) -> Http:
    listen = table.texts("listen", ("tcp:5281:interface=127.0.0.1",), single=True)
    if not listen:
        raise table.error("listen", f"give {ENDPOINT}")
    for description in listen:
        try:
            place = endpoints.examine(description)
        except ValueError as error:
            raise table.error("listen", f"{error}; give {ENDPOINT}", description) from None
        if place.kind == "tcp" and not endpoints.is_loopback(place.interface) and not insecure:
            raise table.error(
                "listen",
                "passwords would cross the network in plain http: add interface=127.0.0.1, "
                "use ssl:, or set insecure = true if a tunnel protects it",
                description,
            )
    proxies = tuple(_network(table, text) for text in table.texts("trusted_proxies", ()))
    table.reject_unknown()
    return Http(listen, proxies)


def _network(table: Table, text: str) -> IPv4Network | IPv6Network:
    try:
        return endpoints.read_network(text)
    except ValueError:
        raise table.error("trusted_proxies", 'give IP addresses or networks, such as "10.0.0.0/8"', text) from None


def _bosh(table: Table, common: Bosh | None, insecure: bool) -> Bosh:
    url = table.text("url", common.url if common else "http://127.0.0.1:5282/bosh")
    if url.startswith(UNIX):
        _check_unix(table, url)
    else:
        _check_url(table, url, 'the URL of the connection manager, such as "http://127.0.0.1:5282/bosh"', insecure)
    ca_file = files.ca_file(table, common.ca_file if common else None)
    public_url = table.optional_text("public_url", common.public_url if common else None)
    if public_url is not None and split_url(public_url) is None:
        raise table.error("public_url", 'give an http or https URL, such as "https://example.org/bosh"')
    timeout = table.number("timeout", common.timeout if common else 10, 0.1, 300)
    connections = table.integer("connections", common.connections if common else 8, 1, 1000)
    table.reject_unknown()
    return Bosh(url, ca_file, public_url, timeout, connections)


def _host(table: Table) -> str:
    name = table.name.partition(".")[2]
    try:
        return prepare_host(name)
    except InvalidJID as error:
        raise ConfigError(table.file, key=f'host."{name}"', message=str(error)) from None


def _passwords(table: Table) -> Passwords:
    store = table.text("store", "sqlite")
    if store.startswith(("redis:", "rediss:", "redis+unix:")):
        message = f"what several machines share has a key of its own, shared.url; here give {STORE}"
        raise table.error("store", message, store.split(":")[0] + ":…")
    is_path = store.startswith("sqlite:///") and len(store) > len("sqlite:///")
    if "\0" in store or (not is_path and store not in ("sqlite", "sqlite://:memory:")):
        raise table.error("store", f"give {STORE}")
    lifetime = table.number("lifetime", 30, 1, 3600)
    table.reject_unknown()
    return Passwords(store, lifetime)


def _extauth(table: Table, insecure: bool) -> Extauth:
    listen = table.texts("listen", (), single=True)
    for description in listen:
        _check_extauth_place(table, description)
    program = files.program(table)
    copies = table.integer("program_copies", 2, 1, 100)
    url = table.optional_text("url", None)
    if url is not None:
        _check_url(table, url, 'the web application\'s URL, such as "https://example.org/extauth"', insecure)
    secret_file = table.path("secret_file", None)
    if secret_file is not None and url is None:
        raise table.error("secret_file", "it is sent to extauth.url, which is not set: set url or remove secret_file")
    ca_file = files.ca_file(table, None)
    if ca_file is not None and not (url or "").startswith("https:"):
        raise table.error("ca_file", "it verifies an https extauth.url, which is not set: set url or remove ca_file")
    authority = table.optional_text("authority", None)
    chosen = [key for key in ("program", "url", "authority") if table.has(key)]
    if len(chosen) > 1:
        raise table.error(
            chosen[1], f"extauth.{chosen[0]} is set, too: only one of them can answer for ordinary passwords"
        )
    users = table.choice("users", "known", ("known", "none", "any"))
    users_file = table.path("users_file", None)
    table.reject_unknown()
    return Extauth(listen, program, copies, url, secret_file, ca_file, authority, users, users_file)


def _check_extauth_place(table: Table, description: str) -> None:
    expected = 'give "unix:PATH", "systemd:domain=UNIX:…", or "tcp:PORT:interface=127.0.0.1"'
    try:
        place = endpoints.examine(description)
    except ValueError as error:
        raise table.error("listen", f"{error}; {expected}", description) from None
    beyond = place.kind == "tcp" and not endpoints.is_loopback(place.interface)
    if beyond or place.kind == "tls" or description.startswith("systemd:domain=INET"):
        raise table.error(
            "listen", f"passwords are checked there, so other machines must not reach it: {expected}", description
        )


def _check_unix(table: Table, url: str) -> None:
    """Check the URL of a unix socket.

    :raises ConfigError: it can't be used.
    """
    try:
        split_unix(url)
    except ValueError:
        expected = (
            f'"{UNIX}/run/ejabberd/bosh.sock:/bosh": a path that ends with .sock, at most {MAX_SOCKET_PATH} bytes'
        )
        raise table.error("url", f"give the socket's path and the path of the request, such as {expected}") from None


def _check_url(table: Table, url: str, expected: str, insecure: bool) -> None:
    """Check that passwords may be sent to the URL in ``table``.

    :param expected: the text for "give …" in an error.
    :raises ConfigError: they may not.
    """
    parts = split_url(url)
    if parts is None:
        raise table.error("url", f"give {expected}")
    if parts.username is not None or parts.password is not None:
        raise table.error("url", "it must not contain a user name or password", "(not shown)")
    if parts.scheme == "https" and not may_be_certified(parts.hostname or ""):
        raise table.error("url", "no certificate has this host name: use another name of this host, without _")
    if parts.scheme == "http" and not endpoints.is_loopback(parts.hostname or "") and not insecure:
        raise table.error("url", "passwords would cross the network in plain http: use https, or set insecure = true")


def _admins(table: Table, narrowed: Table) -> Admins:
    file = table.path("file", None)
    accounts = set()
    for text in table.texts("accounts", ()):
        jid = _bare(text)
        if jid is None:
            raise table.error("accounts", "give bare JIDs of ejabberd's accounts, local@host", text)
        accounts.add(jid)
    table.reject_unknown()
    if file is None and not accounts:
        raise ConfigError(
            table.file,
            key="admins.file",
            message="there are no admins: give a file with lines NAME:HASH, "
            "each printed by `warmside hash-password NAME`, or set admins.accounts",
        )
    policies: dict[str, Policy] = {}
    for name in narrowed.names():
        jid = _bare(name)
        key = jid if jid in accounts else name
        if file is None and key not in accounts:
            raise ConfigError(
                narrowed.file,
                key=f'admin."{name}"',
                message="not one of admins.accounts: add it there, or set admins.file",
            )
        if key in policies:
            raise ConfigError(
                narrowed.file,
                key=f'admin."{name}"',
                message="this admin is configured twice, in another spelling: remove one",
            )
        policies[key] = _policy(narrowed.table(name), protected=())
    return Admins(file, frozenset(accounts), policies)


def _bare(text: str) -> str | None:
    """The prepared bare JID; ``None`` if the text is not one."""
    try:
        jid = prepare(text)
    except InvalidJID:
        return None
    return jid.userhost() if jid.resource is None else None


def _policy(table: Table, protected: tuple[str, ...] = ("admin@*", "administrator@*", "root@*")) -> Policy:
    hosts = set()
    for host in table.texts("hosts", ()):
        try:
            hosts.add(prepare_host(host))
        except InvalidJID as error:
            raise table.error("hosts", f"{error}; give virtual hosts of ejabberd", host) from None
    users = _patterns(table, "users", ("*",))
    patterns = _patterns(table, "protected", protected)
    table.reject_unknown()
    return Policy(frozenset(hosts), users, patterns)


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
    table.reject_unknown()
    return Log(file, form)
