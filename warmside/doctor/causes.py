"""Cures of faults that a login shows, as far as ``ejabberd.yml`` shows their cause."""

from collections.abc import Callable

from warmside.doctor import edits, files
from warmside.doctor.context import Context
from warmside.doctor.ejabberd import Ejabberd

RESTART = "Restart ejabberd."


def cure_of(context: Context, name: str, host: str) -> str:
    """Return the cure of a finding about a host.

    If the file is right already, ejabberd has not read it yet.
    """
    ejabberd = context.ejabberd
    cure = CURES[name](context, ejabberd, host) if ejabberd is not None else None
    return cure or f"{WORDS[name]} {RESTART}"


def _auth_cache(context: Context, ejabberd: Ejabberd, host: str) -> str | None:
    return None if _is_off(ejabberd, host) else edits.set_option(ejabberd, "auth_use_cache", "false", host)


def _anonymous(context: Context, ejabberd: Ejabberd, host: str) -> str | None:
    protocol = ejabberd.names("anonymous_protocol", host)
    methods = ejabberd.names("auth_method", host) or []
    if "anonymous" not in methods or protocol in (None, ["sasl_anon"]):
        return None
    return edits.set_option(ejabberd, "anonymous_protocol", "sasl_anon", host)


def _not_asked(context: Context, ejabberd: Ejabberd, host: str) -> str | None:
    methods = ejabberd.names("auth_method", host)
    if methods is not None and "external" not in methods:
        return edits.set_option(ejabberd, "auth_method", "[external]", host)
    if not _is_off(ejabberd, host):
        return edits.set_option(ejabberd, "auth_use_cache", "false", host)
    line = next((line for each, line in files.program_lines(context) if each == host), None)
    if line is None or line.kind in ("other", "none"):
        return edits.set_option(ejabberd, "extauth_program", files.new_line(context), host)
    return None


def _plain_off(context: Context, ejabberd: Ejabberd, host: str) -> str | None:
    disabled = ejabberd.names("disable_sasl_mechanisms", host) or []
    left = [each for each in disabled if each.upper() != "PLAIN"]
    if left != disabled:
        return edits.set_option(ejabberd, "disable_sasl_mechanisms", f"[{', '.join(left)}]", host)
    return None


def _unknown_host(context: Context, ejabberd: Ejabberd, host: str) -> str | None:
    if host in ejabberd.hosts:
        return None
    return edits.add(ejabberd, "hosts", [f"- {host}"])


def _is_off(ejabberd: Ejabberd, host: str) -> bool:
    common = ejabberd.flag("use_cache", True, host)
    return common is not None and ejabberd.flag("auth_use_cache", common, host) is False


CURES: dict[str, Callable[[Context, Ejabberd, str], str | None]] = {
    "auth-cache": _auth_cache,
    "anonymous": _anonymous,
    "not-asked": _not_asked,
    "plain-off": _plain_off,
    "banned": lambda context, ejabberd, host: None,
    "unknown-host": _unknown_host,
}
WORDS = {
    "auth-cache": "Set auth_use_cache: false in ejabberd.yml, if it is not there already.",
    "anonymous": "Remove anonymous from auth_method in ejabberd.yml, if it is not gone already.",
    "not-asked": "In ejabberd.yml, auth_method must contain external, auth_use_cache must be false, and "
    "extauth_program must be this warmside.",
    "plain-off": "Remove PLAIN from disable_sasl_mechanisms, and set auth_method: [external], in ejabberd.yml.",
    "banned": "Exempt loopback from mod_fail2ban in ejabberd.yml. A restart of ejabberd ends the ban.",
    "unknown-host": "Add the host to hosts in ejabberd.yml, if it is not there already.",
}
