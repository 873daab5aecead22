"""URLs in the configuration."""

import re
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

import idna

HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
"""Host names in URLs. ``_`` is not valid in the DNS, but it is in names of containers."""
MAX_HOST_NAME = 253
"""Characters."""
UNIX = "http+unix://"
MAX_SOCKET_PATH = 107
"""Bytes of the path of a unix socket in Linux."""


def split_url(url: str) -> SplitResult | None:
    """Return the parts of an http or https URL; ``None`` for anything else."""
    try:
        parts = urlsplit(url)
        has_port = parts.port != 0 and not parts.netloc.endswith(":")
        usable = parts.scheme in ("http", "https") and is_host(parts.hostname or "") and has_port
    except ValueError:
        return None
    return parts if usable and re.fullmatch(r"[!-~]+", url) else None


def is_host(host: str) -> bool:
    """True if a URL's host is an IP address without a zone, or a name that the system's resolver may know."""
    try:
        ip_address(host)
        return "%" not in host
    except ValueError:
        return HOST_NAME.fullmatch(host) is not None and len(host) <= MAX_HOST_NAME


def may_be_certified(host: str) -> bool:
    """True if a certificate may have this host: an IP address, or a name that IDNA accepts (RFC 5891)."""
    with suppress(ValueError):
        ip_address(host)
        return True
    try:
        idna.encode(host)
    except UnicodeError:
        return False
    return True


def split_unix(url: str) -> tuple[str, str]:
    """Split the URL of a unix socket, such as ``http+unix:///run/ejabberd/bosh.sock:/bosh``, at its last ``.sock:``.

    :returns: the socket's path, and the http URL of a request: its host is ``localhost``.
    :raises ValueError: the URL is not of this form, its path is not absolute, or too long for the system.
    """
    path, separator, target = url.removeprefix(UNIX).rpartition(".sock:")
    path += ".sock"
    usable = url.startswith(UNIX + "/") and separator and target.startswith("/") and re.fullmatch(r"[!-~]+", url)
    if not usable or len(path) > MAX_SOCKET_PATH:
        raise ValueError(url)
    return path, "http://localhost" + target
