"""The sample files that ``warmside sample`` prints.

They live in ``etc/`` of the checkout; a wheel has the same files in ``warmside/etc/``.
"""

from pathlib import Path

# Relative to etc/. setup.py reads this to put the files into a wheel.
PATTERNS = ("alerts.yml", "ejabberd.yml", "relay.pl", "compose.yml", "warmside.*", "examples/*", "proxies/*")

_PACKAGE = Path(__file__).parent


def find(folder: Path) -> dict[str, Path]:
    """Return the samples below a folder by name, sorted; a name is relative to the folder."""
    paths = [path for pattern in PATTERNS for path in folder.glob(pattern) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path for path in sorted(paths)}


def installed() -> dict[str, Path]:
    """Return the samples of this wheel or checkout."""
    return find(_PACKAGE / "etc") or find(_PACKAGE.parent / "etc")
