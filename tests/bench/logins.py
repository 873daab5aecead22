"""Ways to log users in through one ejabberd, and the measurement of many such logins at once.

Every session is ended after the measurement. Passwords of clients that log in themselves are minted before it, with
``POST /credentials``.
"""

import http.client
import json
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from tests.bench.processes import cpu_milliseconds
from tests.real.boshclient import BoshClient
from tests.real.parts import Server, basic

LIFETIME = ("# lifetime = 30 ", "lifetime = 3000 ")
"""Replacement in ``etc/warmside.toml``: passwords that are minted before a measurement are valid until its end."""
PREBIND = Path(__file__).with_name("prebind.php")


class Rejected(Exception):
    """The queue for connections is full: 503."""


class Session(NamedTuple):
    """A session that has to be ended. ``rid`` is that of the next request."""

    sid: str
    rid: int


class Caller(Protocol):
    """A client with connections of its own."""

    def log_in(self, user: str, password: str) -> tuple[float, Session]:
        """Log a user in. Return the milliseconds and the session.

        :raises Rejected: the server had too many callers.
        """

    def close(self) -> None:
        """Close the connections."""


class Way(NamedTuple):
    """A way to log in.

    :param host: virtual host of the users.
    :param minted: True if callers log in with a password of ``POST /credentials``.
    """

    name: str
    open: Callable[[Server, str], Caller]
    host: str = "example.org"
    minted: bool = False


class Classic:
    """Logs in with create, auth, restart, bind and session, on one connection that is kept."""

    def __init__(self, server: Server, host: str) -> None:
        self.bosh = BoshClient(server.bosh, host)

    def log_in(self, user: str, password: str) -> tuple[float, Session]:
        """See `Caller.log_in`."""
        started = time.perf_counter()
        self.bosh.log_in(user, password)
        return (time.perf_counter() - started) * 1000, Session(self.bosh.sid, self.bosh.rid)

    def close(self) -> None:
        """See `Caller.close`."""
        self.bosh.close()


class Warm:
    """Sends ``POST /warm`` on one connection that is kept.

    :param fields: more fields of the request.
    """

    def __init__(self, server: Server, host: str, **fields: object) -> None:
        self.host = host
        self.fields = fields
        self.http = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def log_in(self, user: str, password: str) -> tuple[float, Session]:
        """See `Caller.log_in`. The password is not used; the user may be a bare JID."""
        headers = {"Authorization": basic(), "Accept": "application/json", "Content-Type": "application/json"}
        jid = user if "@" in user else f"{user}@{self.host}"
        body = json.dumps({"jid": jid} | self.fields).encode()
        started = time.perf_counter()
        self.http.request("POST", "/warm", body, headers)
        response = self.http.getresponse()
        data = response.read()
        took = (time.perf_counter() - started) * 1000
        if response.status == 503:
            raise Rejected
        assert response.status == 200, data
        session = json.loads(data)
        return took, Session(session["sid"], session["rid"])

    def close(self) -> None:
        """See `Caller.close`."""
        self.http.close()


