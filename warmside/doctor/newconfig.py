"""Content of a new ``warmside.toml``, and what an existing one says."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

from warmside.config.loader import ConfigError, load
from warmside.doctor.ejabberd import Entry
from warmside.doctor.plan import BOSH_PORT, Wanted
from warmside.doctor.survey import Survey
from warmside.doctor.ymledit import Refused

HTTP_PORT = 5281


def config_text(survey: Survey, want: Wanted, admins: Path) -> str:
    """Return the content of a new ``warmside.toml``."""
    lines = ["# `warmside sample warmside.toml` prints every key with its default.", ""]
    lines += ["[admins]", f"file = {_quoted(str(admins))}"]
    if HTTP_PORT in {each.port for each in survey.ejabberd.listeners} or want.port == HTTP_PORT:
        raise Refused(f"a listener of ejabberd uses port {HTTP_PORT}, which is warmside's: give it another port")
    if want.port != BOSH_PORT:
        lines += ["", "[bosh]", f'url = "http://127.0.0.1:{want.port}/bosh"']
    if want.program is not None:
        lines += ["", "[extauth]", f"program = {_quoted(shlex.join(want.program.split()))}"]
    protected = sorted(_ejabberd_admins(survey))
    if protected:
        patterns = ", ".join(_quoted(each) for each in ("admin@*", "administrator@*", "root@*", *protected))
        lines += ["", "[policy]", "# The last ones are ejabberd's own administrators.", f"protected = [{patterns}]"]
    return "\n".join(lines) + "\n"


def _ejabberd_admins(survey: Survey) -> set[str]:
    """Return patterns of the accounts in ``acl: admin``."""
    acl = survey.ejabberd.options.get("acl")
    admin = acl.value.get("admin") if acl else None
    users = admin.value.get("user") if admin else None
    return set(_users(users)) if users else set()


def _users(entry: Entry) -> Iterator[str]:
    value = entry.value
    if value.kind == "scalar" and value.scalar != "":
        user = str(value.scalar)
        yield user if "@" in user else f"{user}@*"
    for item in value:
        if item.key:
            host = item.value.scalar if item.value.kind == "scalar" else "*"
            yield f"{item.key}@{host}"
        else:
            yield from _users(item)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def existing_config(path: Path) -> tuple[str, str | None] | None:
    """Return ``bosh.url`` and the extauth program of an existing configuration; ``None`` if there is none.

    :raises Refused: it is invalid.
    """
    if not path.exists():
        return None
    try:
        config = load(path)
    except ConfigError as error:
        raise Refused(f"{error}: correct this file, or remove it") from None
    program = config.extauth.program
    return config.bosh.url, shlex.join(program) if program else None
