"""What ``etc/quickstart`` and ``etc/cluster`` share: install what is missing, run servers. Standard library only."""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from private_ejabberd import EjabberdFailed, PrivateEjabberd, answers, library_folder, version

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "quickstart-stamp"
LIBRARIES = VENV / "demo"
POLICY = Path("/usr/sbin/policy-rc.d")
SERVICES = ("ejabberd", "redis-server", "nginx")
"""Debian's packages that start a service when the machine starts."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
START_TIMEOUT = 30.0
"""Seconds until a server has to answer."""

EJABBERD = """\
hosts: [localhost]
loglevel: info
auth_method: [external]
disable_sasl_mechanisms: [X-OAUTH2]
auth_use_cache: false
extauth_program: "{program}"
extauth_pool_name: warmside
extauth_pool_size: 2
listen:
  - port: {bosh}
    ip: "127.0.0.1"
    module: ejabberd_http
    request_handlers:
      /bosh: mod_bosh
      /ws: ejabberd_http_ws
modules:
  mod_bosh: {{}}
  mod_carboncopy: {{}}
  mod_disco: {{}}
  mod_offline: {{}}
  mod_ping: {{}}
  mod_roster: {{}}
"""

WARMSIDE = """\
[admins]
file = "{folder}/admins"
[http]
listen = "tcp:{http}:interface=127.0.0.1"
[bosh]
url = "http://127.0.0.1:{bosh}/bosh"
public_url = "{public}"
"""


class Failed(Exception):
    """A fault that ends the command; the text is for the user."""


def run_command(name: str, work: "Callable[[Path], None]", **packages: str) -> int:
    """Install what is missing, and work in a temporary folder, until the work ends or a signal arrives.

    :param name: the command's name.
    :param packages: see `install`.
    :returns: the exit status.
    """
    for number in SIGNALS:  # a shell's background job starts with SIGINT ignored
        signal.signal(number, interrupt)
    try:
        install(**packages)
        with tempfile.TemporaryDirectory(prefix=f"warmside-{name}-", ignore_cleanup_errors=True) as folder:
            work(Path(folder))
    except (Failed, EjabberdFailed) as error:
        print(f"\n{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. All processes have exited.")
    return 0


def interrupt(*_: object) -> None:
    """Raise KeyboardInterrupt at the first signal."""
    ignore_signals()
    raise KeyboardInterrupt


def ignore_signals() -> None:
    """Let no other signal end the process before ejabberd has stopped."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def say(text: str) -> None:
    print(f"==> {text}", flush=True)


def install(**packages: str) -> None:
    """Install ejabberd, and warmside in a virtual environment, unless they are there.

    :param packages: commands that are needed, too, each with the name of its Debian package.
    :raises Failed: a package is missing and can't be installed.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 - an older Python gets a message instead of a traceback
        raise Failed(f"Python {sys.version.split()[0]} is too old: Python 3.11 or newer is needed")
    missing = [package for command, package in packages.items() if program_path(command) is None]
    if library_folder() is None or shutil.which("erl") is None:
        missing.append("ejabberd")
    if not works([sys.executable, "-c", "import ensurepip, venv"]):
        missing.append(f"python{sys.version_info.major}.{sys.version_info.minor}-venv")
    if missing:
        install_packages(missing)
    say(f"ejabberd {version()} is installed")
    wanted = hashlib.sha256((ROOT / "setup.py").read_bytes() + sys.version.encode() + str(ROOT).encode()).hexdigest()
    if not (STAMP.exists() and STAMP.read_text() == wanted and (VENV / "bin/warmside").exists()):
        say(f"creating the virtual environment {VENV} (only once; about half a minute)")
        if not works([str(VENV / "bin/python"), "-m", "pip", "--version"]):
            run(
                [sys.executable, "-m", "venv", "--clear", str(VENV)], f"the virtual environment {VENV} can't be created"
            )
        pip = [str(VENV / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run([*pip, "--editable", str(ROOT)], "pip can't install warmside and its dependencies")
        STAMP.write_text(wanted)
    say("warmside is installed")


def works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def install_packages(packages: list[str]) -> None:
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    by_hand = f"as root: apt-get update && {' '.join(command)}"
    if shutil.which("apt-get") is None:
        raise Failed(f"apt-get not found: install these packages yourself: {' '.join(packages)}")
    if os.geteuid() != 0:
        raise Failed(f"missing packages: {' '.join(packages)}. Install them {by_hand}")
    say(f"installing {' and '.join(packages)} with apt-get (only once; about a minute)")
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with no_services_started():
        run(["apt-get", "update", "-qq"], "apt-get update failed", environ)
        run([*command, "-qq"], f"apt-get can't install the packages; install them {by_hand}", environ)
        for service in SERVICES if shutil.which("systemctl") else ():
            if service in packages:
                subprocess.run(["systemctl", "disable", "--quiet", service], capture_output=True, check=False)


@contextlib.contextmanager
def no_services_started() -> Iterator[None]:
    """Stop Debian from starting the services of the packages that it installs."""
    kept = POLICY.with_name("policy-rc.d.warmside-kept")
    if POLICY.exists():
        POLICY.rename(kept)
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()
        if kept.exists():
            kept.rename(POLICY)


def run(command: list[str], trouble: str, environ: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = (done.stdout + done.stderr).strip().splitlines()[-8:]
        raise Failed(f"{trouble}:\n  " + "\n  ".join(words))


def wait_for_warmside(ejabberd: PrivateEjabberd, port: int) -> None:
    """Wait until warmside serves HTTP.

    :raises Failed: it does not within `START_TIMEOUT`.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
            return
        time.sleep(0.1)
    raise Failed(f"warmside does not answer on port {port}:\n{ejabberd.log_tail()}")


