"""The benchmarks of a warm session run, and their tables are complete."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.bench import growth, tuning, warm
from tests.bench.counted import NAMES
from tests.bench.counting import SYSTEM_CALLS


def cells(text: str, heading: str) -> list[list[str]]:
    """Return the rows of the table whose first heading is the given one."""
    table = next(part for part in text.split("\n\n") if part.startswith(f"| {heading} "))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def test_the_benchmark_prints_its_tables(tmp_path: Path, capsys: "pytest.CaptureFixture[str]") -> None:
    path = tmp_path / "warm.json"
    assert warm.main(["--quick", "--rounds", "1", "--json", str(path)]) == 0
    output = capsys.readouterr().out
    logins = cells(output, "login")
    assert [row[:2] for row in logins] == [
        [name, str(at_once)] for at_once in (1, 8, 32) for name in ("classic", "warm")
    ]
    assert all(float(row[5]) > 0 and re.match(r"[\d.]+ \([\d.]+ to [\d.]+\)$", row[2]) for row in logins)
    counts = dict(cells(output, "in one warm"))
    assert list(counts) == [*NAMES, *SYSTEM_CALLS]
    assert all(float(counts[name]) > 0 for name in NAMES)
    traced = counts["epoll_wait"] != "not measured"
    assert traced or shutil.which("strace") is None or os.geteuid() != 0  # others may not trace a process
    assert not traced or float(counts["epoll_wait"]) > 0
    targets = cells(output, "target")
    assert [row[3] for row in targets].count("not measured") == (1 if traced else 2)
    assert "--prebind FOLDER" in output
    results = json.loads(path.read_text())
    assert [len(each["p50"]) for each in results["series"]] == [1] * 6


def test_a_folder_without_the_library_is_named(tmp_path: Path, capsys: "pytest.CaptureFixture[str]") -> None:
    with pytest.raises(SystemExit) as exit_status:
        warm.main(["--prebind", str(tmp_path)])
    assert exit_status.value.code == 2
    assert f"{tmp_path} has no lib/XmppPrebind.php" in capsys.readouterr().err


def test_growth_is_measured(tmp_path: Path, capsys: "pytest.CaptureFixture[str]") -> None:
    path = tmp_path / "growth.json"
    assert growth.main(["--logins", "5", "--warms", "20", "--only", "warms", "--json", str(path)]) in (0, 1)
    assert [(row[0], row[1]) for row in cells(capsys.readouterr().out, "input")] == [("warms", "2"), ("warms", "20")]
    assert [(row["what"], row["size"]) for row in json.loads(path.read_text())] == [("warms", 2), ("warms", 20)]


def test_settings_are_compared(capsys: "pytest.CaptureFixture[str]") -> None:
    assert tuning.main(["--rounds", "1", "--users", "5", "--at-once", "1"]) == 0
    rows = cells(capsys.readouterr().out, "setting")
    ways = [f"TCP, {number} connections" for number in tuning.CONNECTIONS] + [tuning.UNIX]
    assert [row[:2] for row in rows] == [[way, "1"] for way in ways]
    assert [row[4] for row in rows if row[0] == tuning.DEFAULT] == ["1.00"]
