"""Write the figures of the benchmarks into docs/PERFORMANCE.md and README.md, and draw docs/performance.svg.

    .venv/bin/python -m tests.bench.document [--warm FILE] [--growth FILE] [--tuning FILE]

Each FILE is what the benchmark of that name wrote with ``--json``. In PERFORMANCE.md, the text between
``<!-- figures: NAME -->`` and ``<!-- end -->`` is replaced. The sentence with the headline figure stands in both
documents.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from textwrap import fill
from typing import Any
from xml.etree.ElementTree import ElementTree

from tests.bench import growth, targets, tuning
from tests.bench.chart import Bar, bar_chart
from tests.real.parts import ROOT

LABELS = {"classic": "bare login, 5 requests", "warm": "POST /warm", "prebind": "PHP prebind library"}
SENTENCE = re.compile(r"In the last measurement, a warm session took .+?\swarmside's\sCPU\stime\.", re.DOTALL)


def sentence(results: dict[str, Any]) -> str:
    """Return the sentence with the headline figure."""
    classic, warm = (find(results, way, 1) for way in ("classic", "warm"))
    ratio = median(targets.ratios(warm, classic, "p50"))
    p50, cpu = median(warm["p50"]), median(warm["warmside"])
    text = (
        f"In the last measurement, a warm session took {p50:.1f} ms, which is {ratio:.2f} times the bare login of five "
        f"requests, and {cpu:.1f} ms of warmside's CPU time."
    )
    return fill(text, 120)


def find(results: dict[str, Any], way: str, at_once: int) -> dict[str, list[float]]:
    """Return the series of a way at a concurrency."""
    return next(each for each in results["series"] if (each["way"], each["at_once"]) == (way, at_once))


def chart(results: dict[str, Any]) -> ElementTree:
    """Return the chart: the median latency of each way at 1 at once."""
    series = sorted((each for each in results["series"] if each["at_once"] == 1), key=lambda each: median(each["p50"]))
    bars = [
        Bar(LABELS[each["way"]], median(each["p50"]), f"{median(each['p50']):.1f} ms", each["way"] != "warm")
        for each in series
    ]
    return bar_chart(bars, f"Time of one login, one after the other (p50, ejabberd {results['ejabberd']})")


def growth_report(rows: list[dict[str, Any]]) -> str:
    """Return the table of `tests.bench.growth`, from its JSON."""
    return growth.report([growth.Row(**each) for each in rows])


def replaced(text: str, name: str, figures: str) -> str:
    """Return a document with other figures below a mark.

    :raises AssertionError: the document has no such mark.
    """
    start, end = f"<!-- figures: {name} -->\n", "\n<!-- end -->"
    before, mark, rest = text.partition(start)
    assert mark and end in rest, f"the document lacks {start.strip()} or its end"
    return f"{before}{mark}\n{figures}\n{rest[rest.index(end) :]}"


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Write the documents and the chart."""
    reports: dict[str, Callable[[Any], str]] = {
        "warm": targets.report,
        "growth": growth_report,
        "tuning": tuning.report,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in reports:
        parser.add_argument(f"--{name}", type=Path, metavar="FILE")
    parsed = parser.parse_args(arguments)
    document, readme = root / "docs/PERFORMANCE.md", root / "README.md"
    for name, report in reports.items():
        path: Path | None = getattr(parsed, name)
        if path is None:
            continue
        results = json.loads(path.read_text())
        document.write_text(replaced(document.read_text(), name, report(results)))
        if name == "warm":
            for each in (document, readme):
                text, found = SENTENCE.subn(sentence(results), each.read_text())
                assert found == 1, f"{each.name} lacks the sentence that starts with 'In the last measurement'"
                each.write_text(text)
            chart(results).write(root / "docs/performance.svg", encoding="utf-8", xml_declaration=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
