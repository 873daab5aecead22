"""A sound set-up whose files a test breaks: those of a running ejabberd with warmside."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.doctor import cures
from tests.real.parts import Server, exchanged
from warmside import cli

OLD = "old-ejabberd"
"""The only finding of a sound set-up with ejabberd before 26.07."""


class CheckedSite:
    """The files of a server, and ``warmside check`` on them."""

    def __init__(self, server: Server, capsys: "pytest.CaptureFixture[str]") -> None:
        self.server = server
        self.yml = server.folder / "ejabberd" / "ejabberd.yml"
        self.toml = server.toml
        self._capsys = capsys
        self._kept = [(path, path.read_bytes(), path.stat().st_mode) for path in (self.yml, self.toml, server.admins)]

    def restore(self) -> None:
        """Write the files again as they were."""
        for path, content, mode in self._kept:
            path.write_bytes(content)
            path.chmod(stat.S_IMODE(mode))
            os.chown(path, os.geteuid(), os.getegid())

    def change(self, path: Path, *pairs: tuple[str, str]) -> None:
        """Replace texts in a file; see `exchanged`."""
        path.write_text(exchanged(path.read_text(), *pairs))

    def report(self, *arguments: str, config: Path | None = None, yml: Path | None = None) -> dict[str, Any]:
        """Return the report of ``warmside check --json --offline``, and check its exit status."""
        self._capsys.readouterr()
        paths = ["--config", str(config or self.toml), "--ejabberd", str(yml or self.yml)]
        status = cli.main(["check", "--json", "--offline", *paths, *arguments])
        report: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        assert status == (0 if report["ok"] else 1)
        assert report["ok"] == all(each["severity"] != "error" for each in report["findings"])
        assert all(each["cure"] and each["says"] for each in report["findings"])
        return report

    def findings(self, **files: Path) -> list[dict[str, Any]]:
        """Return the findings, apart from that about an old version."""
        return [each for each in self.report(**files)["findings"] if each["name"] != OLD]

    def names(self, **files: Path) -> list[str]:
        """Return the names of the findings, apart from that about an old version."""
        return [each["name"] for each in self.findings(**files)]

    def cured(self, name: str, *, host: str | None = None, **files: Path) -> dict[str, Any]:
        """Find exactly this fault, apply its cure, and see it gone. Return the finding."""
        found = self.findings(**files)
        assert [(each["name"], each["host"]) for each in found] == [(name, host)]
        cures.apply(found[0]["cure"])
        assert self.findings(**files) == []
        return found[0]
