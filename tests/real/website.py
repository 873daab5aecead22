"""A web site as in production: the Flask example with the pages, behind a web server with a sample of etc/proxies."""

import os
import subprocess
import sys
from pathlib import Path

from private_ejabberd import answers, free_port

from tests.real.browser import Browser, libraries
from tests.real.parts import PASSWORD, ROOT, Server, exchanged, until

EXAMPLES = ROOT / "etc/examples"
SAMPLES = {"nginx": "nginx.conf", "apache": "apache.conf", "caddy": "Caddyfile"}
NGINX_MODULES = "".join(f"load_module /usr/lib/nginx/modules/ngx_stream{name}_module.so;\n" for name in ("", "_js"))
APACHE_MODULES = ("mpm_event", "alias", "authz_core", "headers", "proxy", "proxy_http")


def static_folder(folder: Path) -> Path:
    """Put the pages and the client libraries into a folder, as their comments say."""
    for path in (*EXAMPLES.glob("*.html"), *EXAMPLES.glob("*.js"), *EXAMPLES.glob("*.css")):
        (folder / path.name).write_bytes(path.read_bytes())
    strophe = libraries() / "strophe.js/dist/strophe.umd.min.js"
    (folder / strophe.name).write_bytes(strophe.read_bytes())
    (folder / "converse").symlink_to(libraries() / "converse.js/dist")
    return folder


class Application:
    """The Flask example with the pages as its static files.

    :param server: warmside and ejabberd.
    :param folder: an empty folder for the static files.
    """

    def __init__(self, server: Server, folder: Path) -> None:
        self.port = free_port()
        environ = os.environ | {
            "WARMSIDE": f"http://127.0.0.1:{server.port}",
            "WARMSIDE_PASSWORD": PASSWORD,
            "SECRET_KEY": "for a test",
            "STATIC": str(static_folder(folder)),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", EXAMPLES / "flask_app.py", "run", "-p", str(self.port)],
            env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(lambda: answers(self.port))

    def close(self) -> None:
        """Stop the application."""
        self.process.terminate()
        self.process.wait(10)


class WebServer:
    """A web server with its sample.

    :param name: ``nginx``, ``apache`` or ``caddy``.
    :param application: port of the web application.
    :param bosh: port of ejabberd's listener with ``/bosh`` and ``/ws``.
    """

    def __init__(self, name: str, application: int, bosh: int, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._bosh = bosh
        text = exchanged(
            (ROOT / "etc/proxies" / SAMPLES[name]).read_text(),
            ("127.0.0.1:5282", f"127.0.0.1:{bosh}"),
            ("127.0.0.1:8000", f"127.0.0.1:{application}"),
        )
        self._command: list[object] = getattr(self, f"_{name}")(text)
        self.start()

    def start(self) -> None:
        """Start the web server."""
        environ = os.environ | {"XDG_DATA_HOME": str(self._folder), "XDG_CONFIG_HOME": str(self._folder)}
        log = (self._folder / "web.log").open("ab")
        self._process = subprocess.Popen([str(part) for part in self._command], env=environ, stdout=log, stderr=log)
        log.close()
        until(lambda: answers(self.port))

    def stop(self) -> None:
        """Stop the web server."""
        self._process.terminate()
        self._process.wait(20)

    def _nginx(self, text: str) -> list[object]:
        folder = self._folder
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
        limiting = free_port()
        (folder / "stream.conf").write_text(
            exchanged(
                (ROOT / "etc/proxies/nginx-websocket.conf").read_text(),
                ("127.0.0.1:5282", f"127.0.0.1:{self._bosh}"),
                ("127.0.0.1:5283", f"127.0.0.1:{limiting}"),
                ("/etc/nginx", str(ROOT / "etc/proxies")),
            )
        )
        text = exchanged(text, ("127.0.0.1:5283", f"127.0.0.1:{limiting}"))
        (folder / "main.conf").write_text(
            f"{NGINX_MODULES}daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/error.log;\n"
            "events {}\n"
            f"http {{\naccess_log off;\n{temporary}include site.conf;\n}}\ninclude stream.conf;\n"
        )
        (folder / "site.conf").write_text(exchanged(text, ("listen 80;", f"listen 127.0.0.1:{self.port};")))
        return ["/usr/sbin/nginx", "-p", folder, "-c", folder / "main.conf"]

    def _apache(self, text: str) -> list[object]:
        folder = self._folder
        modules = "".join(
            f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n" for name in APACHE_MODULES
        )
        (folder / "main.conf").write_text(
            f"ServerRoot {folder}\nServerName localhost\nListen 127.0.0.1:{self.port}\nPidFile {folder}/pid\n"
            f"DefaultRuntimeDir {folder}\nErrorLog {folder}/error.log\nUser daemon\nGroup daemon\n"
            f"{modules}Include site.conf\n"
        )
        (folder / "site.conf").write_text(exchanged(text, ("*:80", f"127.0.0.1:{self.port}")))
        return ["/usr/sbin/apache2", "-f", folder / "main.conf", "-DFOREGROUND"]

    def _caddy(self, text: str) -> list[object]:
        site = exchanged(text, ("\n:80 {", f"\n:{self.port} {{\n\tbind 127.0.0.1"))
        (self._folder / "Caddyfile").write_text("{\n\tadmin off\n}\n" + site)
        return ["/usr/bin/caddy", "run", "--config", self._folder / "Caddyfile"]


def log_in(browser: Browser, url: str, user: str) -> None:
    """Log in to the application as a user, in a page of the same origin that has no script. Sign up if need be."""
    browser.get(f"{url}/static/chat.css")
    status = browser.run(
        "const [user, done] = arguments;"
        "const post = (path) => fetch(path, {method: 'POST', body: new URLSearchParams({user})});"
        "post('/login').then((reply) => reply.ok ? reply : post('/signup')).then((reply) => done(reply.status))",
        user,
    )
    assert status == 200
