"""Checks of the connection managers: does BOSH answer at ``bosh.url``, and is it the ejabberd of ``ejabberd.yml``."""

import os
import re
import socket
import ssl
import sys
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.threads import deferToThread

from warmside.bosh.errors import BoshError, CertificateRejected, InvalidResponse
from warmside.bosh.transport import ConnectionManager
from warmside.config.endpoints import Place, is_loopback
from warmside.config.settings import Bosh
from warmside.doctor import edits
from warmside.doctor.context import Context
from warmside.doctor.ejabberd import Listener
from warmside.doctor.serving import answer_at
from warmside.findings import RESTART_WARMSIDE, Finding, make

TIMEOUT = 3.0
"""Seconds for one look at a server."""
STREAM = (
    b"<?xml version='1.0'?><stream:stream to='localhost' xmlns='jabber:client' "
    b"xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
)
LISTENING = "0A"
"""State of a listening socket in /proc/net/tcp."""
MAX_TABLE = 8 << 20
"""Bytes of /proc/net/tcp that are read."""


async def manager_finding(context: Context, settings: Bosh, manager: ConnectionManager, reactor: Any) -> Finding | None:
    """Return what is wrong at ``bosh.url``; ``None`` if BOSH answers there as it should.

    :param settings: those of the manager.
    """
    url = settings.url
    try:
        await Deferred.fromCoroutine(manager.check()).addTimeout(TIMEOUT, reactor)
    except CertificateRejected as error:
        return make("bosh-certificate", url=url, fault=error, cure=set_url(context, settings, "certificate"))
    except TimeoutError:
        return _unreachable(context, settings, f"no response within {TIMEOUT:g} s")
    except BoshError as error:
        kind = await deferToThread(peer_kind, url)
        fault = {
            "tls": "the port speaks TLS, and bosh.url is http:",
            "plain": "the port does not speak TLS, and bosh.url is https:",
            "xmpp": "it speaks XMPP over TCP",
            "warmside": "it is warmside itself",
        }.get(kind) or (str(error) if isinstance(error, InvalidResponse) else None)
        if fault is None:
            return _unreachable(context, settings, str(error))
        return make("bosh-not-bosh", url=url, fault=fault, cure=set_url(context, settings, kind))
    fault = await deferToThread(_elsewhere, context, url)
    if fault is not None:
        return make("bosh-elsewhere", url=url, fault=fault, cure=set_url(context, settings, "elsewhere"))
    return None


def _unreachable(context: Context, settings: Bosh, fault: str) -> Finding:
    cure = "Start ejabberd." if context.ejabberd_process is None else set_url(context, settings, "unreachable")
    return make("bosh-unreachable", url=settings.url, fault=fault, cure=cure)


def dead_finding(url: str) -> Finding:
    """Return the finding for an ejabberd that has given up BOSH."""
    fault = "ejabberd has given up BOSH for all hosts, as after a program that exits at once (internal-server-error)"
    cure = "Restart ejabberd, after the cure of extauth_program, if that is named, too."
    return make("bosh-unreachable", url=url, fault=fault, cure=cure)


