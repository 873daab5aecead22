"""Metrics of several processes."""

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from warmside.extauth.request import ExtauthRequest
from warmside.otp import PREFIX
from warmside.web.metrics import Metrics

CHILD = """
import sys
from pathlib import Path
from warmside.extauth.request import ExtauthRequest
from warmside.web.metrics import Metrics
metrics = Metrics(Path(sys.argv[1]))
metrics.answer(ExtauthRequest("auth", "juliet", "example.org", b"right"), True)
metrics.connections(3)
metrics.warmed("success", 0.01)
metrics.flush()
print("counted", flush=True)
sys.stdin.read()
"""


class Child:
    """A process that counts in the same folder."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"counted\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def value(metrics: Metrics, name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return 0.0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    return tmp_path


def test_processes_are_summed_and_the_counts_of_a_killed_one_stay(folder: Path) -> None:
    metrics = Metrics(folder)
    metrics.answer(ExtauthRequest("auth", "juliet", "example.org", b"right"), True)
    metrics.connections(2)
    children = [Child(folder) for _ in range(2)]
    answers = {"operation": "auth", "answer": "yes"}
    assert value(metrics, "warmside_extauth_answers_total", **answers) == 3
    assert value(metrics, "warmside_connections_in_use") == 8
    for child in children:
        child.kill()
    assert value(metrics, "warmside_extauth_answers_total", **answers) == 3
    assert value(metrics, "warmside_connections_in_use") == 2
    metrics.close()


def test_a_new_process_continues_in_the_files_of_one_that_ended(folder: Path) -> None:
    metrics = Metrics(folder)
    for _ in range(5):
        Child(folder).kill()
    assert value(metrics, "warmside_warm_total", outcome="success") == 5
    assert value(metrics, "warmside_warm_seconds_count") == 5
    assert len(list(folder.glob("counter_*.db"))) == 2
    metrics.close()


def test_counts_are_added_up_in_memory_and_written_at_a_flush_a_scrape_and_the_end(folder: Path) -> None:
    scraped, other = Metrics(folder), Metrics(folder)
    writes = (other.flush, other.text, other.close)
    for number, write in enumerate(writes):
        for _ in range(3):
            other.warmed("success", 0.01)
        assert value(scraped, "warmside_warm_total", outcome="success") == 3 * number
        write()
        assert value(scraped, "warmside_warm_total", outcome="success") == 3 * number + 3
        assert value(scraped, "warmside_warm_seconds_count") == 3 * number + 3
    scraped.close()


def test_labels_contain_no_names(folder: Path) -> None:
    metrics = Metrics(folder)
    metrics.warmed("policy", 0.1)
    metrics.handed_out("success", 0.1)
    metrics.step("authentication", 0.004)
    metrics.password("minted", 1)
    metrics.password("expired", 3)
    families = {family.name: family for family in text_string_to_metric_families(metrics.text().decode())}
    labels = {name for family in families.values() for sample in family.samples for name in sample.labels}
    assert labels == {"outcome", "step", "event", "operation", "answer", "le"}
    assert value(metrics, "warmside_one_time_passwords_total", event="expired") == 3
    assert value(metrics, "warmside_step_seconds_bucket", step="authentication", le="0.005") == 1
    metrics.close()


def test_redeemed_and_rejected_one_time_passwords_are_counted(folder: Path) -> None:
    metrics = Metrics(folder)
    one_time = ExtauthRequest("auth", "juliet", "example.org", f"{PREFIX}x".encode())
    for request, accepted in ((one_time, True), (one_time, False), (one_time, False), (None, False)):
        metrics.answer(request, accepted)
    metrics.answer(ExtauthRequest("setpass", "juliet", "example.org", one_time.secret), False)
    metrics.answer(ExtauthRequest("auth", "juliet", "example.org", b"ordinary"), True)
    counted = [value(metrics, "warmside_one_time_passwords_total", event=event) for event in ("redeemed", "refused")]
    assert counted == [1, 2]
    assert value(metrics, "warmside_extauth_answers_total", operation="malformed", answer="no") == 1
    metrics.close()
