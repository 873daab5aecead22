"""Understand the line ``extauth_program`` of ejabberd."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from warmside.config.loader import DEFAULT_PATH
from warmside.doctor.ejabberd import Ejabberd, Entry

SUBCOMMANDS = ("extauth", "relay")


@dataclass(frozen=True)
class ProgramLine:
    """A command line as ejabberd splits it. ``kind`` is ``other`` for a program that is not warmside's."""

    entry: Entry
    words: tuple[str, ...]
    kind: Literal["extauth", "relay", "none", "other"]
    """Subcommand of warmside; ``none`` if it has none."""
    arguments: tuple[str, ...] = ()
    """What follows the subcommand."""

    @property
    def executable(self) -> Path | None:
        """The program as an absolute path; ``None`` if it is not found."""
        word = self.words[0] if self.words else ""
        found = word if word.startswith("/") else shutil.which(word)
        return Path(found) if found else None

    @property
    def config(self) -> str:
        """The configuration file of ``warmside extauth``."""
        for number, word in enumerate(self.arguments):
            if word == "--config" and number + 1 < len(self.arguments):
                return self.arguments[number + 1]
            if word.startswith("--config="):
                return word.partition("=")[2]
        return str(DEFAULT_PATH)

    @property
    def socket(self) -> str | None:
        """The socket of ``warmside relay``."""
        return self.arguments[0] if self.kind == "relay" and self.arguments else None


def lines(ejabberd: Ejabberd, hosts: tuple[str, ...]) -> list[tuple[str, ProgramLine | None]]:
    """Return the line of each host; ``None`` if it is not set.

    Hosts whose line can't be determined are left out.
    """
    found: list[tuple[str, ProgramLine | None]] = []
    for host in hosts:
        if ejabberd.is_unsure("extauth_program", host):
            continue
        entry = ejabberd.entry("extauth_program", host)
        found.append((host, None if entry is None else parse(entry)))
    return found


def parse(entry: Entry) -> ProgramLine:
    """Return the parts of a command line. ejabberd splits it on spaces, without a shell."""
    words = tuple(word for word in str(entry.value.scalar).split(" ") if word)
    names = [os.path.basename(word) for word in words]
    rest: tuple[str, ...] | None = None
    if names[:1] == ["warmside"]:
        rest = words[1:]
    elif "-m" in words and words.index("-m") + 1 < len(words) and words[words.index("-m") + 1] == "warmside":
        rest = words[words.index("-m") + 2 :]
    elif len(names) > 1 and names[0].startswith("python") and "warmside" in names:  # python -I bin/warmside
        rest = words[names.index("warmside") + 1 :]
    if rest is None:
        return ProgramLine(entry, words, "other")
    if not rest or rest[0] not in SUBCOMMANDS:
        return ProgramLine(entry, words, "none", rest)
    return ProgramLine(entry, words, "extauth" if rest[0] == "extauth" else "relay", rest[1:])
