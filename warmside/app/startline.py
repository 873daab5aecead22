"""The line that a process logs once it serves: everything that decides where its requests go, and no secret."""

from collections.abc import Collection
from urllib.parse import urlsplit

from warmside import __version__
from warmside.app.resources import Paths
from warmside.config.settings import Config
from warmside.config.tables import printable


def start_line(config: Config, paths: Paths, admins: Collection[str]) -> str:
    """Return the line.

    :param admins: names of the admins file.
    """
    number = len(admins) + len(config.admins.accounts)
    parts = [
        f"warmside {__version__} serves {config.path}",
        f"{number} admin{'' if number == 1 else 's'}",
        f"authority {_authority(config)}",
        f"bosh.url {', '.join(each.url for each in config.managers())}",
        f"HTTP on {', '.join(config.http.listen)}",
    ]
    if config.extauth.listen:
        parts.append(f"extauth on {', '.join(config.extauth.listen)}")
    if config.shared.url is not None:
        parts.append(f"shared.url {config.shared.url}, prefix {config.shared.prefix}")
    parts.append(f"runtime folder {paths.runtime}")
    parts.append(f"state folder {paths.users.parent}" if paths.users is not None else "no state folder")
    return printable("; ".join(parts))


def _authority(config: Config) -> str:
    """Return what answers for ordinary passwords. Arguments of a program and queries of a URL may be secret."""
    extauth = config.extauth
    if extauth.program is not None:
        return f"program {extauth.program[0]}"
    if extauth.url is not None:
        parts = urlsplit(extauth.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if extauth.authority is not None:
        return extauth.authority
    return f'none, users "{extauth.users}"'
