"""Read ``[shared]``: the Redis that several machines share."""

import re
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from warmside.config import endpoints, files
from warmside.config.reloading import FileRefused, read_guarded
from warmside.config.settings import RedisPlace, Shared
from warmside.config.tables import Table
from warmside.config.urls import MAX_SOCKET_PATH, is_host, may_be_certified

EXPECTED = 'give "redis://[USER@]HOST[:PORT][/DB]", "rediss://[USER@]HOST[:PORT][/DB]" or "redis+unix:///PATH"'
PORT = 6379
MAX_DATABASE = 9999
MAX_USER = 256
"""Characters of Redis's user."""
PREFIX = re.compile(r"[!-~]{1,64}")
MAX_PASSWORD = 1024
"""Bytes of the file of Redis's password."""
SECRET = "(not shown)"  # noqa: S105 - shown instead of a value that may contain a password


def shared(table: Table, insecure: bool) -> Shared:
    """Read the table.

    :raises ConfigError: a key or value is invalid, or passwords would cross the network in plain text.
    """
    url = table.optional_text("url", None)
    password_file = table.path("password_file", None)
    ca_file = files.ca_file(table, None)
    prefix = table.text("prefix", Shared.prefix)
    table.reject_unknown()
    if url is None:
        for key in ("password_file", "ca_file", "prefix"):
            if table.has(key):
                raise table.error(key, f"it is for shared.url, which is not set: set url or remove {key}")
        return Shared()
    place = _place(table, url, insecure)
    if ca_file is not None and not place.tls:
        raise table.error("ca_file", "it verifies a rediss: shared.url, which is not set: set url or remove ca_file")
    if place.user is not None and password_file is None:
        raise table.error("url", "its user needs a password: set shared.password_file", SECRET)
    if PREFIX.fullmatch(prefix) is None:
        raise table.error("prefix", "give 1 to 64 printable ASCII characters without a space")
    return Shared(url, place, password_file, ca_file, prefix)


def read_password(path: Path) -> str:
    """Return Redis's password in a file: its only line.

    :raises FileRefused: the file can't be read, others can write to it, or it is not one line.
    """
    text = read_guarded(path, MAX_PASSWORD).rstrip("\r\n")
    if not text or not text.isprintable():
        raise FileRefused("expected one line, the password, of printable characters")
    return text


def _place(table: Table, url: str, insecure: bool) -> RedisPlace:
    """Return the place that a URL names. Errors show no URL that may contain a password."""
    shown = SECRET if set(url) & set("@?#") else url
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise table.error("url", EXPECTED, shown) from None
    if parts.password is not None:
        raise table.error("url", "it contains a password: put that into the file of shared.password_file", SECRET)
    if not re.fullmatch(r"[!-~]+", url) or parts.query or parts.fragment or "?" in url or "#" in url:
        raise table.error("url", EXPECTED, shown)
    if parts.scheme == "redis+unix":
        return _socket(table, parts, shown)
    host, tls = parts.hostname or "", parts.scheme == "rediss"
    is_place = parts.scheme in ("redis", "rediss") and is_host(host) and port != 0 and not parts.netloc.endswith(":")
    database = parts.path.removeprefix("/") or "0"
    is_database = re.fullmatch(r"[0-9]{1,4}", database) and int(database) <= MAX_DATABASE
    user = unquote(parts.username) if parts.username else None
    is_user = user is None or (user.isprintable() and " " not in user and len(user) <= MAX_USER)
    if not is_place or not is_database or not is_user or ("@" in parts.netloc and user is None):
        raise table.error("url", EXPECTED, shown)
    if tls and not may_be_certified(host):
        raise table.error("url", "no certificate has this host name: use another name of this host, without _", shown)
    if not tls and not endpoints.is_loopback(host) and not insecure:
        raise table.error(
            "url",
            "Redis's password and all data would cross the network in plain text: use rediss:, or set insecure = true",
            shown,
        )
    return RedisPlace(host, port or PORT, tls, None, user, int(database))


def _socket(table: Table, parts: SplitResult, shown: str) -> RedisPlace:
    path = unquote(parts.path)
    if parts.netloc or not path.startswith("/") or not path.strip("/") or "\0" in path:
        raise table.error("url", EXPECTED, shown)
    if len(path.encode("utf-8", "surrogateescape")) > MAX_SOCKET_PATH:
        raise table.error("url", f"the path of a unix socket has at most {MAX_SOCKET_PATH} bytes", shown)
    return RedisPlace("", 0, False, Path(path), None, 0)
