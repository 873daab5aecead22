"""The ``ejabberd.yml`` of Debian's package: its faults are cured one report at a time, and it warms a session."""

import re
import sys
from pathlib import Path

import pytest
from private_ejabberd import PrivateEjabberd, free_port

from tests.doctor import cures
from tests.real.checked import CheckedSite
from tests.real.parts import HASH, Server, until

STOCK = Path("/etc/ejabberd/ejabberd.yml")


class StockServer(Server):
    """A server with Debian's file; only ports differ. Its folders are those of the environment."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        text = re.sub(r"^( +port:) \d+$", lambda match: f"{match[1]} {free_port()}", STOCK.read_text(), flags=re.M)
        self.first_port = int(re.findall(r"^ +port: (\d+)$", text, flags=re.M)[0])
        self.ejabberd = PrivateEjabberd(folder / "ejabberd", text, self.first_port)


def test_stock(tmp_path: Path, capsys: "pytest.CaptureFixture[str]", monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cure of a report is applied before the next one; then ejabberd starts and a session is warm."""
    for name, folder in (("RUNTIME_DIRECTORY", "runtime"), ("STATE_DIRECTORY", "state")):
        (tmp_path / folder).mkdir()
        monkeypatch.setenv(name, str(tmp_path / folder))
    server = StockServer(tmp_path)
    server.start(serving=False)
    try:
        site = CheckedSite(server, capsys)
        seen: set[str] = set()
        for _ in range(4):
            found = site.findings()
            seen |= {each["name"] for each in found}
            for each in found:
                cures.apply(each["cure"])
        assert site.findings() == []
        assert {"auth-method", "auth-cache", "program", "pool", "no-handler", "fail2ban", "oversized-passwords"} == seen
        text = site.yml.read_text()
    finally:
        server.stop()
    assert f"{sys.executable} -I -m warmside extauth --config {server.toml}" in text and HASH not in text
    server.ejabberd = PrivateEjabberd(tmp_path / "ejabberd", text, server.bosh)
    server.start(serving=False)
    try:
        until(server.serves)
        reply = server.warm(jid="juliet@localhost")
        assert reply.status == 200, reply.body
        assert site.findings() == []
    finally:
        server.stop()
