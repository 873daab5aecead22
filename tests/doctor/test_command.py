"""The command line of ``warmside check``, and what holds whatever it finds."""

import json
import os
import pty
import re
import string
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.support import now
from warmside import cli
from warmside.doctor import examine
from warmside.doctor.context import Context, Options
from warmside.doctor.processes import Process, config_of, newest, version_of
from warmside.findings import KINDS, Finding, make

CONTRACT = [
    "config",
    "not-running",
    "foreign-listener",
    "mixed-configurations",
    "permissions",
    "writable",
    "folders",
    "program",
    "auth-method",
    "auth-cache",
    "pool",
    "no-handler",
    "no-mod-bosh",
    "bosh-unreachable",
    "bosh-not-bosh",
    "bosh-certificate",
    "bosh-elsewhere",
    "unknown-host",
    "not-asked",
    "plain-off",
    "banned",
    "fail2ban",
    "mod-register",
    "oversized-passwords",
    "no-offline",
    "admin-unprotected",
    "ping-kills",
    "anonymous",
    "mod-auth-fast",
    "old-ejabberd",
    "starttls",
    "relay",
    "authority",
    "shared",
]
WARNINGS = {"pool", "fail2ban", "oversized-passwords", "no-offline", "ping-kills", "old-ejabberd", "starttls"}


def test_names() -> None:
    """The names and severities are stable."""
    assert sorted(KINDS) == sorted(CONTRACT)
    assert {name for name, kind in KINDS.items() if kind.severity == "warning"} == WARNINGS


@pytest.mark.parametrize("name", CONTRACT)
def test_texts(name: str) -> None:
    """Each text is filled in from its fields, and no cure is empty."""
    kind = KINDS[name]
    fields = {field for text in kind[1:] for _, field, _, _ in string.Formatter().parse(text) if field}
    found = make(name, host="h.example", **{field: f"<{field}>" for field in fields - {"host"}})
    assert (found.name, found.severity, found.host) == (name, kind.severity, "h.example")
    assert found.says and found.cure and "{" not in found.says + found.cure
    assert all(f"<{field}>" in found.says + found.cure for field in fields - {"host"})


@pytest.mark.parametrize("broken", ["toml", "yml", "both", "folder"])
def test_json_whatever_is_wrong(broken: str, tmp_path: Path, capsys: "pytest.CaptureFixture[str]") -> None:
    """stdout is one JSON object; what could not be read is in ``unseen`` or a finding."""
    toml, yml = tmp_path / "warmside.toml", tmp_path / "ejabberd.yml"
    toml.write_text("[" if broken in ("toml", "both") else "")
    yml.write_text("hosts: [" if broken in ("yml", "both") else "hosts: [example.org]")
    if broken == "folder":
        toml.unlink()
        toml.mkdir()
    status = cli.main(["check", "--json", "--offline", "--config", str(toml), "--ejabberd", str(yml)])
    report = json.loads(capsys.readouterr().out)
    assert (status, report["ok"]) == (1, False)
    assert "config" in [each["name"] for each in report["findings"]]
    assert any("not YAML" in each for each in report["unseen"]) == (broken in ("yml", "both"))


@pytest.mark.parametrize("jid", [["no jid"], ["juliet@example.org", "--offline"]])
def test_usage(jid: list[str], capsys: "pytest.CaptureFixture[str]") -> None:
    """A JID that is none, and one where no connection may be opened: status 2, and JSON all the same."""
    assert cli.main(["check", "--json", *jid]) == 2
    output = capsys.readouterr()
    assert json.loads(output.out)["ok"] is False and "warmside check: " in output.err
    with pytest.raises(SystemExit) as exit_:
        cli.main(["check", "--unknown"])
    assert exit_.value.code == 2


def test_text(tmp_path: Path, capsys: "pytest.CaptureFixture[str]") -> None:
    """The text has the same findings, no colours, and nothing on stderr that is no terminal."""
    yml = tmp_path / "ejabberd.yml"
    yml.write_text("hosts: [example.org]\n")
    files = ["--offline", "--config", str(tmp_path / "warmside.toml"), "--ejabberd", str(yml)]
    cli.main(["check", "--json", *files])
    report = json.loads(capsys.readouterr().out)
    assert cli.main(["check", *files]) == 1
    output = capsys.readouterr()
    assert re.findall(r"^(error|warning): ([a-z0-9-]+)", output.out, re.M) == [
        (each["severity"], each["name"]) for each in report["findings"]
    ]
    assert "\x1b" not in output.out and output.err == ""
    errors = sum(each["severity"] == "error" for each in report["findings"])
    assert output.out.endswith(f"errors: {errors}, warnings: {len(report['findings']) - errors}\n")


def test_progress_at_a_terminal(tmp_path: Path) -> None:
    """stderr has the progress if it is a terminal; stdout has the report alone."""
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "warmside", "check", "--offline", "--json", "--config", str(tmp_path / "x")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=end, timeout=60, check=False)
    os.close(end)
    assert json.loads(done.stdout)["ok"] is False
    assert b"examining permissions" in os.read(terminal, 65536)
    os.close(terminal)


def test_a_check_that_hangs_or_fails_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is in ``unseen``; all end within the limit, and one finding replaces another."""
    elsewhere = make("bosh-elsewhere", url="u", fault="f", cure="c")
    handler = make("no-handler", where="w", port="p", path="/bosh", url="u", cure="c")

    async def hanging(context: Context) -> list[Finding]:
        await Deferred()
        return []

    async def failing(context: Context) -> list[Finding]:
        raise RuntimeError("boom")

    async def finding(context: Context) -> list[Finding]:
        return [elsewhere, elsewhere]

    monkeypatch.setattr(examine, "FILE_CHECKS", (lambda _: 1 / 0, lambda _: [handler]))
    monkeypatch.setattr(examine, "ONLINE_CHECKS", (hanging, failing, finding))
    clock = Clock()
    result = Deferred.fromCoroutine(examine.examine(Context(Options(Path("/x"))), clock))
    clock.advance(examine.TIMEOUT)
    report = now(result)
    assert report.findings == (elsewhere,) and not report.ok
    assert [each.partition(":")[0] for each in report.unseen] == ["<lambda>", "failing", "hanging"]


def test_command_lines() -> None:
    """The configuration file of a process of warmside."""
    python = ("/v/bin/python", "-I", "-m", "warmside", "extauth")
    assert config_of((*python, "--config", "/c")) == "/c"
    assert config_of((*python, "--config=/c")) == "/c"
    assert config_of(python) == "/etc/warmside/warmside.toml"
    assert config_of(("/v/bin/python", "/v/bin/twistd", "-n", "warmside", "-c", "/c")) == "/c"
    assert config_of(("/v/bin/python", "/v/bin/warmside", "check", "--config", "/c")) is None
    assert config_of(("/bin/sh", "extauth")) is None


def test_version(tmp_path: Path) -> None:
    """The folder that the process loads counts; the newest of several."""
    for name in ("ejabberd-24.12", "ejabberd-26.07", "ejabberd-9.1", "other-99.1"):
        (tmp_path / name / "ebin").mkdir(parents=True)
        (tmp_path / name / "ebin" / "ejabberd.app").touch()
    process = Process(1, 0, ("beam.smp",), {"ERL_LIBS": str(tmp_path)})
    assert version_of(process) == "26.07"
    assert version_of(Process(1, 0, ("beam.smp", "-pa", "/opt/ejabberd-25.03/lib/ejabberd-25.03/ebin"), {})) == "25.03"
    assert newest([]) is None and newest(["ejabberd-23.01-1"]) == "23.01"
