"""Figures of the benchmarks: targets, growth, tables, and the documents that show them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench import document, growth, processes, targets
from tests.bench.tables import spread, table
from tests.bench.targets import Target, at_least, at_most

ROOT = Path(__file__).resolve().parents[1]


def series(way: str, at_once: int, **figures: list[float]) -> dict[str, Any]:
    usual = {name: [1.0, 1.0] for name in ("p50", "p99", "rate", "warmside", "ejabberd")}
    return {"way": way, "at_once": at_once, **usual, **figures}


def results(*prebind: dict[str, Any], counts: dict[str, float | None] | None = None) -> dict[str, Any]:
    """Return a run of two rounds."""
    return {
        "rounds": 2,
        "users": 10,
        "ejabberd": "23.01",
        "python": "3.11",
        "processors": 2,
        "calibration": [1.0, 1.5],
        "series": [
            series("classic", 1, p50=[2.0, 4.0]),
            series("warm", 1, p50=[1.5, 5.0], warmside=[0.9, 1.1]),
            series("classic", 8, rate=[400.0, 400.0]),
            series("warm", 8, rate=[300.0, 300.0]),
            series("classic", 32, rate=[400.0, 400.0]),
            series("warm", 32, rate=[400.0, 400.0], p50=[10.0, 10.0], p99=[25.0, 15.0]),
            *prebind,
        ],
        "counts": {"Deferreds": 15.0, "epoll_ctl": 2.0} if counts is None else counts,
    }


def by_name(run: dict[str, Any]) -> dict[str, Target]:
    return {each.name: each for each in targets.targets(run)}


def test_a_ratio_compares_within_a_round() -> None:
    found = by_name(results(series("prebind", 1, p50=[3.0, 10.0])))
    assert found["p50 at 1 / classic"].values == (0.75, 1.25)
    assert found["p50 at 1 / PHP prebind library"].values == (0.5, 0.5)
    assert found["p99 at 32 / p50 at 32"].values == (2.5, 1.5)


def test_targets_are_met_or_missed() -> None:
    verdicts = {name: each.verdict for name, each in by_name(results()).items()}
    assert verdicts == {
        "p50 at 1 / classic": "met",
        "logins/s at 8 / classic": "missed",
        "logins/s at 32 / classic": "met",
        "p99 at 32 / p50 at 32": "met",
        "CPU of warmside at 1": "met",
        "Deferreds": "met",
        "epoll_ctl": "missed",
        "p50 at 1 / PHP prebind library": "not measured",
    }


@pytest.mark.parametrize(("value", "met"), [(1.0, True), (1.01, False)])
def test_a_limit_includes_its_value(value: float, met: bool) -> None:
    assert at_most("x", 1.0, [value]).met is met
    assert at_least("x", 1.01, [value]).met is not met


def test_what_is_not_counted_is_not_measured() -> None:
    found = by_name(results(counts={"Deferreds": 16.0, "epoll_ctl": None}))
    assert (found["Deferreds"].verdict, found["epoll_ctl"].verdict) == ("missed", "not measured")
    assert found["epoll_ctl"].measured == "-"


def test_the_report_says_that_the_library_is_missing() -> None:
    assert "--prebind FOLDER" in targets.report(results())
    assert "--prebind FOLDER" not in targets.report(results(series("prebind", 1)))


def test_a_table_is_aligned_markdown() -> None:
    assert table(["a", "b"], [["one", "2"], ["x", "100"]]).splitlines() == [
        "| a   |   b |",
        "| :-- | --: |",
        "| one |   2 |",
        "| x   | 100 |",
    ]
    assert spread([3.0, 1.0, 2.0]) == "2.00 (1.00 to 3.00)"


def rows(what: str, *sizes: tuple[int, float, float, float]) -> list[growth.Row]:
    return [growth.Row(what, size, p50, 2 * p50, 1.0, cpu, memory, 0) for size, p50, cpu, memory in sizes]


@pytest.mark.parametrize(
    ("group", "fault"),
    [
        (rows("contacts", (0, 1, 1, 50), (100, 2, 2, 50), (1000, 20, 20, 60)), None),
        (rows("contacts", (100, 2, 2, 50), (1000, 2, 23, 60)), "contacts: cpu grows x 11.50"),
        (rows("contacts", (100, 2, 2, 50), (1000, 23, 2, 60)), "contacts: p50 grows x 11.50"),
        (rows("open sessions", (1, 2, 2, 50), (2, 2, 2, 150)), "open sessions: memory grows x 3.00"),
        (rows("warms", (10, 2, 2, 50), (100, 2, 2, 52)), None),
        (rows("warms", (10, 2, 2, 50), (100, 2, 2, 54)), "warms: memory grows x 1.08"),
    ],
    ids=["as its input", "cpu", "p50", "memory", "flat", "a leak"],
)
def test_growth_above_that_of_the_input_is_a_fault(group: list[growth.Row], fault: str | None) -> None:
    faults = growth.grown(rows("known users", (500, 9, 9, 9)) + group)
    assert [each[: len(fault or "")] for each in faults] == ([fault] if fault else [])


def test_the_table_of_growth_compares_with_the_first_input_above_zero() -> None:
    group = rows("contacts", (0, 1, 1, 50), (100, 2, 4, 50), (1000, 3, 6, 75))
    lines = [line.split("|") for line in growth.report(group).splitlines()[2:]]
    assert [(line[2].strip(), line[3].strip(), line[9].strip()) for line in lines] == [
        ("0", "", ""),
        ("100", "1", "1.00 / 1.00 / 1.00"),
        ("1,000", "10", "1.50 / 1.50 / 1.50"),
    ]


def test_cpu_time_is_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr(processes, "_loop", lambda: next(seconds) * processes.REFERENCE)
    assert processes.calibrate(3) == 2.0


def test_documents_show_the_figures(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in ("README.md", "docs/PERFORMANCE.md"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    run, group = tmp_path / "warm.json", tmp_path / "growth.json"
    run.write_text(json.dumps(results()))
    group.write_text(json.dumps([vars(each) for each in rows("known users", (500, 9, 9, 9), (5000, 9, 9, 9))]))
    for _ in range(2):  # what it wrote is replaced again
        assert document.main(["--warm", str(run), "--growth", str(group)], tmp_path) == 0
    page = (tmp_path / "docs/PERFORMANCE.md").read_text()
    assert targets.report(results()) in page
    assert page.count("| known users |") == 2
    headline = document.sentence(results())
    assert headline in page and headline in (tmp_path / "README.md").read_text()
    chart = (tmp_path / "docs/performance.svg").read_text()
    assert chart.count("<rect") == 2 and chart.count('<rect class="other"') == 1 and ">3.2 ms<" in chart
    assert "<!-- figures: tuning -->" in page


def test_the_readme_has_the_figure_of_the_page() -> None:
    page, readme = ((ROOT / name).read_text() for name in ("docs/PERFORMANCE.md", "README.md"))
    found = document.SENTENCE.findall(page)
    assert len(found) == 1 and found == document.SENTENCE.findall(readme)