def peer_kind(url: str) -> str:
    """Return what answers at a URL, as far as it can be seen: ``tls``, ``plain``, ``xmpp``, ``warmside`` or ````."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    if not port:
        return ""
    with suppress(OSError), socket.create_connection((host, port), TIMEOUT) as sock:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(sock, server_hostname=host):
            return "tls" if parts.scheme == "http" else ""
    with suppress(OSError), socket.create_connection((host, port), TIMEOUT) as sock:
        sock.sendall(STREAM)
        if b"<stream:" in sock.recv(1024):
            return "xmpp"
    if answer_at(Place("tcp", host, port))[0] == "warmside":
        return "warmside"
    with suppress(OSError), socket.create_connection((host, port), TIMEOUT):
        return "plain" if parts.scheme == "https" else ""
    return ""


def bosh_listeners(context: Context) -> list[tuple[Listener, str]]:
    """Return the listeners of ``ejabberd.yml`` that serve BOSH, each with a path."""
    if context.ejabberd is None:
        return []
    return [
        (listener, path)
        for listener in context.ejabberd.listeners
        if listener.module == "ejabberd_http"
        for path, module in listener.handlers.items()
        if module == "mod_bosh"
    ]


def set_url(context: Context, settings: Bosh, kind: str) -> str:
    """Return what sets ``bosh.url`` to a listener of ``ejabberd.yml``."""
    config = context.config
    assert config is not None
    table = "bosh"
    if config.bosh.url != settings.url:
        table = next(f'host."{host}"' for host, each in config.host.items() if each.url == settings.url)
    urls = [
        url for listener, path in bosh_listeners(context) if (url := _url(listener, path)) not in (None, settings.url)
    ]
    if urls:
        command = edits.set_toml(context.options.config, table, "url", f'"{urls[0]}"')
        return f"{RESTART_WARMSIDE}\n{command}"
    if kind == "certificate":
        return f"Set ca_file in [{table}] to the PEM file of the certificate's authority. {RESTART_WARMSIDE}"
    return (
        f"Set url in [{table}] of {context.options.config} to the address of ejabberd's listener with "
        f"/bosh: mod_bosh. {RESTART_WARMSIDE}"
    )


def _url(listener: Listener, path: str) -> str | None:
    """Return the loopback URL of a listener without TLS; ``None`` if it has none."""
    if listener.options.get("tls") in (True, "true") or not isinstance(listener.port, int):
        return None
    host = {"": "127.0.0.1", "::1": "[::1]"}.get(listener.ip, listener.ip)
    return f"http://{host}:{listener.port}{path}" if is_loopback(host) else None


def _elsewhere(context: Context, url: str) -> str | None:
    """Return why BOSH at a URL is not that of the ejabberd given; ``None`` if it is, or this can't be determined."""
    ejabberd, process, parts = context.ejabberd, context.ejabberd_process, urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    if ejabberd is None or port is None:
        return None
    listen_known = ejabberd.complete and not ejabberd.is_unsure("listen")
    if listen_known and not any(listener.port == port for listener, _ in bosh_listeners(context)):
        return f"{ejabberd.path} has no listener with mod_bosh on port {port}"
    if process is None or _network_of(process.pid) != _network_of(os.getpid()):
        return None
    address = _peer_address(parts.hostname or "", port)
    if address is None:
        return None
    if not _is_local(address):
        return f"{address} is an address of another machine"
    owned = _owns(process.pid, address, port)
    return f"the process that listens there is not the ejabberd of {ejabberd.path}" if owned is False else None


def owned_by_ejabberd(context: Context, url: str) -> bool | None:
    """Return True if the ejabberd given listens at a URL; ``None`` if this can't be determined."""
    process, parts = context.ejabberd_process, urlsplit(url)
    if process is None or parts.port is None or _network_of(process.pid) != _network_of(os.getpid()):
        return None
    address = _peer_address(parts.hostname or "", parts.port)
    return None if address is None else _owns(process.pid, address, parts.port)


def _network_of(pid: int) -> str | None:
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/net")
    return None


def _peer_address(host: str, port: int) -> str | None:
    with suppress(OSError), socket.create_connection((host, port), TIMEOUT) as sock:
        return str(sock.getpeername()[0])
    return None


def _is_local(address: str) -> bool:
    """True if an IP address is one of this machine."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            return False
    return True


def _owns(pid: int, address: str, port: int) -> bool | None:
    """Return True if a process holds a listening socket of an address and port; ``None`` if this can't be determined.

    A socket of the exact address gets the connections, if there is one beside that of all addresses.
    """
    exact: set[str] = set()
    any_address: set[str] = set()
    try:
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            if Path(table).exists():
                with open(table) as file:
                    rows = [line.split() for line in file.read(MAX_TABLE).splitlines()[1:]]
                for row in rows:
                    listening_at, _, listening_port = row[1].rpartition(":")
                    if row[3] == LISTENING and int(listening_port, 16) == port:
                        listener = _address_of(listening_at)
                        if listener == ip_address(address):
                            exact.add(row[9])
                        elif listener.is_unspecified:
                            any_address.add(row[9])
        held = {match[1] for fd in os.listdir(f"/proc/{pid}/fd") if (match := _socket_of(pid, fd))}
    except (OSError, IndexError, ValueError):
        return None
    inodes = exact or any_address
    return bool(inodes & held) if inodes else None


def _address_of(text: str) -> IPv4Address | IPv6Address:
    """Return an address of /proc/net: words of 32 bits, in hexadecimal, in the byte order of the machine."""
    words = [bytes.fromhex(text[start : start + 8]) for start in range(0, len(text), 8)]
    found = ip_address(b"".join(word[::-1] if sys.byteorder == "little" else word for word in words))
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _socket_of(pid: int, fd: str) -> "re.Match[str] | None":
    with suppress(OSError):
        return re.fullmatch(r"socket:\[([0-9]+)\]", os.readlink(f"/proc/{pid}/fd/{fd}"))
    return None
