"""Write cures: commands that change lines of a file, and lines to paste.

A command finds its line by the whole text of the line, so that it still fits after other changes. Only a text that the
file has twice, or that may hold a secret, is found by its number.
"""

import re
import shlex
import tomllib
from contextlib import suppress
from pathlib import Path

from warmside.doctor.ejabberd import Ejabberd, Entry, Place
from warmside.findings import RESTART

INDENT = 2


def replace(place: Place, lines: list[str], *, is_secret: bool = False) -> str:
    """Return a command that replaces the lines of a place.

    :param is_secret: True if the command must not show the text that is there.
    """
    indented = [" " * place.column + line for line in lines]
    return _sed(place, "c\\" + _text(indented), is_secret)


def comment_out(place: Place) -> str:
    """Return a command that turns the lines of a place into comments."""
    return _sed(place, "s/^/#/")


def insert_below(place: Place, lines: list[str]) -> str:
    """Return a command that inserts lines below the first line of a place."""
    return _sed(Place(place.file, place.first, place.first, place.column, True), "a\\" + _text(lines))


def paste(file: Path, lines: list[str]) -> str:
    """Return lines to paste at the end of a file."""
    return "\n".join([f"{file}:", *lines])


def set_option(ejabberd: Ejabberd, name: str, text: str, host: str | None = None, *, is_secret: bool = False) -> str:
    """Return what sets an option of ejabberd, where it holds for a host; see `replace`."""
    entry = ejabberd.entry(name, host)
    line = f"{name}: {text}"
    if entry is None and len(ejabberd.hosts) > 1:
        command = f"$ printf '\\n%s\\n' {shlex.quote(line)} >> {shlex.quote(str(ejabberd.path))}"
        return f"{RESTART}\n{_once(ejabberd.path, line, command)}"
    if entry is None:
        return f"{RESTART}\n{paste(ejabberd.path, [line])}"
    if not entry.place.whole:
        return f"In {entry.place}, set {line}. {RESTART}"
    return f"{RESTART}\n{replace(entry.place, [line], is_secret=is_secret)}"


def remove(entry: Entry, within: str) -> str:
    """Return what removes an entry of a mapping or list of ejabberd's configuration."""
    if not entry.place.whole:
        return f"In {entry.place}, remove {entry.key} from {within}. {RESTART}"
    return f"{RESTART}\n{comment_out(entry.place)}"


def add(ejabberd: Ejabberd, name: str, lines: list[str], host: str | None = None) -> str:
    """Return what adds an entry to a mapping or list such as ``modules`` or ``listen``."""
    entry = ejabberd.entry(name, host)
    if entry is None:
        return f"{RESTART}\n{paste(ejabberd.path, [f'{name}:', *(' ' * INDENT + line for line in lines)])}"
    command = add_to(entry, lines)
    if entry is ejabberd.options.get(name) and len(ejabberd.hosts) > 1 and command.startswith("$ ") and len(lines) == 1:
        command = _once(entry.place.file, " " * entry.value.items[0].place.column + lines[0], command)
    return f"{RESTART}\n{command}"


def add_to(entry: Entry, lines: list[str]) -> str:
    """Return what adds lines to an entry whose value is a mapping or list."""
    items = entry.value.items
    is_block = bool(items) and items[0].place.file == entry.place.file and items[0].place.first > entry.place.first
    if not is_block:
        return f"In {entry.place}, add to {entry.key}: " + " ".join(line.strip() for line in lines)
    indent = " " * items[0].place.column
    return insert_below(entry.place, [indent + line for line in lines])


def set_toml(file: Path, table: str, key: str, text: str) -> str:
    """Return what sets a key of a table in a TOML file."""
    line = f"{key} = {text}"
    found = key_lines(file, table, key)
    if found is not None:
        return replace(Place(file, *found, 0, True), [line])
    bounds = table_lines(file, table)
    if bounds is None:
        lines = shlex.join([f"[{table}]", line])
        return _once(file, line, f"$ printf '\\n%s\\n%s\\n' {lines} >> {shlex.quote(str(file))}")
    return _once(file, line, insert_below(Place(file, bounds[0], bounds[0], 0, True), [line]))


def key_lines(file: Path, table: str, key: str) -> tuple[int, int] | None:
    """Return the first and last line (numbers from 1) of a key and its value in a TOML file; ``None`` if not found.

    :param table: name of a table; an empty one for the top of the file.
    """
    lines = _lines(file)
    bounds = table_lines(file, table) if table else (0, _end_of_table(lines, 0))
    if bounds is None:
        return None
    for number in range(bounds[0], bounds[1]):
        if re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", lines[number]):
            return number + 1, _end_of_value(lines, number, bounds[1])
    return None


def _end_of_value(lines: list[str], start: int, end: int) -> int:
    """Return the last line (number from 1) with which the lines from ``start`` are TOML."""
    for last in range(start + 1, end + 1):
        with suppress(tomllib.TOMLDecodeError):
            tomllib.loads("\n".join(lines[start:last]))
            return last
    return start + 1


def unset_toml(file: Path, table: str, key: str) -> str | None:
    """Return a command that turns a key of a table in a TOML file into a comment; ``None`` if it is not found."""
    found = key_lines(file, table, key)
    return comment_out_toml(file, *found) if found is not None else None


def comment_out_toml(file: Path, first: int, last: int) -> str:
    """Return a command that turns lines (numbers from 1) of a file of warmside into comments. It hides them."""
    return _sed(Place(file, first, last, 0, True), "s/^/#/", True)


def table_lines(file: Path, table: str) -> tuple[int, int] | None:
    """Return the first and last line (numbers from 1) of a table in a TOML file; ``None`` if it is not found."""
    lines = _lines(file)
    wanted = re.sub(r"[\"'\s]", "", f"[{table}]")
    found = [n for n, line in enumerate(lines) if re.sub(r"[\"'\s]", "", line.partition("#")[0]) == wanted]
    return (found[0] + 1, _end_of_table(lines, found[0] + 1)) if len(found) == 1 else None


def _end_of_table(lines: list[str], start: int) -> int:
    """Return the number of lines before the next table."""
    return next((n for n in range(start, len(lines)) if re.match(r"\s*\[[^\[\]]+\]\s*(#|$)", lines[n])), len(lines))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError:
        return []


def _once(file: Path, line: str, command: str) -> str:
    """Return a command that does nothing if the file has the line. The findings of several hosts have the same cure."""
    return f"$ grep -qxF -e {shlex.quote(line)} {shlex.quote(str(file))} || {command.removeprefix('$ ')}"


def _sed(place: Place, action: str, is_secret: bool = False) -> str:
    lines = _lines(place.file)
    line = lines[place.first - 1] if place.first <= len(lines) else ""
    if lines.count(line) == 1 and not is_secret:
        first = "/^" + re.sub(r"([\\/.*\[\]^$])", r"\\\1", line) + "$/"
        address = first if place.last == place.first else f"{first},+{place.last - place.first}"
    else:
        address = str(place.first) if place.last == place.first else f"{place.first},{place.last}"
    file = place.file.resolve() if place.file.is_symlink() else place.file  # sed -i would replace the link
    return f"$ sed -i {shlex.quote(f'{address} {action}')} {shlex.quote(str(file))}"


def _text(lines: list[str]) -> str:
    return "\\n".join(line.replace("\\", "\\\\") for line in lines)