class Prebind:
    """Logs in with the PHP library candy-chat/xmpp-prebind-php, in one PHP process that is kept.

    :param folder: a checkout of the library.
    """

    def __init__(self, server: Server, host: str, folder: Path) -> None:
        self.process = subprocess.Popen(
            ["php", PREBIND, folder, f"http://127.0.0.1:{server.bosh}/bosh", host],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def log_in(self, user: str, password: str) -> tuple[float, Session]:
        """See `Caller.log_in`. PHP measures the time, without the pipe to its process."""
        pipe: tuple[IO[str] | None, IO[str] | None] = (self.process.stdin, self.process.stdout)
        assert pipe[0] and pipe[1]
        pipe[0].write(f"{user} {password}\n")
        pipe[0].flush()
        reply = json.loads(pipe[1].readline() or '{"error": "PHP has ended; are php-curl and php-xml installed?"}')
        assert "error" not in reply, reply["error"]
        return float(reply["ms"]), Session(reply["sid"], reply["rid"])

    def close(self) -> None:
        """See `Caller.close`."""
        self.process.communicate()


CLASSIC = Way("classic", Classic, minted=True)
WARM = Way("warm", Warm)


@dataclass
class Phase:
    """Results of one way to log in, for a number of callers at once."""

    way: str
    at_once: int
    milliseconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    warmside: float = 0.0
    """CPU milliseconds per login, as in ``ejabberd``."""
    ejabberd: float = 0.0
    rejected: int = 0
    """Logins that were answered 503."""

    def percentile(self, percent: int) -> float:
        """Return a percentile of the latencies in milliseconds."""
        return statistics.quantiles(self.milliseconds, n=100, method="inclusive")[percent - 1]

    @property
    def rate(self) -> float:
        """Logins per second."""
        return len(self.milliseconds) / self.seconds


def mint(server: Server, jids: list[str]) -> list[str]:
    """Return a one-time password for each JID, of ``POST /credentials``."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {"Authorization": basic(), "Accept": "application/json", "Content-Type": "application/json"}
    passwords = []
    for jid in jids:
        connection.request("POST", "/credentials", json.dumps({"jid": jid}).encode(), headers)
        response = connection.getresponse()
        data = response.read()
        assert response.status == 200, data
        passwords.append(json.loads(data)["password"])
    connection.close()
    return passwords


def end(server: Server, sessions: list[Session], host: str) -> None:
    """End sessions."""
    bosh = BoshClient(server.bosh, host)
    for session in sessions:
        bosh.sid, bosh.rid = session
        bosh.terminate()
    bosh.close()


def measure(server: Server, way: Way, at_once: int, users: list[str], *, kept: list[Session] | None = None) -> Phase:
    """Log every user in once. All connections are opened before, those of warmside to ejabberd, too.

    :param at_once: number of callers, each of which makes one login after the other.
    :param users: names, or with `Warm` also bare JIDs.
    :param kept: the sessions are left open and added to this list.
    """
    callers = [way.open(server, way.host) for _ in range(at_once)]
    for caller, password in zip(callers, passwords(server, way, ["warm-up"] * at_once), strict=True):
        end(server, [caller.log_in("warm-up", password)[1]], way.host)
    if not way.minted:
        end(server, log_in(callers, [("warm-up", "")] * at_once, Phase(way.name, at_once)), way.host)
    logins = list(zip(users, passwords(server, way, users), strict=True))
    phase, processes = Phase(way.name, at_once), (server.programs(), [server.ejabberd.pid])
    before = [cpu_milliseconds(each) for each in processes]
    sessions = log_in(callers, logins, phase)
    phase.warmside, phase.ejabberd = (
        (cpu_milliseconds(each) - used) / len(users) for each, used in zip(processes, before, strict=True)
    )
    for caller in callers:
        caller.close()
    if kept is None:
        end(server, sessions, way.host)
    else:
        kept += sessions
    return phase


def passwords(server: Server, way: Way, users: list[str]) -> list[str]:
    """Return a password for each user; empty ones for a way that needs none."""
    return mint(server, [f"{user}@{way.host}" for user in users]) if way.minted else [""] * len(users)


def log_in(callers: Sequence[Caller], logins: list[tuple[str, str]], phase: Phase) -> list[Session]:
    """Log users in, each caller in a thread of its own. Return the sessions, and add the times to a phase."""
    pending, lock = list(reversed(logins)), threading.Lock()
    sessions: list[Session] = []
    failures: list[BaseException] = []

    def work(caller: Caller) -> None:
        try:
            while True:
                with lock:
                    if not pending:
                        return
                    user, password = pending.pop()
                try:
                    took, session = caller.log_in(user, password)
                except Rejected:
                    phase.rejected += 1
                    continue
                phase.milliseconds.append(took)
                sessions.append(session)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(caller,)) for caller in callers]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    phase.seconds = time.perf_counter() - started
    if failures:
        raise failures[0]
    return sessions
