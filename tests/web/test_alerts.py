"""The alert rules name metrics and outcomes that exist."""

import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import values

from warmside.web import metrics
from warmside.web.metrics import Metrics
from warmside.web.problems import PROBLEMS

RULES = Path(__file__).resolve().parents[2] / "etc/alerts.yml"


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the metrics of a process that has counted."""
    monkeypatch.setattr(metrics, "_opened", {})
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    counted = Metrics(tmp_path)
    counted.warmed("success", 0.01)
    counted.step("authentication", 0.01)
    return counted.text().decode()


def test_rules_name_metrics_and_outcomes_that_exist(text: str) -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert len(rules) == 5
    names = [name for rule in rules for name in re.findall(r"\bwarmside_\w+", rule["expr"])]
    described = {name for rule in rules for name in re.findall(r"\bwarmside_\w+", rule["annotations"]["description"])}
    assert len(names) == 5
    for name in names:
        assert re.search(rf"^{name}\{{", text, re.MULTILINE), name
    for name in described:
        assert f"# TYPE {name} " in text
    outcomes = [
        each for rule in rules for found in re.findall(r'outcome=~"([^"]+)"', rule["expr"]) for each in found.split("|")
    ]
    assert len(outcomes) == 13 and set(outcomes) <= set(PROBLEMS)
