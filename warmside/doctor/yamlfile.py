"""Read one YAML file as ejabberd does: values with the lines that they stand in."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from warmside.config.reloading import open_regular

MAX_FILE = 4 << 20
"""Maximum bytes of a file."""
MAX_DEPTH = 50
MAX_VALUES = 100_000
"""Maximum number of values of a file, with those of an alias counted in each place."""

INTEGER = re.compile(r"[-+]?[0-9]+")


class YamlError(Exception):
    """A file can't be read as YAML. The message names the file and the reason."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands. ``first`` and ``last`` are line numbers from 1, ``column`` counts from 0.

    ``whole`` is True if these lines hold the key and its value, or the item of a list, and nothing else.
    """

    file: Path
    first: int
    last: int
    column: int
    whole: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.first}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A key with its value, or an item of a list, whose key is empty."""

    key: str
    value: "Value"
    place: Place


class Plain(str):
    """A scalar without quotes. ejabberd reads it as an atom, and replaces a macro of this name."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Value:
    """A node: a scalar (str, `Plain` or int), a list (``items``) or a mapping (``items`` with keys)."""

    kind: str
    scalar: str | int = ""
    items: tuple[Entry, ...] = ()

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.items)

    def get(self, key: str) -> "Entry | None":
        """Return the last entry of a mapping with this key."""
        return next((entry for entry in reversed(self.items) if entry.key == key), None)

    def plain(self) -> Any:
        """Return the value as str, int, list and dict. A list of one-key mappings stays a list."""
        if self.kind == "map":
            return {entry.key: entry.value.plain() for entry in self.items}
        if self.kind == "list":
            return [entry.value.plain() for entry in self.items]
        return self.scalar


UNSURE = Value("unsure")
"""A value that the files do not determine."""


def read(path: Path) -> Value:
    """Return the document of a file; an empty mapping if it has none.

    :raises YamlError: it can't be read, is too long, too deep, no YAML, or no mapping.
    """
    try:
        with open_regular(path) as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise YamlError(f"{path} can't be read: {error.strerror}") from None
    if len(data) > MAX_FILE:
        raise YamlError(f"{path} is longer than {MAX_FILE} bytes")
    try:
        text = data.decode("utf-8-sig")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = Value("map") if node is None else _Reader(path, text).value(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}" if mark else ""
        raise YamlError(f"{path}{where}: not YAML: {error.problem or error.context}") from None
    except RecursionError:
        raise YamlError(f"{path}: not YAML: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise YamlError(f"{path}: not YAML: {str(error).splitlines()[0][:200]}") from None
    if value.kind != "map":
        raise YamlError(f"{path}: expected options, such as hosts: [example.org]")
    return value


class _Reader:
    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines()
        self._done: dict[int, Value] = {}
        """Values by node. Aliases share a node."""
        self._sizes: dict[int, int] = {}
        """Number of values in each value, by its identity."""

    def value(self, node: yaml.Node, depth: int = 0) -> Value:
        if depth > MAX_DEPTH:
            raise RecursionError
        found = self._done.get(id(node))
        if found is None:
            found = self._done[id(node)] = self._read(node, depth)
            self._sizes[id(found)] = 1 + sum(self._sizes.get(id(entry.value), 1) for entry in found)
            if self._sizes[id(found)] > MAX_VALUES:
                raise ValueError(f"too many values: more than {MAX_VALUES}")
        return found

    def _read(self, node: yaml.Node, depth: int) -> Value:
        if isinstance(node, yaml.ScalarNode):
            text = str(node.value)
            if node.style is not None:
                return Value("scalar", text)
            return Value("scalar", int(text) if INTEGER.fullmatch(text) and len(text) < 20 else Plain(text))
        entries: list[Entry] = []
        if isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                following = node.value[number + 1] if number + 1 < len(node.value) else None
                place = self._place(item, item, following, dash=not node.flow_style)
                entries.append(Entry("", self.value(item, depth + 1), place))
            return Value("list", items=tuple(entries))
        for number, (key, item) in enumerate(node.value):
            following = node.value[number + 1][0] if number + 1 < len(node.value) else None
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if name == "<<" or not name:
                return UNSURE  # ejabberd has no merge keys
            entries.append(Entry(name, self.value(item, depth + 1), self._place(key, item, following)))
        return Value("map", items=tuple(entries))

    def _place(self, start: yaml.Node, node: yaml.Node, following: yaml.Node | None, *, dash: bool = False) -> Place:
        first, column = start.start_mark.line, start.start_mark.column
        if dash:  # the node begins behind its dash, which may be on a line before
            while first > 0 and not self._lines[first].lstrip().startswith("-"):
                first -= 1
            column = len(self._lines[first]) - len(self._lines[first].lstrip())
        last = max(first, _last_line(node))
        whole = (dash or not self._lines[first][:column].strip()) and self._ends(last, node)
        if following is not None and following.start_mark.line <= last:
            whole = False
        return Place(self._path, first + 1, last + 1, column, whole)

    def _ends(self, last: int, node: yaml.Node) -> bool:
        """True if nothing but a comment follows the value in its last line."""
        end = _end(node)
        if end is None or end[0] != last:
            return True
        rest = self._lines[last][end[1] :].strip() if last < len(self._lines) else ""
        return not rest or rest.startswith("#")


def _end(node: yaml.Node) -> tuple[int, int] | None:
    """Return the line and column behind the last character of a node, without comments; ``None`` if it is empty."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style:
        return node.end_mark.line, node.end_mark.column
    if not node.value:
        return None
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _last_line(node: yaml.Node) -> int:
    end = _end(node)
    if end is None:
        return int(node.start_mark.line)
    line, column = end
    return line - 1 if column == 0 and line > node.start_mark.line else line
