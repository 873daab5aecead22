"""Typed access to a table of a TOML file. Errors name the key, the value and the fix.

Independent of warmside's own keys.
"""

import difflib
import json
from pathlib import Path
from typing import Any

MAX_SHOWN = 120
"""Maximum characters of a key or a value in a message."""


class ConfigError(Exception):
    """A configuration file can't be used. The text names the file, the key and the value."""

    def __init__(self, file: Path, *, key: str = "", shown: str = "", message: str) -> None:
        self.file = file
        self.key = key
        where = f"{file}: " + (f"{key}{f' = {shown}' if shown else ''}: " if key else "")
        super().__init__(printable(where + message))


def printable(text: str) -> str:
    """Escape line breaks, control characters and surrogates, which keys and values may contain."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class Table:
    """One table of a TOML file.

    Each access records the key as known, so that `reject_unknown` can name the others.
    """

    def __init__(self, file: Path, name: str, raw: dict[str, Any]) -> None:
        self.file = file
        self.name = name
        self._raw = raw
        self._known: set[str] = set()

    def error(self, key: str, message: str, value: object = None) -> ConfigError:
        """Return an error about a key.

        :param value: shown instead of the key's value, if only a part of that is wrong or it is secret.
        """
        return ConfigError(
            self.file,
            key=self._full(key),
            shown=_shown(self._raw.get(key) if value is None else value),
            message=message,
        )

    def names(self) -> list[str]:
        """Return the keys of this table in the file."""
        return list(self._raw)

    def has(self, key: str) -> bool:
        """True if the file has the key in this table."""
        return key in self._raw

    def table(self, key: str) -> "Table":
        """Return a table in this one; an empty one if the file has none."""
        raw = self._get(key, {})
        if not isinstance(raw, dict):
            raise self.error(key, f"not a table: write [{self._full(key)}]")
        return Table(self.file, self._full(key), raw)

    def text(self, key: str, default: str) -> str:
        """Return a string that is not empty or blank."""
        value = self._get(key, default)
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, "give a string in quotes")
        return value

    def optional_text(self, key: str, default: str | None) -> str | None:
        """Return a string, or ``default`` if the key is absent."""
        return default if self._get(key, None) is None else self.text(key, "")

    def choice(self, key: str, default: str, allowed: tuple[str, ...]) -> str:
        """Return one of the allowed strings."""
        value = self._get(key, default)
        if value not in allowed:
            raise self.error(key, "give one of " + ", ".join(map(_shown, allowed)))
        return str(value)

    def path(self, key: str, default: Path | None) -> Path | None:
        """Return an absolute path, or ``default`` if the key is absent."""
        value = self.optional_text(key, None)
        if value is None:
            return default
        if not value.startswith("/") or "\0" in value:
            raise self.error(key, "give an absolute path")
        return Path(value)

    def texts(self, key: str, default: tuple[str, ...], *, single: bool = False) -> tuple[str, ...]:
        """Return a list of strings.

        :param single: accept one string instead of a list.
        """
        value = self._get(key, default)
        if single and isinstance(value, str):
            value = [value]
        if not isinstance(value, list | tuple) or not all(isinstance(each, str) and each for each in value):
            raise self.error(key, f"give {'a string or ' if single else ''}a list of strings in quotes")
        return tuple(value)

    def flag(self, key: str, default: bool) -> bool:
        """Return ``true`` or ``false``."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "give true or false")
        return value

    def integer(self, key: str, default: int, minimum: int, maximum: int) -> int:
        """Return an integer from ``minimum`` to ``maximum``."""
        value = self._get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            raise self.error(key, f"give a whole number from {minimum} to {maximum}")
        return value

    def number(self, key: str, default: float, minimum: float, maximum: float) -> float:
        """Return a number from ``minimum`` to ``maximum``."""
        value = self._get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not minimum <= value <= maximum:
            raise self.error(key, f"give a number from {minimum:g} to {maximum:g}")
        return value

    def reject_unknown(self) -> None:
        """Reject keys that were not accessed.

        :raises ConfigError: the file has such a key in this table.
        """
        for key in self._raw:
            if key in self._known:
                continue
            similar = difflib.get_close_matches(key, self._known, 1)
            hint = f": did you mean {self._full(similar[0])}?" if similar else ""
            raise ConfigError(
                self.file, key=self._full(key), shown=_shown(self._raw[key]), message=f"unknown key{hint}"
            )

    def _get(self, key: str, default: Any) -> Any:
        self._known.add(key)
        return self._raw.get(key, default)

    def _full(self, key: str) -> str:
        name = f"{self.name}.{key}" if self.name else key
        return name if len(name) <= MAX_SHOWN else name[: MAX_SHOWN - 1] + "…"


def _shown(value: object) -> str:
    """Return a value as TOML writes it, on one line of at most `MAX_SHOWN` characters."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except TypeError:
        text = str(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
