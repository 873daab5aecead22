"""Read ``[shared]``: the Redis that several machines share."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from warmside.config import endpoints, files
from warmside.config.settings import RedisPlace, Shared
from warmside.config.tables import Table

EXPECTED = '"redis://[USER@]HOST[:PORT][/DB]", "rediss://[USER@]HOST[:PORT][/DB]" or "redis+unix:///PATH"'
PORT = 6379


def shared(table: Table, insecure: bool) -> Shared:
    """Read the table.

    :raises ConfigError: a key or value is invalid, or passwords would cross the network in plain text.
    """
    url = table.optional_text("url", None)
    place = None if url is None else _place(table, url, insecure)
    password_file = table.path("password_file", None)
    ca_file = files.ca_file(table, None)
    prefix = table.text("prefix", "warmside:")
    table.reject_unknown()
    return Shared(url, place, password_file, ca_file, prefix)


def _place(table: Table, url: str, insecure: bool) -> RedisPlace:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or PORT
    except ValueError:
        raise table.error("url", f"give {EXPECTED}") from None
    if parts.password is not None:
        raise table.error("url", "it must not contain a password: put it into shared.password_file", "(not shown)")
    user = unquote(parts.username) if parts.username else None
    if parts.scheme == "redis+unix":
        if parts.netloc or not parts.path.startswith("/"):
            raise table.error("url", f"give {EXPECTED}")
        return RedisPlace("", 0, False, Path(unquote(parts.path)), None, 0)
    if parts.scheme not in ("redis", "rediss") or not host or parts.query or parts.fragment:
        raise table.error("url", f"give {EXPECTED}")
    database = parts.path.strip("/") or "0"
    if not database.isascii() or not database.isdigit() or len(database) > 5:
        raise table.error("url", f"give {EXPECTED}")
    if parts.scheme == "redis" and not endpoints.is_loopback(host) and not insecure:
        raise table.error(
            "url",
            "one-time passwords' digests would cross the network in plain text: use rediss:, or set insecure = true",
        )
    return RedisPlace(host, port, parts.scheme == "rediss", None, user, int(database))
