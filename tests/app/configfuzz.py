"""Random configurations, made from the sample ``etc/warmside.toml``, and a service that is driven through each one.

`tests/app/test_config_fuzz.py` runs 200 of them; the environment variable ``CONFIGURATIONS`` sets another number.
"""

import json
import os
import socket
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import strategies as st
from treq.testing import StubTreq
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver
from twisted.internet.testing import MemoryReactorClock
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from tests.app.configuration import HASH
from tests.support import now
from warmside.app.process import log_observer
from warmside.app.service import StartError, WarmsideService
from warmside.config.loader import ConfigError, load

SAMPLE = Path(__file__).parents[2] / "etc/warmside.toml"
FOLDER = "/FOLDER"
"""Stands for the example's folder in a configuration."""

Document = dict[str, Any]


def sample_keys() -> list[tuple[str, ...]]:
    """Return the path of every key in the sample, those in comments included."""
    lines = []
    for line in SAMPLE.read_text().splitlines():
        bare = line.removeprefix("# ")
        try:
            tomllib.loads(bare)
        except tomllib.TOMLDecodeError:
            continue
        lines.append(bare)
    found: list[tuple[str, ...]] = []
    table: tuple[str, ...] = ()
    for line in lines:
        parsed: Document = tomllib.loads(line)
        path: tuple[str, ...] = ()
        value: Any = parsed
        while isinstance(value, dict) and value:
            key = next(iter(value))
            path, value = (*path, key), value[key]
        if line.startswith("["):
            table = path
        elif path and (*table, *path) not in found:
            found.append((*table, *path))
    return found


KEYS = sample_keys()

