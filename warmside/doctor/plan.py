"""Plan the files and lines of `warmside setup`. Nothing is written here."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from warmside.config.urls import split_url
from warmside.doctor import ymledit
from warmside.doctor.ejabberd import Listener, as_flag, has_unsure
from warmside.doctor.survey import Survey, options_of
from warmside.doctor.ymledit import Refused, flow

HEADER = '# Written by "warmside setup"; "warmside setup --remove" deletes this file, unless it was changed. Checksum: '
BOSH_PORT = 5282
POOL: Final = {"extauth_pool_name": "warmside", "extauth_pool_size": 2}
LOOPBACK = ("127.0.0.1", "::1", "localhost")
PASSWORDS_FIXED = (26, 7)
"""First version of ejabberd in which a user with an internal password can't open a session as another user."""


@dataclass(frozen=True)
class Places:
    """Files and folders outside the configuration's own folder."""

    tmpfiles: Path = Path("/etc/tmpfiles.d/warmside.conf")
    runtime: Path = Path("/run/warmside")
    state: Path = Path("/var/lib/warmside")


@dataclass
class Wanted:
    """Lines of ejabberd: options for ``warmside.yml``, options that have to go, and what only a person can decide."""

    lines: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    by_hand: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    program: str | None = None
    """The extauth program that ejabberd runs now."""
    port: int = BOSH_PORT


def own(text: str) -> bytes:
    """Return a file's content with the header by which `is_own` knows it."""
    return f"{HEADER}{_digest(text.encode())}\n{text}".encode()


def is_own(data: bytes) -> bool:
    """True if setup wrote this content, and nothing was changed since."""
    first, _, rest = data.partition(b"\n")
    return first == f"{HEADER}{_digest(rest)}".encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def wanted(survey: Survey, program: str, bosh_url: str | None, previous: str | None) -> Wanted:
    """Return the lines that ejabberd needs.

    :param program: command line of warmside.
    :param bosh_url: ``bosh.url`` of an existing configuration.
    :param previous: the line ``auth_method`` that an earlier setup wrote.
    """
    want = Wanted()
    raw = ymledit.parsed(survey.original)
    for name, value in _options(survey, program, want, previous):
        entry = survey.ejabberd.options.get(name)
        before = raw.get(name)
        if entry is None:
            want.lines.append(f"{name}: {value}")
        elif before is None:
            want.by_hand.append(f"an included file sets {name}: change it there to {name}: {value}")
        elif has_unsure(entry.value) or ymledit.shape(before.value) != ymledit.shape(entry.value):
            want.by_hand.append(f"{survey.path}:{before.place.first}: {name} is a macro: set {name}: {value}")
        else:
            want.lines.append(f"{name}: {value}")
            want.replaced.append(name)
    _hosts(survey, want)
    _listener(survey, want, bosh_url)
    _modules(survey, want)
    return want


def _options(survey: Survey, program: str, want: Wanted, previous: str | None) -> Iterator[tuple[str, str]]:
    """Return the options that do not hold yet, with the values that they need."""
    ejabberd = survey.ejabberd
    methods = ejabberd.names("auth_method") or []
    if "anonymous" in methods:
        want.by_hand.append(f"{survey.path}: auth_method has anonymous, which accepts any password: remove it")
    elif "external" not in methods:
        yield "auth_method", previous or _auth_method(survey, methods, want)
    entry = ejabberd.options.get("auth_use_cache")
    if entry is None or as_flag(entry.value.scalar) is not False:
        yield "auth_use_cache", "false"
    entry = ejabberd.options.get("extauth_program")
    current = str(entry.value.scalar) if entry else ""
    if not is_warmside(current):
        want.program = current or None
        yield "extauth_program", flow(program)
    for name, value in POOL.items():
        if name not in ejabberd.options:
            yield name, str(value)
    disabled = ejabberd.names("disable_sasl_mechanisms") or []
    if "x-oauth2" not in {each.lower() for each in disabled}:
        yield "disable_sasl_mechanisms", flow([*disabled, "X-OAUTH2"])


def is_warmside(program: str) -> bool:
    """True if a command line of ``extauth_program`` runs warmside."""
    words = program.split()
    names = [Path(word).name for word in words]
    return "warmside" in names and bool({"extauth", "relay"} & set(words))


def _auth_method(survey: Survey, methods: list[str], want: Wanted) -> str:
    others = [method for method in methods if method != "internal"]
    internal = survey.accounts or (survey.accounts is None and bool(methods))
    if not methods or "internal" in methods:
        kept = "[internal, external]: their passwords stay valid" if internal else "[external]"
        want.notes.append(f"internal accounts: {survey.reason}; auth_method becomes {kept}")
    if others or internal:
        chosen = [*(["internal"] if internal and not others else methods), "external"]
        version = survey.version
        if version is None or tuple(int(part) for part in version.split(".")) < PASSWORDS_FIXED:
            want.notes.append(
                f"warning: in ejabberd before 26.07 (here: {version or 'unknown'}) a user with an internal password "
                "can open a session as any other user of the host: upgrade ejabberd, or use auth_method: [external]"
            )
        return f"[{', '.join(chosen)}]"
    return "[external]"


