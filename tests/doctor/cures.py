"""Follow a cure to the letter, as an operator does. Nothing here knows which fault it is for."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path


def apply(cure: str, restart: Callable[[], None] | None = None) -> None:
    """Run the commands of a cure and paste its lines.

    A line that starts with ``$ `` is a command. Lines behind ``/PATH:`` are pasted at the end of that file. A cure that
    says so is followed by a restart of ejabberd, or is nothing but that.

    :param restart: restarts ejabberd.
    :raises AssertionError: a command fails, or the cure has neither a command nor lines to paste.
    """
    file: Path | None = None
    pasted: dict[Path, list[str]] = {}
    commands = 0
    for line in cure.splitlines():
        if line.startswith("$ "):
            file, commands = None, commands + 1
            done = subprocess.run(["bash", "-c", line[2:]], capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, (line, done.stderr)
        elif line.startswith("/") and line.endswith(":"):
            file = Path(line[:-1])
            pasted[file] = []
        elif file is not None:
            pasted[file].append(line)
    restarts = restart is not None and re.search(r"\b([Rr]es|S)tart ejabberd\b", cure) is not None
    assert commands or pasted or restarts, f"nothing to run or paste: {cure}"
    for path, lines in pasted.items():
        text = path.read_text() if path.exists() else ""
        end = "" if not text or text.endswith("\n") else "\n"
        path.write_text(text + end + "\n".join(lines) + "\n")
    if restart is not None and restarts:
        restart()
