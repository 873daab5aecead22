"""Read ``ejabberd.yml`` with its included files and macros, as ejabberd does.

What the files do not determine is `UNSURE` or named in `Ejabberd.unsure`, and never guessed: environment variables
that define macros, files that can't be read, merge keys.
"""

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from warmside.doctor.macros import Macros
from warmside.doctor.yamlfile import UNSURE, Entry, Place, Value, YamlError, read
from warmside.jids import InvalidJID, prepare_host

PLACES = (Path("/etc/ejabberd/ejabberd.yml"), Path("/opt/ejabberd/conf/ejabberd.yml"))
"""Files of Debian's package and of ProcessOne's installer."""
MAX_FILES = 100
"""Maximum number of files, included ones, too."""

TRUE, FALSE = ("on", "yes", "y", "true"), ("off", "no", "n", "false")


@dataclass(frozen=True)
class Listener:
    """One entry of ``listen``. ``port`` is a number or ``unix:PATH``; an empty ``ip`` means every interface."""

    module: str
    port: int | str
    ip: str
    options: Mapping[str, Any]
    handlers: Mapping[str, str]
    """Modules by path, such as ``/bosh``."""
    entry: Entry

    @property
    def place(self) -> Place:
        """Where it stands."""
        return self.entry.place


@dataclass(frozen=True)
class Ejabberd:
    """The configuration of ejabberd.

    ``options`` are the effective top-level options, ``of_host`` those that differ for a host. ``unsure`` names what
    could not be determined. ``complete`` is False if an option that is not here may be in a file that is missing.
    """

    path: Path
    hosts: tuple[str, ...]
    """Prepared virtual hosts."""
    options: Mapping[str, Entry]
    of_host: Mapping[str, Mapping[str, Entry]]
    files: tuple[Path, ...]
    unsure: tuple[str, ...] = ()
    complete: bool = True
    listeners: tuple[Listener, ...] = field(default=())

    def entry(self, name: str, host: str | None = None) -> Entry | None:
        """Return an option as it holds for a host; ``None`` if it is not set."""
        own = self.of_host.get(host or "", {})
        return own.get(name) or self.options.get(name)

    def is_unsure(self, name: str, host: str | None = None) -> bool:
        """True if the files do not determine an option."""
        entry = self.entry(name, host)
        return not self.complete if entry is None else has_unsure(entry.value)

    def flag(self, name: str, default: bool, host: str | None = None) -> bool | None:
        """Return a boolean option; ``None`` if it can't be determined."""
        entry = self.entry(name, host)
        if entry is None:
            return default if self.complete else None
        return as_flag(entry.value.scalar) if entry.value.kind == "scalar" else None

    def names(self, name: str, host: str | None = None) -> list[str] | None:
        """Return an option that is one name or a list of names; ``None`` if unset or not determined."""
        entry = self.entry(name, host)
        if entry is None or has_unsure(entry.value):
            return None
        if entry.value.kind == "scalar":
            return [str(entry.value.scalar)]
        return [str(item.value.scalar) for item in entry.value if item.value.kind == "scalar"]

    def module(self, name: str, host: str) -> Entry | None:
        """Return a module's entry in ``modules`` of a host; ``None`` if it is not loaded."""
        modules = self.entry("modules", host)
        return None if modules is None else modules.value.get(name)


def has_unsure(value: Value) -> bool:
    """True if a part of the value is not determined."""
    return value.kind == "unsure" or any(has_unsure(entry.value) for entry in value)


def as_flag(scalar: object) -> bool | None:
    """Return a scalar that ejabberd reads as a boolean; else ``None``."""
    text = str(scalar)
    return True if text in TRUE else False if text in FALSE else None


def find() -> Path | None:
    """Return the first of `PLACES` that exists."""
    return next((path for path in PLACES if _may_exist(path)), None)