def _hosts(survey: Survey, want: Wanted) -> None:
    """Name the options of single hosts that setup does not change."""
    names = ("auth_method", "auth_use_cache", "extauth_program", "disable_sasl_mechanisms", "extauth_pool_name")
    ejabberd = survey.ejabberd
    for host, options in ejabberd.of_host.items():
        for name in names:
            entry = options.get(name)
            if entry is None:
                continue
            place = f"{survey.path}:{entry.place.first}: host_config of {host}"
            methods = ejabberd.names("auth_method", host) or []
            if name == "auth_method" and ("external" not in methods or "anonymous" in methods):
                want.by_hand.append(f"{place}: add external to auth_method, without anonymous, or remove the line")
            elif name == "auth_use_cache" and ejabberd.flag(name, True, host) is not False:
                want.by_hand.append(f"{place}: set auth_use_cache: false, or remove the line")
            elif name == "extauth_program" and not is_warmside(str(entry.value.scalar)):
                want.by_hand.append(f"{place}: remove extauth_program; one program serves all hosts")
        if "modules" in options and options["modules"].value.get("mod_bosh") is None:
            place = f"{survey.path}:{options['modules'].place.first}: host_config of {host}"
            want.by_hand.append(f"{place}: add to modules: mod_bosh: {{}}")


def _listener(survey: Survey, want: Wanted, bosh_url: str | None) -> None:
    """Choose the listener at which warmside logs in: that of ``bosh.url``, or one on loopback, or a new one."""
    listeners = survey.ejabberd.listeners
    if any(has_unsure(listener.entry.value) for listener in listeners):
        want.by_hand.append(f"{survey.path}: a listener has a value that the file does not determine")
    usable = [each.port for each in listeners if is_usable(each) and isinstance(each.port, int)]
    taken = {each.port for each in listeners}
    if bosh_url is not None:
        url = split_url(bosh_url)
        if url is None or url.hostname not in LOOPBACK or url.port is None or url.port in taken:
            return  # the administrator's choice; `warmside check` examines it
        want.port = url.port
    elif usable:
        want.port = BOSH_PORT if BOSH_PORT in usable else usable[0]
        return
    else:
        want.port = next(port for port in range(BOSH_PORT, 65536) if port not in taken)
    want.lines += [
        "listen:",
        f"  - port: {want.port}",
        '    ip: "127.0.0.1"',
        "    module: ejabberd_http",
        "    request_handlers:",
        "      /bosh: mod_bosh",
    ]


def is_usable(listener: Listener) -> bool:
    """True if warmside can log in at this listener: BOSH without TLS, reachable on 127.0.0.1."""
    tls = as_flag(str(listener.options.get("tls", "false")))
    on_loopback = listener.ip in ("", "127.0.0.1")
    return listener.module == "ejabberd_http" and on_loopback and tls is False and (
        listener.handlers.get("/bosh") == "mod_bosh"
    )  # fmt: skip


def _modules(survey: Survey, want: Wanted) -> None:
    modules = survey.ejabberd.options.get("modules")
    loaded = {entry.key for entry in modules.value} if modules else set()
    if modules is not None and modules.value.kind not in ("map", "list"):
        want.by_hand.append(f"{survey.path}:{modules.place.first}: modules is not determined by the file")
    missing = [name for name in ("mod_bosh", "mod_disco") if name not in loaded]
    if missing:
        want.lines += ["modules:", *(f"  {name}: {{}}" for name in missing)]
    for name, reason in (
        ("mod_register", "a user could set a password that never expires"),
        ("mod_auth_fast", "a one-time password could become a token that is valid for weeks"),
    ):
        if name in loaded:
            want.notes.append(f"by hand: remove {name} from modules in {survey.path}: {reason}")
    found = modules.value.get("mod_fail2ban") if modules else None
    if found is not None and found.value.get("access") is None:
        rules = survey.ejabberd.options.get("access_rules")
        acl = survey.ejabberd.options.get("acl")
        lines = [
            "by hand: twenty failed logins ban loopback, and with it warmside. Add the missing ones of these lines:"
        ]
        if not (rules and rules.value.get("trusted_network")):
            lines += ["  access_rules:", "    trusted_network:", "      allow: loopback"]
            if not (acl and acl.value.get("loopback")):
                lines += ["  acl:", "    loopback:", '      ip: [127.0.0.0/8, "::1/128"]']
        lines += [
            f"  modules:   # {survey.path}:{found.place.first}",
            "    mod_fail2ban:",
            "      access: trusted_network",
        ]
        want.notes.append("\n".join(lines))


def check_effective(survey: Survey, edited: bytes, included: Path, text: str) -> None:
    """Check that the new files together have what warmside needs.

    :raises Refused: they do not, or ejabberd would not start with them.
    """
    new = options_of(survey.path, edited, survey.folder, survey.environ, {str(included): text})
    program = new.options.get("extauth_program")
    sound = (
        "external" in (new.names("auth_method") or [])
        and new.flag("auth_use_cache", True) is False
        and program is not None
        and is_warmside(str(program.value.scalar))
        and new.hosts == survey.ejabberd.hosts
    )
    if not sound:
        raise Refused(f"{survey.path}: the new lines do not take effect together with those that are there")
