"""Checks of the options and modules that ejabberd has for each served host."""

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

from warmside.config.endpoints import is_loopback
from warmside.doctor import access, edits
from warmside.doctor.context import Context
from warmside.doctor.ejabberd import Ejabberd, Entry
from warmside.doctor.listeners import target_of
from warmside.findings import RESTART, RESTART_WARMSIDE, Finding, make

PROTECTED = ("admin@*", "administrator@*", "root@*")
"""Default of ``policy.protected``."""
LOOPBACK = ("  access:", "    - allow:", "        ip: 127.0.0.0/8", "    - allow:", "        ip: ::1/128")
UNITS = {"": 1, "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600}
"""Seconds by the name of a unit, without the s of the plural."""
PING_ANSWER = 32
"""Seconds that ejabberd waits for an answer to a ping."""


def _where(ejabberd: Ejabberd, entry: Entry | None) -> object:
    return ejabberd.path if entry is None else entry.place


def auth_method(context: Context) -> Iterator[Finding]:
    """Find hosts that never ask an extauth program."""
    for ejabberd, host in _hosts(context, "auth_method"):
        methods = ejabberd.names("auth_method", host)
        if methods is None or "external" not in methods:
            value = "not set" if methods is None else f"[{', '.join(methods)}]"
            cure = edits.set_option(ejabberd, "auth_method", "[external]", host)
            where = _where(ejabberd, ejabberd.entry("auth_method", host))
            yield make("auth-method", host=host, where=where, value=value, cure=cure)


def auth_cache(context: Context) -> Iterator[Finding]:
    """Find hosts whose cache accepts used passwords."""
    for ejabberd, host in _hosts(context, "auth_use_cache"):
        common = ejabberd.flag("use_cache", True, host)
        if common is not None and ejabberd.flag("auth_use_cache", common, host):
            cure = edits.set_option(ejabberd, "auth_use_cache", "false", host)
            where = _where(ejabberd, ejabberd.entry("auth_use_cache", host))
            yield make("auth-cache", host=host, where=where, cure=cure)


def anonymous(context: Context) -> Iterator[Finding]:
    """Find hosts where any password is accepted."""
    for ejabberd, host in _hosts(context, "auth_method"):
        methods = ejabberd.names("auth_method", host) or []
        protocol = (ejabberd.names("anonymous_protocol", host) or ["sasl_anon"])[0]
        if "anonymous" in methods and protocol in ("login_anon", "both"):
            cure = edits.set_option(ejabberd, "anonymous_protocol", "sasl_anon", host)
            where = _where(ejabberd, ejabberd.entry("anonymous_protocol", host))
            yield make("anonymous", host=host, where=where, value=protocol, cure=cure)


def pool(context: Context) -> Iterator[Finding]:
    """Find too many extauth processes."""
    ejabberd = context.ejabberd
    hosts = [host for _, host in _hosts(context, "auth_method")]
    external = [host for host in hosts if ejabberd and "external" in (ejabberd.names("auth_method", host) or [])]
    if ejabberd is None or not external or any(ejabberd.is_unsure("extauth_pool_size", host) for host in external):
        return
    unsized = [host for host in external if ejabberd.entry("extauth_pool_size", host) is None]
    if unsized:
        fault = "extauth_pool_size is not set, so ejabberd starts one process per processor"
        cure = edits.set_option(ejabberd, "extauth_pool_size", "2", unsized[0])
        yield make("pool", where=ejabberd.path, fault=fault, cure=cure)
    pools = {host: (ejabberd.names("extauth_pool_name", host) or [host])[0] for host in external}
    if len(set(pools.values())) > 1:
        own = {host: of for host in external if (of := ejabberd.of_host.get(host, {}).get("extauth_pool_name"))}
        cures = [edits.comment_out(entry.place) for entry in own.values() if entry.place.whole]
        if "extauth_pool_name" not in ejabberd.options:
            cures.append(edits.paste(ejabberd.path, ["extauth_pool_name: warmside"]))
        fault = f"extauth_pool_name is not the same for all {len(external)} hosts, so each pool has its own processes"
        yield make("pool", where=ejabberd.path, fault=fault, cure="\n".join([RESTART, *cures]))


def forbidden_modules(context: Context) -> Iterator[Finding]:
    """Find modules with which a user can turn a warm session into a lasting login."""
    for name, module in (("mod-register", "mod_register"), ("mod-auth-fast", "mod_auth_fast")):
        for ejabberd, host in _hosts(context):
            entry = ejabberd.module(module, host)
            if entry is not None:
                yield make(name, host=host, where=entry.place, cure=edits.remove(entry, "modules"))


def missing_modules(context: Context) -> Iterator[Finding]:
    """Find hosts without mod_bosh, although a listener has its handler, and without mod_offline."""
    for ejabberd, host in _hosts(context, "modules"):
        where = _where(ejabberd, ejabberd.entry("modules", host))
        paths = [path for it in ejabberd.listeners for path, module in it.handlers.items() if module == "mod_bosh"]
        if paths and ejabberd.module("mod_bosh", host) is None:
            cure = edits.add(ejabberd, "modules", ["mod_bosh: {}"], host)
            yield make("no-mod-bosh", host=host, where=where, path=paths[0], cure=cure)
        if ejabberd.module("mod_offline", host) is None:
            cure = edits.add(ejabberd, "modules", ["mod_offline: {}"], host)
            yield make("no-offline", host=host, where=where, cure=cure)


def fail2ban(context: Context) -> Iterator[Finding]:
    """Find hosts where failed logins would ban warmside's own address."""
    for ejabberd, host in _hosts(context):
        entry = ejabberd.module("mod_fail2ban", host)
        target = target_of(context.config.bosh_for(host).url) if context.config else None
        name = target.host if target else "127.0.0.1"
        if entry is None or not is_loopback(name):
            continue
        options = entry.value.plain()
        rule = options.get("access", "none") if isinstance(options, dict) else "none"
        address = name.strip("[]") if name[:1].isdigit() or ":" in name else "127.0.0.1"
        if access.allows_address(ejabberd, host, rule, address) is False:
            others = [key for key in options if key != "access"] if isinstance(options, dict) else []
            lines = ["mod_fail2ban:", *LOOPBACK, *(f"  {key}: {json.dumps(options[key])}" for key in others)]
            cure = f"{RESTART}\n{edits.replace(entry.place, lines)}" if entry.place.whole else _words(entry)
            yield make("fail2ban", host=host, where=entry.place, cure=cure)


def _words(entry: Entry) -> str:
    return f"In {entry.place}, give {entry.key} an access rule that allows 127.0.0.0/8 and ::1/128. {RESTART}"


def ping_kills(context: Context) -> Iterator[Finding]:
    """Find hosts where mod_ping ends warm sessions before mod_bosh does."""
    for ejabberd, host in _hosts(context):
        entry = ejabberd.module("mod_ping", host)
        if entry is None or not isinstance(options := entry.value.plain(), dict):
            continue
        sends = str(options.get("send_pings", "false")) in ("true", "yes", "on", "y")
        bosh = ejabberd.module("mod_bosh", host)
        limits = bosh.value.plain() if bosh is not None and bosh.value.kind == "map" else {}
        lasts = [seconds(limits.get("max_inactivity", 30)), seconds(limits.get("max_pause", 120))]
        after = (seconds(options.get("ping_interval", 60)), seconds(options.get("ping_ack_timeout", PING_ANSWER)))
        if str(options.get("timeout_action")) != "kill" or not sends or None in (*lasts, *after):
            continue
        limit = max(each for each in lasts if each is not None)
        if sum(each for each in after if each is not None) >= limit:
            continue
        action = entry.value.get("timeout_action")
        assert action is not None
        if action.place.whole:
            cure = f"{RESTART}\n{edits.replace(action.place, ['timeout_action: none'])}"
        else:
            cure = f"In {action.place}, set timeout_action: none. {RESTART}"
        yield make("ping-kills", host=host, where=entry.place, limit=f"{limit:g}", cure=cure)


def cluster_sessions(context: Context) -> list[Finding]:
    """Note hosts whose BOSH sessions are in Mnesia, if several machines share a Redis. This is no fault.

    A session that one node has created may be unknown at another node for a moment.
    """
    if context.config is None or context.config.shared.place is None:
        return []
    hosts = []
    for ejabberd, host in _hosts(context, "modules", "default_ram_db"):
        bosh = ejabberd.module("mod_bosh", host)
        if bosh is not None:
            options = bosh.value.plain() if bosh.value.kind == "map" else {}
            common = (ejabberd.names("default_ram_db", host) or [""])[0]
            if str(options.get("ram_db_type", common)) != "redis":
                hosts.append(host)
    if hosts:
        context.notes.append(
            f"mod_bosh keeps the sessions of {', '.join(hosts)} in Mnesia: a session that is used at another node at "
            "once may not be found there (item-not-found). ram_db_type: redis in mod_bosh prevents it, but BOSH and "
            "/warm then need that Redis: give it one of its own, see docs/CLUSTER.md."
        )
    return []


def seconds(value: Any) -> float | None:
    """Return a duration of ejabberd in seconds; ``None`` if it is none."""
    match = re.fullmatch(r"\s*([0-9]+)\s*([a-z]*?)s?\s*", str(value))
    unit = UNITS.get(match[2]) if match else None
    return None if match is None or unit is None else float(match[1]) * unit


def admin_unprotected(context: Context) -> Iterator[Finding]:
    """Find accounts of ejabberd's administrators that may be warmed."""
    config = context.config
    if config is None:
        return
    for ejabberd, host in _hosts(context, "acl"):
        for jid in dict.fromkeys(access.admins(ejabberd, host)):
            if jid in config.admins.accounts or not config.policy.allows(jid, host):
                continue
            others = [(each, it) for it in context.hosts for each in access.admins(ejabberd, it)]
            names = [*_protected(context), *(each for each, it in others if config.policy.allows(each, it))]
            value = json.dumps(list(dict.fromkeys(names)), ensure_ascii=False)
            cure = f"{RESTART_WARMSIDE}\n{edits.set_toml(config.path, 'policy', 'protected', value)}"
            where = _where(ejabberd, ejabberd.entry("acl", host))
            yield make("admin-unprotected", host=host, where=where, jid=jid, config=config.path, cure=cure)


def _protected(context: Context) -> list[str]:
    raw = tomllib.loads(context.options.config.read_text(encoding="utf-8-sig"))
    return [str(each) for each in raw.get("policy", {}).get("protected", PROTECTED)]


def unknown_host(context: Context) -> Iterator[Finding]:
    """Find hosts in warmside's configuration that ejabberd does not serve."""
    config, ejabberd = context.config, context.ejabberd
    if config is None or ejabberd is None or ejabberd.is_unsure("hosts"):
        return
    for host in sorted(config.policy.hosts - set(ejabberd.hosts)):
        left = sorted(config.policy.hosts & set(ejabberd.hosts)) or list(ejabberd.hosts)
        value = json.dumps(left, ensure_ascii=False)
        cure = f"{RESTART_WARMSIDE}\n{edits.set_toml(config.path, 'policy', 'hosts', value)}"
        yield make("unknown-host", host=host, where=f"which policy.hosts of {config.path} names", cure=cure)
    for host in sorted(set(config.host) - set(ejabberd.hosts)):
        lines = edits.table_lines(config.path, f"host.{host}")
        remove = edits.comment_out_toml(config.path, *lines) if lines else f'Remove [host."{host}"] from {config.path}.'
        where = f"which {config.path} configures"
        yield make("unknown-host", host=host, where=where, cure=f"{RESTART_WARMSIDE}\n{remove}")


def _hosts(context: Context, *options: str) -> Iterator[tuple[Ejabberd, str]]:
    """Return the served hosts for which the files determine the options."""
    ejabberd = context.ejabberd
    for host in context.hosts if ejabberd is not None else ():
        assert ejabberd is not None
        unsure = [name for name in options if ejabberd.is_unsure(name, host)]
        for name in unsure:
            context.miss(f"{name} of {host}: the files do not determine it")
        if not unsure:
            yield ejabberd, host
