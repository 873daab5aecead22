"""``warmside setup`` on a real ejabberd with accounts of its own."""

import contextlib
import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from private_ejabberd import PrivateEjabberd, free_port

from tests.real.boshclient import BoshClient, Refused
from tests.real.parts import ADMIN, HASH, PYTHON, Server, run, until
from warmside.doctor import changes, setup
from warmside.doctor.plan import Places
from warmside.doctor.survey import survey

YML = """\
hosts: [example.org]
auth_use_cache: true   # the default
api_permissions:
  tests:
    who:
      - ip: 127.0.0.0/8
    what: "*"
listen:
  - port: API
    ip: "127.0.0.1"
    module: ejabberd_http
    request_handlers:
      /api: mod_http_api
modules:
  mod_http_api: {}
  mod_admin_extra: {}
  mod_roster: {}
"""


class Own(Server):
    """An ejabberd that knows nothing of warmside yet."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.yml = folder / "ejabberd" / "ejabberd.yml"
        self.places = Places(folder / "tmpfiles.conf", folder / "runtime", folder / "state")
        self.ejabberd = PrivateEjabberd(folder / "ejabberd", YML.replace("API", str(self.api)), self.api)
        self.ejabberd.start(environ=self.environ)

    def apply(self) -> str:
        """Run ``warmside setup --apply`` and return its output."""
        line = f"{PYTHON} -I -m warmside extauth --config {self.toml}"
        with contextlib.redirect_stdout(io.StringIO()) as output:
            assert setup.setup(self.yml, self.toml, apply=True, places=self.places, program=line) == 0
        return output.getvalue()

    def restart(self) -> None:
        """Start ejabberd again with its file as it is now."""
        self.stop()
        self.ejabberd = PrivateEjabberd(self.folder / "ejabberd", self.yml.read_text(), self.api)
        self.ejabberd.start(environ=self.environ)


@pytest.fixture(scope="module")
def own() -> Iterator[Own]:
    folder = Path(tempfile.mkdtemp(prefix="warmside-test-"))
    server = Own(folder)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


def test_internal_accounts_are_found_and_stay_valid(own: Own) -> None:
    before = own.yml.read_text()
    found = survey(own.yml)
    assert (found.accounts, found.ejabberd.hosts) == (False, ("example.org",)), found.reason
    assert found.version is not None
    own.command("register", user="romeo", host="example.org", password="his own")
    until(lambda: survey(own.yml).accounts)
    assert "passwd" in survey(own.yml).reason

    output = own.apply()
    assert "auth_method becomes [internal, external]" in output
    assert found.version >= "26.07" or "warning: in ejabberd before 26.07" in output
    own.restart()
    until(own.serves)
    reply = own.warm(jid="juliet@example.org")
    assert reply.status == 200, reply.body
    client = BoshClient(own.bosh).attach(reply.json())
    assert own.sessions("juliet") == [reply.json()["jid"]]
    client.terminate()
    assert own.warm(jid="romeo@example.org", password="his own").status == 200
    assert own.warm(jid="romeo@example.org", password="not his own").status == 403
    with pytest.raises(Refused):
        BoshClient(own.bosh).log_in("juliet", "guessed")

    assert changes.remove(own.yml, own.toml, places=own.places, say=lambda _: None) == 0
    assert own.yml.read_text() == before
    own.restart()
    assert own.command("check_account", user="romeo", host="example.org") == 0


def test_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "ejabberd.yml").write_text("hosts: [example.org]\n")
    (tmp_path / "admins").write_text(f"{ADMIN}:{HASH}\n")
    port = free_port()
    (tmp_path / "warmside.toml").write_text(
        f'[admins]\nfile = "{tmp_path}/admins"\n[http]\nlisten = "tcp:{port}:interface=127.0.0.1"\n'
    )
    common = ["--config", tmp_path / "warmside.toml", "--ejabberd"]
    missing = run(PYTHON, "-m", "warmside", "setup", *common, tmp_path / "none.yml")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "none.yml does not exist" in missing.stderr
    both = run(PYTHON, "-m", "warmside", "setup", "--apply", "--remove", *common, tmp_path / "ejabberd.yml")
    assert both.returncode == 2 and "not allowed with argument" in both.stderr
    before = sorted(tmp_path.iterdir())
    shown = run(PYTHON, "-m", "warmside", "setup", *common, tmp_path / "ejabberd.yml")
    # A Python below /root or /home is refused: ejabberd's unit hides both.
    assert shown.returncode in (0, 1)
    assert ("+include_config_file" in shown.stdout) if shown.returncode == 0 else ("hides from it" in shown.stderr)
    assert sorted(tmp_path.iterdir()) == before
