"""Checks of ejabberd's listeners, and of the version that is installed."""

from collections.abc import Iterator
from dataclasses import dataclass

from warmside.config.endpoints import is_loopback
from warmside.config.urls import split_url
from warmside.doctor import edits, processes
from warmside.doctor.context import Context
from warmside.doctor.ejabberd import Ejabberd, Listener, as_flag
from warmside.findings import RESTART, Finding, make

MAX_PASSWORD_STANZA = 65_500
"""Bytes of a stanza. A longer password does not fit into a frame of extauth."""
NEWEST_WITH_HOLES = (26, 7)
"""The first version of ejabberd without the holes that matter."""
UNIX = "http+unix://"


@dataclass(frozen=True)
class Target:
    """Where a ``bosh.url`` leads. ``port`` is a number or ``unix:PATH``."""

    host: str
    port: int | str
    path: str


def target_of(url: str) -> Target | None:
    """Return where a ``bosh.url`` leads; ``None`` if it is no URL."""
    if url.startswith(UNIX):
        socket, _, path = url.removeprefix(UNIX).rpartition(".sock:")
        return Target("localhost", f"unix:{socket}.sock", path)
    parts = split_url(url)
    if parts is None:
        return None
    return Target(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80), parts.path or "/")


def no_handler(context: Context) -> Iterator[Finding]:
    """Find a ``bosh.url`` on this machine whose port is no BOSH listener."""
    config, ejabberd = context.config, context.ejabberd
    if config is None or ejabberd is None or ejabberd.is_unsure("listen"):
        return
    for url in dict.fromkeys(config.bosh_for(host).url for host in context.hosts):
        target = target_of(url)
        if target is None or not is_loopback(target.host):
            continue
        same_port = [it for it in ejabberd.listeners if it.port == target.port and it.module == "ejabberd_http"]
        if any(_serves(listener, target.path) for listener in same_port):
            continue
        where = _where(ejabberd)
        cure = _handler(ejabberd, same_port[0] if same_port else None, target)
        yield make("no-handler", where=where, port=f"port {target.port}", path=target.path, url=url, cure=cure)


def _serves(listener: Listener, path: str) -> bool:
    return any(key.strip("/") == path.strip("/") and it == "mod_bosh" for key, it in listener.handlers.items())


def _where(ejabberd: Ejabberd) -> object:
    entry = ejabberd.entry("listen")
    return ejabberd.path if entry is None else entry.place


def _handler(ejabberd: Ejabberd, listener: Listener | None, target: Target) -> str:
    if listener is None:
        port = f'"{target.port}"' if isinstance(target.port, str) else str(target.port)
        ip = [] if isinstance(target.port, str) else ['  ip: "127.0.0.1"']
        handlers = ["  request_handlers:", f"    {target.path}: mod_bosh"]
        return edits.add(ejabberd, "listen", [f"- port: {port}", *ip, "  module: ejabberd_http", *handlers])
    handler = listener.entry.value.get("request_handlers")
    if handler is not None:
        return f"{RESTART}\n{edits.add_to(handler, [f'{target.path}: mod_bosh'])}"
    module = listener.entry.value.get("module")
    assert module is not None
    indent = " " * module.place.column
    lines = [f"{indent}request_handlers:", f"{indent}  {target.path}: mod_bosh"]
    return f"{RESTART}\n{edits.insert_below(module.place, lines)}"


def c2s_listeners(context: Context) -> Iterator[Finding]:
    """Find listeners that take passwords in clear, or passwords that are too long."""
    ejabberd = context.ejabberd
    if ejabberd is None or ejabberd.is_unsure("listen") or not _asks_program(context, ejabberd):
        return
    c2s = [listener for listener in ejabberd.listeners if listener.module == "ejabberd_c2s"]
    for listener in c2s:
        if _is_on_loopback(listener):
            continue
        if not any(as_flag(listener.options.get(name)) for name in ("tls", "starttls_required")):
            cure = _set(listener, "starttls_required", "true")
            yield make("starttls", where=listener.place, port=listener.port, cure=cure)
        if not _is_limited(listener):
            yield _oversized(listener, listener, "max_stanza_size is not below 65,500")
    first = c2s[0] if c2s else None  # ejabberd applies its limit to BOSH and WebSocket, too
    if first is not None and (_is_limited(first) or not _is_on_loopback(first)):
        return
    for listener in ejabberd.listeners:
        modules = {"mod_bosh", "ejabberd_http_ws"} & set(listener.handlers.values())
        if listener.module == "ejabberd_http" and modules and not _is_on_loopback(listener):
            fault = "its limit is max_stanza_size of the first c2s listener, which is not below 65,500"
            yield _oversized(listener, first, fault)


def _oversized(listener: Listener, limiting: Listener | None, fault: str) -> Finding:
    module, port = listener.module, listener.port
    if limiting is None:
        cure = f"Put a web server that limits bodies to 64 KiB before port {port}, and set ip: 127.0.0.1."
    else:
        cure = _set(limiting, "max_stanza_size", "65000")
    return make("oversized-passwords", where=listener.place, module=module, port=port, fault=fault, cure=cure)


def _set(listener: Listener, name: str, text: str) -> str:
    """Return what sets an option of a listener."""
    entry, port = listener.entry.value.get(name), listener.entry.value.get("port")
    if entry is not None and entry.place.whole:
        return f"{RESTART}\n{edits.replace(entry.place, [f'{name}: {text}'])}"
    if entry is None and port is not None and listener.place.whole and port.place.last < listener.place.last:
        return f"{RESTART}\n{edits.insert_below(port.place, [' ' * port.place.column + f'{name}: {text}'])}"
    return f"In the listener at {listener.place}, set {name}: {text}. {RESTART}"


def _asks_program(context: Context, ejabberd: Ejabberd) -> bool:
    return any("external" in (ejabberd.names("auth_method", host) or []) for host in context.hosts)


def _is_limited(listener: Listener) -> bool:
    sizes = (listener.options.get(name) for name in ("max_stanza_size", "pre_auth_max_stanza_size"))
    return any(isinstance(size, int) and size < MAX_PASSWORD_STANZA for size in sizes)


def _is_on_loopback(listener: Listener) -> bool:
    return str(listener.port).startswith("unix:") or (bool(listener.ip) and is_loopback(listener.ip))


def old_ejabberd(context: Context) -> Iterator[Finding]:
    """Find a version of ejabberd with known holes."""
    if context.ejabberd is None and context.ejabberd_process is None:
        return
    version = processes.version_of(context.ejabberd_process)
    if version is None:
        context.miss("ejabberd's version: no folder ejabberd-VERSION was found")
    elif tuple(map(int, version.split("."))) < NEWEST_WITH_HOLES:
        yield make("old-ejabberd", version=version)