paths = st.sampled_from(
    [FOLDER, f"{FOLDER}/admins", f"{FOLDER}/new", f"{FOLDER}/no/such", f"{FOLDER}/binary", f"{FOLDER}/open",
     f"{FOLDER}/loop", f"{FOLDER}/pem", "/", "/dev/null", "/dev/full", "/proc/self/mem", "/proc/1/mem", "relative",
     f"{FOLDER}/a\0b", f"{FOLDER}/{'x' * 300}", "/" + "y" * 5000, f"{FOLDER}/ü", f"{FOLDER}/admins/below", "//", "/..",
     f"{FOLDER}/fifo", f"{FOLDER}/secret"]
)  # fmt: skip
hosts = st.sampled_from(
    ["127.0.0.1", "[::1]", "::1", "localhost", "example.org", "a..b", ".", "ejabberd_1", "xn--", "xn--zz--", "-a-",
     "ex ample", "x" * 64, "127.1", "[::1%25lo]", "[v1.x]", "bücher.example", "xn--bcher-kva.example", "％", "", "0",
     "a" * 300 + ".b", "1.2.3.4.5", "example.org.", "\u00ad", "xn--a", "*", "a_b.c", "[::ffff:127.0.0.1]"]
)  # fmt: skip
ports = st.sampled_from(["", ":", ":0", ":1", ":65535", ":65536", ":x", ":-1", ":" + "9" * 5000, ":٣"])
urls = st.builds(
    lambda scheme, host, port, path: f"{scheme}://{host}{port}{path}",
    st.sampled_from(
        [
            "http",
            "https",
            "HTTP",
            "ftp",
            "http+unix",
            "http+unix:///run/x.sock:/bosh",
            "",
            "javascript",
            "redis",
            "rediss",
            "redis+unix",
        ]
    ),
    hosts,
    ports,
    st.sampled_from(["", "/", "/bosh", "/%", "/%zz", "/%00", "/?a=b", "/#x", "//", "/\r\nX: y", "/ü", "/["]),
)
endpoints = st.builds(
    "".join,
    st.lists(
        st.sampled_from(
            ["tcp", "tcp6", "ssl", "tls", "unix", "systemd", ":", "::", "=", "\\", "\\:", "0", "65536", "-1", "²", "x",
             "interface=127.0.0.1", "interface=", "interface=::1", "interface=\\:\\:1", "interface=localhost",
             "backlog=-1", "backlog=x", "mode=999", "mode=660", "domain=INET", "domain=UNIX", "index=0", "index=99",
             "name=x", "privateKey=", "certKey=", f"{FOLDER}/sock", f"{FOLDER}/pem", "\0", "wantPID=maybe"]
        ),
        max_size=8,
    ),
)  # fmt: skip
plausible_endpoints = st.sampled_from(
    ["tcp:0:interface=127.0.0.1", "tcp:0:interface=localhost", "tcp:0:interface=\\:\\:1", "tcp6:0:interface=\\:\\:1",
     "tcp:0:interface=127.0.0.300", "tcp:0:interface=a..b", "tcp:0", f"unix:{FOLDER}/sock", "unix:relative", "unix:",
     "unix:a\0b", f"unix:{FOLDER}/a\0b", "tcp:0:interface=127.0.0.1:backlog=-5", "tcp:²", "tcp:1_0",
     "tcp:0:interface=127.0.0.1\0", "tcp:0:interface=ü", f"unix:{FOLDER}/sock:mode=9", f"unix:{FOLDER}/sock:mode=-1",
     f"ssl:0:privateKey={FOLDER}/pem", "systemd:domain=UNIX:index=0", "systemd:domain=UNIX:name=\0", "\ue000"]
)  # fmt: skip
programs = st.sampled_from(
    ["/bin/cat", "/bin/cat a\0b", "/bin/cat '", "'/bin/cat' \"\"", "/", "cat", " ", f"{FOLDER}/admins", "/bin/\0", "''",
     "/bin/cat " + "x" * 5_000, "/bin/cat ü", "/bin/cat # no comment", "\\"]
)  # fmt: skip
authorities = st.sampled_from(
    ["a", "a.b", ".", "..", "os.", ".os", "os.path", "os.sep", "warmside.extauth.authorities.Authority", "a\0b", "ü",
     "warmside.extauth.authorities.", "builtins.object", "builtins.int", "x" * 10_000, "json.dumps", "a b", "1.2"]
)  # fmt: skip
jids = st.builds(
    "".join,
    st.lists(
        st.sampled_from(["a", "@", "/", "*", "example.org", ".", "-", "xn--", "\u3002", "ß", "ﬁ", "\u00ad", " ", "\0",
                         "x" * 1100, "﷐", "\u0627", "1", "_", "\ufffd", "％", "\U000e0001", "İ"]),
        max_size=6,
    ),
)  # fmt: skip
stores = st.sampled_from(
    ["sqlite", "sqlite://:memory:", "sqlite:///", "sqlite://relative", f"sqlite://{FOLDER}/new", "sqlite:////",
     f"sqlite://{FOLDER}/a\0b", f"sqlite://{FOLDER}/binary", f"sqlite://{FOLDER}", "sqlite:///dev/null", "redis://x",
     f"sqlite://{FOLDER}/{'x' * 250}", f"sqlite://{FOLDER}/{'x' * 255}", "sqlite:///" + "y" * 5000,
     f"sqlite://{FOLDER}/new?mode=ro", f"sqlite://{FOLDER}/fifo", f"sqlite://{FOLDER}/trap"]
)  # fmt: skip
networks = st.sampled_from(["127.0.0.1", "::/0", "0.0.0.0/33", "10.0.0.1/8", "fe80::1%lo", "1", "", "/", "a/b"])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
words = st.sampled_from(["known", "none", "any", "json", "text", "", " ", "\t", "\n", "true", "0"])
strings = st.one_of(
    paths, urls, endpoints, plausible_endpoints, programs, authorities, jids, stores, networks, texts, words
)
numbers = st.one_of(
    st.integers(),
    st.sampled_from([0, 1, -1, 2**31, 2**63, 2**64, 10**400, 300, 301, 1000, 3600]),
    st.floats(),
    st.sampled_from([0.1, 0.1 - 1e-17, float("nan"), float("inf"), -0.0, 5e-324]),
)
others = st.one_of(
    st.booleans(),
    st.just(date(2024, 1, 1)),
    st.just(datetime(2024, 1, 1, 1, 1, 1)),  # noqa: DTZ001 - TOML's local date-time
    st.just(time(1, 2, 3)),
)
values = st.recursive(
    st.one_of(strings, numbers, others),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=2)),
    max_leaves=4,
)
SUITABLE: dict[str, st.SearchStrategy[Any]] = {
    "insecure": st.booleans(),
    "file": paths,
    "accounts": st.lists(jids, max_size=2),
    "listen": st.one_of(plausible_endpoints, endpoints, st.lists(plausible_endpoints, max_size=2)),
    "trusted_proxies": st.lists(networks, max_size=2),
    "url": urls,
    "ca_file": paths,
    "public_url": urls,
    "timeout": st.floats(0.1, 300),
    "connections": st.integers(1, 1000),
    "store": stores,
    "lifetime": st.floats(1, 3600),
    "program": programs,
    "program_copies": st.integers(1, 100),
    "secret_file": paths,
    "password_file": paths,
    "prefix": texts,
    "authority": authorities,
    "users": st.one_of(words, st.lists(jids, max_size=2)),
    "users_file": paths,
    "hosts": st.lists(st.one_of(hosts, jids), max_size=2),
    "protected": st.lists(jids, max_size=2),
    "format": words,
}
"""Values of the right type, by the last part of the key: they come further than values of any type."""


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Return the text of a configuration: a usable one with some keys exchanged, now and then with broken TOML."""
    document: Document = {
        "insecure": draw(st.booleans()),
        "admins": {"file": f"{FOLDER}/admins"},
        "http": {"listen": "tcp:0:interface=127.0.0.1"},
    }
    for path in draw(st.lists(st.sampled_from(KEYS), max_size=4)):
        if draw(st.integers(0, 19)) == 0:
            path = (*path[:-1], draw(texts))
        elif path[0] in ("host", "admin") and draw(st.booleans()):
            path = (path[0], draw(st.one_of(hosts, jids, st.just("webapp"))), *path[2:])
        table = document
        for part in path[:-1]:
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):
                break
            table = inner
        else:
            suitable = SUITABLE.get(path[-1], values)
            table[path[-1]] = draw(suitable if draw(st.integers(0, 3)) else values)
    text = "".join(f"{to_key(key)} = {to_toml(value)}\n" for key, value in document.items())
    if draw(st.integers(0, 19)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.one_of(texts, st.sampled_from(BROKEN))) + text[at:]
    return text


BROKEN = ["[" * 3000, "x = " + "[" * 3000, "9" * 5000, "\n9 = " + "9" * 5000 + "\n", "\ufeff", "\r", "\x7f", "= ", "'"]


def to_key(key: str) -> str:
    """Return a key as TOML writes it."""
    return to_toml(key)


def to_toml(value: object) -> str:
    """Return a value as TOML writes it, on one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case int():
            return hex(value) if value > 2**63 else str(value)
        case float():
            return repr(value)
        case list():
            return "[" + ", ".join(map(to_toml, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{to_key(key)} = {to_toml(each)}" for key, each in value.items()) + "}"
        case date() | time():
            return value.isoformat()
    raise TypeError(value)


class QuietPort:
    """A port that no connection arrives at."""

    numberAccepts = 1

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX)

    def getHost(self) -> IPv4Address:
        """Return an address."""
        return IPv4Address("TCP", "127.0.0.1", 1)

    def doRead(self) -> None:
        """Accept nothing."""

    def stopListening(self) -> "Deferred[None]":
        """Stop at once."""
        return succeed(None)


