"""Add lines to ``ejabberd.yml`` and take them out again.

Only whole top-level options change. Each old line stays as a comment, from which `restore` makes the line again.
"""

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from warmside.doctor.yamlfile import Entry, Value, YamlError, read

BEGIN = '# Begin of the line that "warmside setup" added; "warmside setup --remove" takes it out again.'
END = '# End of the line that "warmside setup" added.'
OLD = '#before "warmside setup"#'
"""Start of a line that was replaced."""


class Refused(Exception):
    """A file can't be changed safely. The message says what to edit by hand."""


def restore(data: bytes) -> bytes:
    """Return a file as it was before `edit`. Lines that were changed meanwhile stay."""
    kept: list[bytes] = []
    inside = False
    for line in data.splitlines(keepends=True):
        text = line.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")
        if text == BEGIN.encode():
            inside = True
            kept.append(line[: len(line) - len(line.removeprefix(b"\xef\xbb\xbf"))])
        elif inside:
            inside = text != END.encode()
        else:
            kept.append(line.removeprefix(OLD.encode()))
    if inside:
        raise Refused(f"a line is missing in ejabberd.yml: add it behind the line include_config_file: {END}")
    return b"".join(kept)


def edit(path: Path, original: bytes, replaced: Collection[str], included: Path) -> bytes:
    """Return the file with some options commented out, and with one more included file.

    :param path: the file; `original` is its content without lines of `edit`.
    :param replaced: top-level options that the included file replaces.
    :param included: absolute path of that file.
    :raises Refused: the result is not certain.
    """
    before = parsed(original)
    if not before:
        raise Refused(f"{path} has no options: give a complete ejabberd.yml")
    lines = original.splitlines(keepends=True)
    if original.startswith(b"\xef\xbb\xbf"):
        raise Refused(f"{path} begins with a byte order mark: remove it")
    gone = {*replaced, "include_config_file"}
    files = [str(included)]
    for entry in before:
        if entry.key not in gone:
            continue
        if entry.key == "include_config_file":
            files = _files(path, entry, included) + files
        if not entry.place.whole or entry.place.column:
            raise Refused(f"{path}:{entry.place.first}: other options share the lines of {entry.key}: separate them")
        for number in range(entry.place.first - 1, entry.place.last):
            lines[number] = OLD.encode() + lines[number]
    newline = b"\r\n" if lines[0].endswith(b"\r\n") else b"\n"
    value = files[0] if len(files) == 1 else files
    block = [BEGIN, f"include_config_file: {flow(value)}", END]
    start = min(entry.place.first for entry in before) - 1
    while start and lines[start - 1].startswith(b"#"):
        start -= 1  # comments directly above an option belong to it
    lines[start:start] = [line.encode() + newline for line in block]
    edited = b"".join(lines)
    _compare(path, before, edited, gone, files)
    if restore(edited) != original:
        raise Refused(f"{path} has lines that look like those of warmside setup: remove them")
    return edited


def _files(path: Path, entry: Entry, included: Path) -> list[str]:
    values = [entry.value] if entry.value.kind == "scalar" else [item.value for item in entry.value]
    if entry.value.kind == "map" or any(value.kind != "scalar" for value in values):
        raise Refused(f"{path}:{entry.place.first}: add to include_config_file: {flow(str(included))}: {{}}")
    return [str(value.scalar) for value in values]


def _compare(path: Path, before: Value, edited: bytes, gone: Collection[str], files: list[str]) -> None:
    """Check that exactly the planned options differ, by parsing the new file.

    :raises Refused: they do not.
    """
    try:
        after = parsed(edited)
    except Refused as error:
        raise Refused(f"{path}: lines that have to go define an anchor (&) that others use: {error}") from None
    kept = [(entry.key, shape(entry.value)) for entry in before if entry.key not in gone]
    kept.insert(0, ("include_config_file", shape_of(files if len(files) > 1 else files[0])))
    if [(entry.key, shape(entry.value)) for entry in after] != kept:
        raise Refused(f"{path}: a change of its lines would change other options, too")


def shape(value: Value) -> Any:
    """Return a value without places, so that two values can be compared."""
    if value.kind in ("list", "map"):
        return value.kind, [(entry.key, shape(entry.value)) for entry in value]
    if value.kind == "unsure":
        raise Refused("ejabberd.yml has merge keys (<<), which ejabberd does not support: remove them")
    return type(value.scalar).__name__, value.scalar


def shape_of(value: str | list[str]) -> Any:
    """Return what `shape` returns for a quoted text, or for a list of them."""
    if isinstance(value, str):
        return "str", value
    return "list", [("", ("str", each)) for each in value]


def parsed(data: bytes) -> Value:
    """Return the options of a file's content.

    :raises Refused: it is not YAML.
    """
    with tempfile.NamedTemporaryFile(prefix="ejabberd-", suffix=".yml") as file:
        file.write(data)
        file.flush()
        try:
            return read(Path(file.name))
        except YamlError as error:
            raise Refused(str(error).replace(file.name, "the new ejabberd.yml")) from None


def flow(value: str | list[str]) -> str:
    """Return a quoted text, or a list of them, on one line of YAML.

    :raises Refused: a text has a character that needs an escape.
    """
    if isinstance(value, list):
        return f"[{', '.join(flow(each) for each in value)}]"
    if not value.isprintable() or set(value) & {'"', "\\"}:
        raise Refused(f"{value!r} has a quote, a backslash or a control character: use another path")
    return f'"{value}"'
