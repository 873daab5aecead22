"""Names, severities, texts and cures of every fault that `warmside check` names.

``/ready``, replies of HTTP and the log take their texts about the same faults from here. A text may have fields in
braces, which `make` fills in. A cure is never empty. A line that starts with ``$ `` is a command. Lines to paste at the
end of a file follow a line with the file's full path and a colon, and end the cure. Lines before them say what to do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Severity = Literal["error", "warning"]

RESTART: Final = "Restart ejabberd after this change."
RESTART_WARMSIDE: Final = "Restart warmside after this change: restart ejabberd, or the unit of the daemon."


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of a set-up. ``host`` is a prepared virtual host; ``None`` if no single one is meant."""

    name: str
    severity: Severity
    host: str | None
    says: str
    cure: str


class Kind(NamedTuple):
    """Severity and texts of all findings of one name. The texts are templates of `str.format`."""

    severity: Severity
    says: str
    cure: str = "{cure}"


KINDS: Final[Mapping[str, Kind]] = {
    # What stops the first session.
    "config": Kind("error", "{fault}"),
    "not-running": Kind(
        "error",
        "nothing answers at http.listen = {listen}: {fault}",
        "Start ejabberd, which starts warmside, or start the daemon. The reason of a failed start is in ejabberd's "
        "stderr (the journal) or in log.file.",
    ),
    "foreign-listener": Kind("error", "the program that answers at http.listen = {listen} is not warmside: {fault}"),
    "mixed-configurations": Kind("error", "{fault}"),
    "permissions": Kind("error", "the user {user} {fault}"),
    "writable": Kind("error", "users other than root and {user} can write to {path}"),
    "folders": Kind("error", "{what} {path} {fault}"),
    "program": Kind("error", "{where}: extauth_program {fault}"),
    "auth-method": Kind("error", "{where}: auth_method is {value}: it lacks external, so ejabberd never asks warmside"),
    "auth-cache": Kind(
        "error", "{where}: auth_use_cache is on: a used one-time password is accepted again, and a new one is rejected"
    ),
    "pool": Kind("warning", "{where}: {fault}"),
    "no-handler": Kind("error", "{where}: no listener on {port} has the handler {path}: mod_bosh (bosh.url = {url})"),
    "no-mod-bosh": Kind("error", "{where}: mod_bosh is not in modules, so the handler {path} can't serve BOSH"),
    "bosh-unreachable": Kind(
        "error",
        "no BOSH answer from {url}: {fault}",
    ),
    "bosh-not-bosh": Kind(
        "error",
        "the server at {url} is no BOSH connection manager: {fault}",
    ),
    "bosh-certificate": Kind(
        "error",
        "the certificate of {url} can't be verified: {fault}",
    ),
    "bosh-elsewhere": Kind(
        "error",
        "{url} leads to another ejabberd: {fault}",
    ),
    "unknown-host": Kind("error", "ejabberd does not serve the host {host}, {where}"),
    "not-asked": Kind(
        "error",
        "ejabberd rejected a new one-time password and never asked warmside about it: for this host, auth_method must "
        "contain external, extauth_program must be warmside, and auth_use_cache must be false. bosh.url must lead to "
        "the ejabberd that runs this warmside",
    ),
    "plain-off": Kind("error", "ejabberd does not offer the mechanism PLAIN, which a one-time password needs"),
    "banned": Kind("error", "ejabberd refuses the address of warmside after too many failed logins (mod_fail2ban)"),
    # What lets somebody in.
    "mod-register": Kind(
        "error", "{where}: mod_register is loaded: through a warm session a user can set a password that never expires"
    ),
    "admin-unprotected": Kind(
        "error", "{where}: {jid} is in ejabberd's acl admin, and policy of {config} lets its sessions be warmed"
    ),
    "anonymous": Kind("error", "{where}: anonymous logins (anonymous_protocol: {value}) accept any password"),
    "mod-auth-fast": Kind(
        "error", "{where}: mod_auth_fast is loaded: a one-time password can become a token that is valid for weeks"
    ),
    "old-ejabberd": Kind(
        "warning",
        "ejabberd {version} has security holes that 26.07 closes: a user with an internal password can open a session "
        "as another user, and SIDs come from a weak generator",
        "Install ejabberd 26.07 or newer. Until then use auth_method: [external] alone.",
    ),
    "starttls": Kind(
        "warning",
        "{where}: the c2s listener on {port} does not require TLS: passwords cross the network in clear",
    ),
    # What will hurt.
    "fail2ban": Kind(
        "warning", "{where}: mod_fail2ban would ban loopback, and with it all logins of warmside, after failed logins"
    ),
    "oversized-passwords": Kind(
        "warning", "{where}: the {module} listener on {port} accepts passwords that are too long for extauth: {fault}"
    ),
    "no-offline": Kind("warning", "{where}: mod_offline is not loaded: messages to users who are not online bounce"),
    "ping-kills": Kind("warning", "{where}: mod_ping with timeout_action: kill ends warm sessions before {limit} s"),
    "relay": Kind(
        "error",
        "{where}: no daemon listens on the relay's socket {socket}",
        "Start the daemon with extauth.listen = {listen}, or correct the socket in extauth_program.",
    ),
    "authority": Kind("error", "{what} that answers for ordinary passwords does not answer: {fault}"),
    "shared": Kind("error", "shared.url: {fault}"),
}
"""All names. A name is stable within a minor version."""


OBSERVED: Final[Mapping[str, str]] = {
    "auth-cache": (
        "ejabberd accepts a used password again for {host}, because its authentication cache is on: "
        "set auth_use_cache: false for this host"
    ),
    "anonymous": (
        "ejabberd accepts any password for {host}, because anonymous logins are on: "
        "remove anonymous from auth_method for this host, or set anonymous_protocol: sasl_anon"
    ),
    "not-asked": KINDS["not-asked"].says,
    "bosh-elsewhere": (
        "ejabberd rejected a new one-time password and asked the warmside of another machine about it: bosh.url leads "
        "to another node's ejabberd or to a balancer, and must lead to the node of this machine"
    ),
    "banned": "the usual cause is mod_fail2ban, after failed logins from warmside's address: exempt loopback",
    "unknown-host": "ejabberd does not serve this host, or it has given up BOSH and must be restarted",
}
"""Texts about faults that a login shows, by the name of the finding. Replies and the log use them, too."""


def observed(name: str, host: str, cure: str) -> Finding:
    """Return the finding for a fault that a login shows; its text is that of `OBSERVED`."""
    return Finding(name, KINDS[name].severity, host, OBSERVED[name].format(host=host), cure)


def make(name: str, *, host: str | None = None, **fields: object) -> Finding:
    """Return a finding of a name in `KINDS`.

    :param host: the virtual host that it is about; also a field of the texts.
    :param fields: the other fields of the texts; ``cure`` where the table has no text for it.
    :raises KeyError: there is no such name, or a field is missing.
    """
    kind = KINDS[name]
    values = {"host": host} | fields
    return Finding(name, kind.severity, host, kind.says.format_map(values), kind.cure.format_map(values))
