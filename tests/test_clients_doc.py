"""The lines of code in docs/CLIENTS.md are in the files that the text before them names; tests run these files."""

import itertools
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
NAMED = re.compile(r"in \[`[^`]+`\]\((\S+)\)")


def stripped(text: str) -> list[str]:
    """Return the lines of a text without indentation."""
    return [line.strip() for line in text.strip().splitlines()]


def blocks() -> list[tuple[Path, list[str]]]:
    """Return each indented block with the file that the paragraph before it names."""
    paragraphs = re.split(r"\n\n", (DOCS / "CLIENTS.md").read_text(encoding="utf-8"))
    found = []
    for before, paragraph in itertools.pairwise(paragraphs):
        if paragraph.startswith("    "):
            name = NAMED.search(before)
            assert name, f"no file is named before {paragraph!r}"
            found.append(((DOCS / name[1]).resolve(), stripped(paragraph)))
    return found


def test_the_lines_of_each_client_are_those_that_run() -> None:
    assert len(blocks()) == 5
    for path, lines in blocks():
        there = stripped(path.read_text(encoding="utf-8"))
        places = range(len(there) - len(lines) + 1)
        assert any(there[place : place + len(lines)] == lines for place in places), (path.name, lines)