def _may_exist(path: Path) -> bool:
    """True unless a file is missing. One in a folder that this user can't search may exist."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.EACCES
    return True


def load(path: Path, *, folder: Path | None = None, environ: Mapping[str, str] | None = None) -> Ejabberd:
    """Read the configuration of ejabberd.

    :param folder: ejabberd's working folder, to which paths in the file are relative; ``None`` if unknown.
    :param environ: ejabberd's environment; ``None`` if unknown.
    :raises YamlError: the file itself can't be read.
    """
    reader = _Files(folder)
    entries = reader.entries(path)
    macros = Macros(entries, environ or {})
    unsure = reader.unsure
    options: dict[str, Entry] = {}
    for entry in entries:
        if entry.key == "define_macro":
            continue
        replaced = Entry(entry.key, macros.replace(entry.value), entry.place)
        before = options.get(entry.key)
        if before is not None and {before.value.kind, replaced.value.kind} <= {"list", "map"}:
            merged = Value(before.value.kind, items=before.value.items + replaced.value.items)
            replaced = Entry(entry.key, merged, before.place)
        elif before is not None:
            raise YamlError(f"{replaced.place}: duplicate option {entry.key}: ejabberd does not start with it")
        options[entry.key] = replaced
    for entry in options.values():
        _reject_duplicates(entry)
    of_host = _of_hosts(options)
    hosts = tuple(_hosts(options))
    listeners = tuple(_listeners(options))
    return Ejabberd(path, hosts, options, of_host, tuple(reader.files), tuple(unsure), not unsure, listeners)


def _reject_duplicates(entry: Entry) -> None:
    """Reject a module that stands in ``modules`` twice, as ejabberd does."""
    seen: set[str] = set()
    for item in entry.value if entry.key == "modules" else ():
        if item.key in seen:
            raise YamlError(f"{item.place}: duplicate option {item.key}: ejabberd does not start with it")
        seen.add(item.key)


class _Files:
    """Reads a file and those that it includes."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self.files: list[Path] = []
        self.unsure: list[str] = []

    def entries(self, path: Path) -> list[Entry]:
        """Return the top-level entries of a file, with included ones in the place of their inclusion."""
        self.files.append(path)
        if len(self.files) > MAX_FILES:
            raise YamlError(f"{path}: more than {MAX_FILES} included files")
        found: list[Entry] = []
        for entry in read(path):
            if entry.key != "include_config_file":
                found.append(entry)
                continue
            for name, disallow, allow_only in _includes(entry.value):
                for included in self._included(name, entry.place):
                    if (included.key in allow_only) if allow_only else (included.key not in disallow):
                        found.append(included)
        return found

    def _included(self, name: str, place: Place) -> list[Entry]:
        path = Path(name) if name.startswith("/") or self._folder is None else self._folder / name
        if not path.is_absolute():
            self.unsure.append(f"{name} (included at {place}): it is relative to ejabberd's unknown working folder")
        elif path in self.files:
            self.unsure.append(f"{path} (included at {place}): it is included twice")
        else:
            try:
                return self.entries(path)
            except YamlError as error:
                self.unsure.append(f"{error} (included at {place})")
        return []


def _includes(value: Value) -> Iterator[tuple[str, list[str], list[str]]]:
    """Return the files of ``include_config_file``, with the options that each may not, or may only, set."""
    if value.kind == "scalar":
        yield str(value.scalar), [], []
    for entry in value:
        if entry.value.kind == "scalar":
            yield str(entry.value.scalar), [], []
            continue
        files = entry.value.items if value.kind == "list" else (entry,)
        for file in files:  # ejabberd takes a list of one-key mappings for a mapping
            lists = (file.value.get(key) for key in ("disallow", "allow_only"))
            disallow, allow = ([str(item.value.scalar) for item in it.value] if it else [] for it in lists)
            yield file.key, disallow, allow


def _of_hosts(options: Mapping[str, Entry]) -> dict[str, dict[str, Entry]]:
    """Return the options of each host: ``host_config`` replaces, ``append_host_config`` appends."""
    of_host: dict[str, dict[str, Entry]] = {}
    for key in ("host_config", "append_host_config"):
        for host in options[key].value if key in options else ():
            own = of_host.setdefault(_prepared(host.key), {})
            for entry in host.value:
                before = own.get(entry.key) or options.get(entry.key)
                if key == "append_host_config" and before is not None:
                    merged = Value(entry.value.kind, items=before.value.items + entry.value.items)
                    own[entry.key] = Entry(entry.key, merged, entry.place)
                else:
                    own[entry.key] = entry
    return of_host


def _hosts(options: Mapping[str, Entry]) -> Iterator[str]:
    entry = options.get("hosts")
    for item in entry.value if entry else ():
        if item.value.kind == "scalar":
            yield _prepared(str(item.value.scalar))


def _prepared(host: str) -> str:
    try:
        return prepare_host(host)
    except InvalidJID:
        return host


def _listeners(options: Mapping[str, Entry]) -> Iterator[Listener]:
    entry = options.get("listen")
    for item in entry.value if entry else ():
        if item.value.kind != "map":
            continue
        values = item.value.plain()
        handlers = values.get("request_handlers")
        yield Listener(
            str(values.get("module", "")),
            values["port"] if isinstance(values.get("port"), int) else str(values.get("port", "")),
            "" if str(values.get("ip", "")) in ("0.0.0.0", "::") else str(values.get("ip", "")),  # noqa: S104
            values,
            {str(key): str(module) for key, module in handlers.items()} if isinstance(handlers, dict) else {},
            item,
        )


__all__ = ["PLACES", "UNSURE", "Ejabberd", "Entry", "Listener", "Place", "Value", "YamlError", "find", "load"]