def client_libraries() -> bool:
    """Install Strophe and Converse.js with npm into the virtual environment. Return True if they are there."""
    wanted = (ROOT / "etc/demo/package.json").read_text()
    stamp = LIBRARIES / "package.json"
    if stamp.exists() and stamp.read_text() == wanted and (LIBRARIES / "node_modules").is_dir():
        return True
    if shutil.which("npm") is None:
        try:
            install_packages(["npm"])
        except Failed as error:
            say(f"no demo in the browser, because npm is missing: {error}")
            return False
    say("installing Strophe and Converse.js with npm for the demo (only once)")
    LIBRARIES.mkdir(parents=True, exist_ok=True)
    fetched = LIBRARIES / "fetched"
    fetched.mkdir(exist_ok=True)
    (fetched / "package.json").write_text(wanted)
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(fetched)]
    try:
        run(command, "npm can't install the client libraries")
    except Failed as error:
        say(f"no demo in the browser: {error}")
        return False
    shutil.rmtree(LIBRARIES / "node_modules", ignore_errors=True)
    (fetched / "node_modules").rename(LIBRARIES / "node_modules")
    shutil.rmtree(fetched)
    stamp.write_text(wanted)
    return True


def program_path(name: str) -> str | None:
    """Return the path of a program; ``None`` if it is not installed. For any user, daemons are found, too."""
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


class Machine:
    """An ejabberd with warmside as its extauth program, in a folder of its own.

    :param folder: created if it is missing.
    :param ports: of warmside's HTTP, and of ejabberd's listener with ``/bosh`` and ``/ws``.
    :param password: of the admin ``webapp``.
    :param public: the address of BOSH for browsers.
    """

    def __init__(self, folder: Path, ports: tuple[int, int], password: str, public: str) -> None:
        if " " in str(VENV):
            raise Failed(f"{VENV}: ejabberd can't start a program with a space in its path. Move the checkout")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.http, self.bosh = ports
        self.toml = folder / "warmside.toml"
        self.toml.write_text(WARMSIDE.format(folder=folder, http=self.http, bosh=self.bosh, public=public))
        command = [str(VENV / "bin/warmside"), "hash-password", "webapp"]
        line = subprocess.run(command, input=password, capture_output=True, text=True, check=True)
        (folder / "admins").write_text(line.stdout)
        (folder / "admins").chmod(0o600)  # warmside rejects a file that others can write, which umask 002 would create

    def ejabberd(self, options: tuple[str, ...] = ()) -> PrivateEjabberd:
        """Return the machine's ejabberd, which is not started yet.

        :param options: see `PrivateEjabberd`.
        """
        program = f"{VENV}/bin/python -I -m warmside extauth --config {self.toml}"
        text = EJABBERD.format(program=program, bosh=self.bosh)
        return PrivateEjabberd(self.folder / "ejabberd", text, self.bosh, options)

    @property
    def environ(self) -> dict[str, str]:
        """The environment of the machine's processes."""
        names = ("RUNTIME_DIRECTORY", "STATE_DIRECTORY")
        return dict(os.environ) | {name: str(self.folder / name.lower()) for name in names}


@contextlib.contextmanager
def running(command: list[str], ready: "Callable[[], bool]", environ: dict[str, str] | None = None) -> Iterator[None]:
    """Run a server during the block. Its output is this command's.

    :param ready: True once the server answers.
    :raises Failed: it exits, or does not answer within `START_TIMEOUT`.
    """
    server = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not ready():
            if server.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"{' '.join(command[:2])} does not start")
            time.sleep(0.05)
        yield
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(10)
        server.kill()
        server.wait()


def demo(port: int, password: str, **environ: str) -> "contextlib.AbstractContextManager[None]":
    """Serve ``etc/demo`` on a port during the block. Its client libraries have to be there, see `client_libraries`.

    :param password: of warmside's admin.
    :param environ: what ``etc/demo/server.py`` reads.
    """
    command = [sys.executable, str(ROOT / "etc/demo/server.py"), str(port), str(LIBRARIES / "node_modules")]
    return running(command, lambda: answers(port), os.environ | environ | {"WARMSIDE_PASSWORD": password})
