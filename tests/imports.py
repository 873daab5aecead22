"""Print the packages of ``warmside``, their levels and the imports between them: ``python -m tests.imports``.

A unit is a package or a top module of ``warmside``. Every import counts, also one inside a function or below
``TYPE_CHECKING``. The level of a unit is the longest chain of imports below it.
The exit status is 1 if an import breaks a rule of docs/ARCHITECTURE.md.
"""

import ast
import sys
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 300
LAYERS = (
    ("__main__", "service"),
    ("cli",),
    ("app",),
    ("doctor",),
    ("web",),
    ("sessions",),
    ("throttle",),
    ("extauth",),
    ("store",),
    ("bosh",),
    ("config", "httpclient"),
    ("compat", "findings", "jids", "otp", "samples", "startup", "tls", "turns"),
    ("warmside",),
)
ORDER = {unit: number for number, layer in enumerate(LAYERS) for unit in layer}
FORBIDDEN = {
    "bosh": {"extauth", "store", "web"},
    "store": {"bosh", "extauth", "web"},
    "web": {"bosh"},
}
ALLOWED = {"config": {"compat", "jids", "warmside"}}
IMPORTERS_OF_APP = {"cli", "service"}


def unit_of(path: Path, root: Path = ROOT) -> str:
    """Return the package or top module that a file under ``warmside/`` belongs to."""
    first = path.relative_to(root / "warmside").parts[0].removesuffix(".py")
    return "warmside" if first == "__init__" else first


def imported_units(source: str, units: Iterable[str]) -> set[str]:
    """Return the units that a module imports; ``units`` are all that exist."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
            if node.level:
                raise ValueError(f"line {node.lineno}: relative import; write the full name")
    found = set()
    for name in names:
        top, _, rest = name.partition(".")
        if top == "warmside":
            second = rest.partition(".")[0]
            found.add(second if second in units else "warmside")
    return found


def imports(root: Path = ROOT) -> dict[str, set[str]]:
    """Return the units that each unit imports."""
    files = sorted((root / "warmside").rglob("*.py"))
    graph: dict[str, set[str]] = {unit_of(path, root): set() for path in files}
    for path in files:
        unit = unit_of(path, root)
        graph[unit] |= imported_units(path.read_text(encoding="utf-8"), graph) - {unit}
    return graph


def levels(graph: Mapping[str, set[str]]) -> dict[str, int]:
    """Return the level of each unit: 0 without imports, else 1 more than the highest unit that it imports.

    :raises CycleError: the imports form a cycle.
    """
    found: dict[str, int] = {}
    for unit in TopologicalSorter(graph).static_order():
        found[unit] = max((found[other] + 1 for other in graph[unit]), default=0)
    return found


def faults(graph: Mapping[str, set[str]]) -> list[str]:
    """Return the imports that break a rule, one sentence each."""
    found = [f"{unit}: unknown; add it to LAYERS in tests/imports.py" for unit in sorted(graph) if unit not in ORDER]
    for unit in sorted(set(graph) & set(ORDER)):
        for other in sorted(graph[unit] & set(ORDER)):
            if ORDER[unit] >= ORDER[other]:
                found.append(f"{unit} imports {other}: import upwards")
            elif other in FORBIDDEN.get(unit, ()) or other not in ALLOWED.get(unit, ORDER):
                found.append(f"{unit} imports {other}: not allowed")
            elif other == "app" and unit not in IMPORTERS_OF_APP:
                found.append(f"{unit} imports app: only {' and '.join(sorted(IMPORTERS_OF_APP))} may")
    try:
        levels(graph)
    except CycleError as error:
        found.append(f"cycle: {' -> '.join(error.args[1])}")
    return found


def long_files(root: Path = ROOT) -> list[str]:
    """Return the files under ``warmside/`` with more than ``MAX_LINES`` lines."""
    counted = {path: path.read_text(encoding="utf-8").count("\n") for path in (root / "warmside").rglob("*.py")}
    return [f"{path.relative_to(root)}: {lines} lines" for path, lines in sorted(counted.items()) if lines > MAX_LINES]


def main(root: Path = ROOT) -> int:
    """Print the table and the faults; return the exit status."""
    graph = imports(root)
    broken = faults(graph) + [f"{fault}; at most {MAX_LINES} are allowed" for fault in long_files(root)]
    if not any(fault.startswith("cycle") for fault in broken):
        level = levels(graph)
        for unit in sorted(graph, key=lambda unit: (-level[unit], unit)):
            print(f"{level[unit]:2} {unit:10} {' '.join(sorted(graph[unit]))}".rstrip())
        edges = sum(map(len, graph.values()))
        print(f"{len(graph)} packages and top modules, {max(level.values()) + 1} levels, {edges} imports between them")
    for fault in broken:
        print(fault, file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
