"""Typed access to a table of a TOML file, with errors that a person can act on.

It knows nothing of warmside's own keys.
"""

import difflib
import json
from pathlib import Path
from typing import Any


class ConfigError(Exception):
    """Something is wrong with a configuration file; the text names the file, the key and the value."""

    def __init__(self, file: Path, *, key: str = "", shown: str = "", message: str) -> None:
        self.file = file
        self.key = key
        where = f"{file}: " + (f"{key}{f' = {shown}' if shown else ''}: " if key else "")
        super().__init__(where + message)


class Table:
    """One table of a TOML file.

    Each access notes that the key is known, so that `refuse_unknown` can name the others.
    """

    def __init__(self, file: Path, name: str, raw: dict[str, Any]) -> None:
        self.file = file
        self.name = name
        self._raw = raw
        self._known: set[str] = set()

    def error(self, key: str, message: str, value: object = None) -> ConfigError:
        """An error about a key; ``value`` if only a part of the key's value is wrong, or must not be shown."""
        return ConfigError(
            self.file,
            key=self._full(key),
            shown=_shown(self._raw.get(key) if value is None else value),
            message=message,
        )

    def names(self) -> list[str]:
        """The keys that the file has in this table."""
        return list(self._raw)

    def has(self, key: str) -> bool:
        """Whether the file has the key in this table."""
        return key in self._raw

    def table(self, key: str) -> "Table":
        """A table in this one; an empty one if the file has none."""
        raw = self._get(key, {})
        if not isinstance(raw, dict):
            raise self.error(key, f"it is a table: write [{self._full(key)}]")
        return Table(self.file, self._full(key), raw)

    def text(self, key: str, default: str) -> str:
        """A text that isn't empty."""
        value = self._get(key, default)
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, "give a text in quotes")
        return value

    def optional_text(self, key: str, default: str | None) -> str | None:
        """A text, or ``default`` if the key is absent."""
        return default if self._get(key, None) is None else self.text(key, "")

    def choice(self, key: str, default: str, allowed: tuple[str, ...]) -> str:
        """One of the allowed texts."""
        value = self._get(key, default)
        if value not in allowed:
            raise self.error(key, "give one of " + ", ".join(map(_shown, allowed)))
        return str(value)

    def path(self, key: str, default: Path | None) -> Path | None:
        """An absolute path, or ``default`` if the key is absent."""
        value = self.optional_text(key, None)
        if value is None:
            return default
        if not value.startswith("/") or "\0" in value:
            raise self.error(key, "give an absolute path")
        return Path(value)

    def texts(self, key: str, default: tuple[str, ...], *, single: bool = False) -> tuple[str, ...]:
        """A list of texts; with ``single``, one text alone will do, too."""
        value = self._get(key, default)
        if single and isinstance(value, str):
            value = [value]
        if not isinstance(value, list | tuple) or not all(isinstance(each, str) and each for each in value):
            raise self.error(key, f"give {'a text or ' if single else ''}a list of texts in quotes")
        return tuple(value)

    def flag(self, key: str, default: bool) -> bool:
        """``true`` or ``false``."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "give true or false")
        return value

    def integer(self, key: str, default: int, least: int, most: int) -> int:
        """A whole number within bounds."""
        value = self._get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.error(key, f"give a whole number from {least} to {most}")
        return value

    def number(self, key: str, default: float, least: float, most: float) -> float:
        """A number, often of seconds, within bounds."""
        value = self._get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
            raise self.error(key, f"give a number from {least:g} to {most:g}")
        return value

    def refuse_unknown(self) -> None:
        """:raises ConfigError: the file has a key here that nothing asked for."""
        for key in self._raw:
            if key in self._known:
                continue
            similar = difflib.get_close_matches(key, self._known, 1)
            hint = f": did you mean {self._full(similar[0])}?" if similar else ""
            raise ConfigError(
                self.file, key=self._full(key), shown=_shown(self._raw[key]), message=f"there is no such key{hint}"
            )

    def _get(self, key: str, default: Any) -> Any:
        self._known.add(key)
        return self._raw.get(key, default)

    def _full(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key


def _shown(value: object) -> str:
    """A value as TOML would show it, on one line and bounded."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except TypeError:
        text = str(value)
    return text if len(text) <= 120 else text[:119] + "…"