@implementer(IReactorPluggableNameResolver, IHostnameResolver)
class QuietReactor(MemoryReactorClock):
    """A reactor without a network: names resolve to nothing, connections stay open, programs are not started."""

    def __init__(self) -> None:
        super().__init__()
        self.nameResolver: Any = self

    def resolveHostName(self, receiver: Any, hostName: str, *_: Any, **__: Any) -> Any:  # type: ignore[override]
        receiver.resolutionBegan(self)
        receiver.resolutionComplete()
        return receiver

    def adoptStreamPort(self, fd: int, family: int, factory: Any) -> Any:
        """Listen to nothing."""
        return QuietPort()

    def listenUNIX(self, address: Any, factory: Any, **_: Any) -> Any:  # type: ignore[override]
        """Listen to nothing."""
        return QuietPort()

    def spawnProcess(self, protocol: Any, executable: str, args: Any, *_: Any, **__: Any) -> Any:
        if any("\0" in word for word in args):
            raise ValueError("embedded null byte")  # as Twisted's

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        """Call nothing: no thread has a result."""

    def getThreadPool(self) -> ThreadPool:
        raise AssertionError("no password is checked")


class Unexpected(AssertionError):
    """A configuration caused something else than an error in words, or service."""


@contextmanager
def folder() -> Iterator[Path]:
    """Make the folder of one example, with the files that configurations name."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        made = Path(name)
        for file, data in {
            "admins": f"webapp:{HASH}\n".encode(),
            "binary": bytes(range(256)) * 8,
            "open": b"x",
            "pem": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "secret": b"0123456789\n",
            "trap": b"SQLite format 3\0" + b"rubbish " * 200,
        }.items():
            (made / file).write_bytes(data)
            (made / file).chmod(0o666 if file == "open" else 0o600)
        (made / "loop").symlink_to("loop")
        environ = {"RUNTIME_DIRECTORY": f"{name}/runtime", "STATE_DIRECTORY": f"{name}/state"}
        with patch.dict(os.environ, environ):
            yield made


def drive(text: str, *, load: Callable[[Path], Any] = load, shared: bool = False) -> str:
    """Start a service with a configuration, and send requests to it.

    :returns: ``config``, ``start`` or ``served``.
    :raises Unexpected: anything else happened.
    """
    with folder() as made:
        path = made / "warmside.toml"
        path.write_text(text.replace(FOLDER, str(made)), encoding="utf-8", newline="")
        if "fifo" in text:
            os.mkfifo(made / "fifo", 0o600)
        try:
            return _drive(path, load, shared)
        except (ConfigError, StartError) as error:
            message = str(error)
            if not message.startswith(f"{path}: ") or "\n" in message or len(message) > 20_000:
                raise Unexpected(f"not a message in one line: {message[:500]!r}") from None
            return "config" if isinstance(error, ConfigError) else "start"
        except Unexpected:
            raise
        except Exception as error:
            raise Unexpected(f"{type(error).__name__}: {error}") from error


def _drive(path: Path, load: Callable[[Path], Any], shared: bool) -> str:
    config = load(path)
    observer: Any = log_observer(config)
    if config.log.file is not None:
        os.close(observer._observer._out._fd)
    reactor = QuietReactor()
    service = WarmsideService(config, reactor, shared=shared)
    service.open()
    serving = Deferred.fromCoroutine(service.serve())
    reactor.advance(0)
    now(serving)
    try:
        client: Any = StubTreq(service.site.resource)
        for host in ("example.org", "example.net", *list(config.host)[:2]):
            check_manager(service, host, reactor)
        response = now(client.request("GET", "http://127.0.0.1/health"))
        if response.code != 200:
            raise Unexpected(f"/health: {response.code}")
    finally:
        closing = Deferred.fromCoroutine(service.close(0))
        for _ in range(20):
            if closing.called:
                break
            reactor.advance(1)
        now(closing)
    return "served"


def check_manager(service: WarmsideService, host: str, reactor: QuietReactor) -> None:
    """Let a virtual host's connection manager be checked, as ``/ready`` does."""
    from warmside.sessions.reachability import check_managers

    manager = service._managers.host(host).manager
    checking = Deferred.fromCoroutine(check_managers(reactor, [manager]))
    for _ in range(5):
        if checking.called:
            break
        reactor.advance(1)
    now(checking)
