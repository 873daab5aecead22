"""An ejabberd.yml in a private folder, for `warmside setup`."""

import contextlib
import io
import os
from pathlib import Path

from warmside.doctor import processes, setup
from warmside.doctor.changes import remove
from warmside.doctor.plan import Places

STOCK = """\
# A file as Debian ships it, shortened.
loglevel: info

hosts:
  - localhost

define_macro:
  'TLS_OPTIONS':
    - "no_sslv3"

c2s_protocol_options: 'TLS_OPTIONS'

listen:
  -
    port: 5222
    ip: "::"
    module: ejabberd_c2s
    starttls_required: true
  -
    port: 5280
    module: ejabberd_http
    tls: true
    request_handlers:
      /admin: ejabberd_web_admin

disable_sasl_mechanisms:
  - "digest-md5"
  - "X-OAUTH2"

acl:
  admin:
     user:
       - ""

modules:
  mod_bosh: {}
  mod_disco: {}
  mod_roster:
    versioning: true
"""
LINE = "/opt/warmside/bin/python -I -m warmside extauth --config /etc/warmside/warmside.toml"


class SetUp:
    """Paths of one set-up below a folder; ejabberd's user is that of this process."""

    def __init__(self, folder: Path, text: str | bytes = STOCK) -> None:
        self.folder = folder
        self.yml = folder / "ejabberd" / "ejabberd.yml"
        self.included = folder / "ejabberd" / "warmside.yml"
        self.config = folder / "etc" / "warmside.toml"
        self.admins = folder / "etc" / "admins"
        self.places = Places(folder / "tmpfiles.d" / "warmside.conf", folder / "run", folder / "state")
        self.yml.parent.mkdir()
        self.places.tmpfiles.parent.mkdir()
        self.yml.write_bytes(text.encode() if isinstance(text, str) else text)
        self.yml.chmod(0o640)
        self.output = ""

    def setup(self, *, apply: bool) -> int:
        """Run ``warmside setup`` and record its output."""
        with contextlib.redirect_stdout(io.StringIO()) as output:
            try:
                return setup.setup(self.yml, self.config, apply=apply, places=self.places, program=LINE)
            finally:
                self.output = output.getvalue()

    def apply(self) -> int:
        """Run ``warmside setup --apply`` and record its output."""
        return self.setup(apply=True)

    def remove(self) -> int:
        """Run ``warmside setup --remove`` and record its output."""
        lines: list[str] = []
        status = remove(self.yml, self.config, places=self.places, say=lines.append)
        self.output = "\n".join(lines)
        return status

    def tree(self) -> dict[str, tuple[int, int, int, bytes]]:
        """Return mode, owner, group and content of every file and folder."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            status = path.stat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path.relative_to(self.folder))] = (status.st_mode, status.st_uid, status.st_gid, content)
        return found


def this_user(_: str) -> processes.Account:
    """Return the account of this process, in the place of `processes.account_named`."""
    return processes.account_of(os.geteuid())
