"""Run a private Prosody: a connection manager that differs from ejabberd's."""

import os
import shutil
import subprocess
from pathlib import Path

from private_ejabberd import answers, free_port

from tests.real.parts import until

CONFIGURATION = """\
run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
certificates = "{folder}/certs"
modules_enabled = {{ "bosh"; "saslauth"; "roster"; "disco"; "ping" }}
modules_disabled = {{ "s2s"; "c2s" }}
http_ports = {{ {port} }}
http_interfaces = {{ "127.0.0.1" }}
https_ports = {{}}
allow_unencrypted_plain_auth = true
consider_bosh_secure = true
authentication = "internal_hashed"
log = {{ info = "{folder}/prosody.log" }}
VirtualHost "example.org"
"""


class Prosody:
    """A running Prosody with BOSH at ``/http-bind`` on ``port``."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._configuration = folder / "prosody.cfg.lua"
        for name in ("data", "certs"):
            (folder / name).mkdir(parents=True)
        self._configuration.write_text(CONFIGURATION.format(folder=folder, port=self.port))
        prosody = shutil.which("prosody")
        assert prosody, "prosody is not installed"
        environ = dict(os.environ) | {"HOME": str(folder)}
        self._process = subprocess.Popen(
            [prosody, "--config", self._configuration, "-F"],
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: answers(self.port))

    def register(self, user: str, password: str) -> None:
        """Register an account."""
        subprocess.run(
            ["prosodyctl", "--config", self._configuration, "register", user, "example.org", password],
            check=True,
            capture_output=True,
        )

    def stop(self) -> None:
        """Stop Prosody."""
        self._process.terminate()
        self._process.wait(10)
