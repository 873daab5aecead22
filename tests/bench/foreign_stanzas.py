"""Measure logins that bring long responses, beside ordinary logins.

    python -m tests.bench.foreign_stanzas

The connection manager is the simulated one of the tests, in a process of its own. The longest stall is the most
processor time of warmside's process between two ticks of 1 ms; other processes don't count. Exits with 1 if it
is 50 ms or more, or if the median time of other logins is four times as long.
"""

import argparse
import gc
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.internet.threads import deferToThread

from tests.sessions.fakemanager import CountingSite, FakeManager, body
from warmside.app.process import collect_less
from warmside.bosh.runner import Runtime
from warmside.bosh.transport import ConnectionManager
from warmside.config.settings import Bosh
from warmside.jids import prepare
from warmside.sessions.hosts import BoshHost
from warmside.sessions.model import WarmRequest, WarmSession
from warmside.sessions.passwords import OneTimePasswords, Stores
from warmside.sessions.warmer import Warmer
from warmside.store.accepted import AcceptedPasswords
from warmside.store.ends import SQLiteEnds
from warmside.store.sqlite import SQLiteFailureCounters, SQLiteStore
from warmside.store.verdicts import SQLiteVerdicts
from warmside.throttle.throttle import Throttle
from warmside.web.replies import long_warm_session_reply

SIZE = 20_000_000
"""Bytes of the long responses."""
MAX_STALL = 0.05
MAX_RATIO = 4.0
ALONE = 100
"""Ordinary logins before a long one."""

REQUEST = "<presence xmlns='jabber:client' type='subscribe' from='s{}@example.org'><status>{}</status></presence>"
CONTACT = (
    "<item jid='contact{}@example.org' name='Contact' subscription='both'><group>Friends</group>"
    "<group>Verona</group></item>"
)


def repeated(text: str, *values: object) -> str:
    """Return numbered repetitions of a text of `SIZE` bytes in all."""
    one = text.format("{}", *values)
    return "".join(one.format(number) for number in range(SIZE // (len(one) + 3)))


CONTENTS = {
    "requests": lambda: repeated(REQUEST, "x" * 200),
    "tiny": lambda: repeated("<presence xmlns='jabber:client' id='{}'/>"),
    "pushes": lambda: repeated("<iq xmlns='jabber:client' id='{}' type='set'><query/></iq>"),
    "elements": lambda: "<message xmlns='jabber:client'>" + "<x/>" * 60_000 + "</message>",
    "attribute": lambda: "<message xmlns='jabber:client' id='" + "x" * SIZE + "'/>",
    "attributes": lambda: (
        "<message xmlns='jabber:client' " + " ".join(f"a{number}=''" for number in range(SIZE // 10)) + "/>"
    ),
    "text": lambda: "<message xmlns='jabber:client'><body>" + "x" * SIZE + "</body></message>",
}
"""What the response to a user's bind brings, by the user's name."""
COPIES = {"elements": 30}
ROSTER = "roster"
"""User with a roster of `SIZE` bytes."""


class LongManager(FakeManager):
    """A manager whose responses bring `CONTENTS`."""

    def _response(self, kind: str, received: Any, sid: str) -> bytes:
        whole = super()._response(kind, received, sid)
        name = self.alive.get(sid, "").partition("@")[0]
        if kind == "bind" and name in CONTENTS:
            start = whole.index(b"<iq")
            return whole[:start] + CONTENTS[name]().encode() * COPIES.get(name, 1) + whole[start:]
        if kind == "other" and name == ROSTER and received.elements:
            query = f"<query xmlns='jabber:iq:roster'>{repeated(CONTACT)}</query>"
            return body(f"<iq xmlns='jabber:client' type='result' id='{received.elements[0]['id']}'>{query}</iq>")
        return whole


class Bench:
    """Logs in at a manager of another process, with a store that both use.

    :ivar broken: True if a measured figure is over its limit.
    """

    def __init__(self, reactor: Any, folder: Path, port: int) -> None:
        url = f"http://127.0.0.1:{port}/bosh"
        self.broken = False
        self.manager = ConnectionManager(reactor, url, 8)
        host = BoshHost(Bosh(url, None, None, 60.0, 8), self.manager)
        self._reactor = reactor
        passwords = OneTimePasswords(SQLiteStore(folder / "store"), 30)
        self._warmer = Warmer(
            Runtime(reactor, deferToThread),
            lambda _: host,
            Stores(passwords, passwords, SQLiteVerdicts(None), SQLiteEnds(None)),
            Throttle(reactor, SQLiteFailureCounters(None), AcceptedPasswords(None)),
            lambda _: None,
        )

    async def one(self) -> float:
        """Return the seconds of an ordinary login."""
        began = time.monotonic()
        await self._warmer.warm(WarmRequest(prepare("romeo@example.org")))
        return time.monotonic() - began

    async def replied(self, name: str) -> tuple[WarmSession, int]:
        """Log in as a user whose responses are long; return the session and the size of the reply."""
        request = WarmRequest(prepare(f"{name}@example.org"), roster=name == ROSTER)
        session = await self._warmer.warm(request)
        return session, len((await long_warm_session_reply(self._reactor, session)).body)

    async def measure(self, name: str) -> None:
        """Print the times of ordinary logins, alone and beside a long response."""
        alone = [await self.one() for _ in range(ALONE)]
        ticks: list[float] = []
        ticker = LoopingCall(lambda: ticks.append(time.process_time()))
        collections: list[float] = []

        def collected(phase: str, _: dict[str, int]) -> None:
            now = time.process_time()
            collections.append(now if phase == "start" else now - collections.pop())

        began = time.monotonic()
        ticker.start(0.001, now=True)
        gc.callbacks.append(collected)
        task = Deferred.fromCoroutine(self.replied(name))
        beside = []
        while not task.called:
            beside.append(await self.one())
        ticker.stop()
        gc.callbacks.remove(collected)
        seconds = time.monotonic() - began
        session, size = await task
        stall = max(after - before for before, after in itertools.pairwise(ticks))
        ratio = statistics.median(beside) / statistics.median(alone)
        self.broken |= stall >= MAX_STALL or ratio >= MAX_RATIO
        print(
            f"{name}: {seconds:.2f} s, {len(session.stanzas)} stanzas, {session.left_out} left out, "
            f"{len(session.roster or ())} contacts, reply {size / 1e6:.1f} MB; longest stall {1000 * stall:.0f} ms, "
            f"longest garbage collection {1000 * max(collections, default=0):.0f} ms; other logins "
            f"{1000 * statistics.median(alone):.1f} -> {1000 * statistics.median(beside):.1f} ms (x{ratio:.1f}), "
            f"slowest {1000 * max(alone):.0f} -> {1000 * max(beside):.0f} ms, {len(beside)} of them",
            flush=True,
        )
        del session
        await deferLater(self._reactor, 0.1)


@contextmanager
def started_manager(folder: Path) -> Iterator[int]:
    """Run a manager in a process of its own; yield its port."""
    command = [sys.executable, "-m", "tests.bench.foreign_stanzas", "--manager", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as manager:
        assert manager.stdout is not None and manager.stdin is not None
        yield int(manager.stdout.readline())
        manager.stdin.close()


async def measure_all(reactor: Any, names: list[str], results: list[bool]) -> None:
    """Start a manager and measure; append True if a figure is over its limit."""
    with tempfile.TemporaryDirectory() as folder, started_manager(Path(folder)) as port:
        bench = Bench(reactor, Path(folder), port)
        await bench.one()
        collect_less()
        for name in names:
            await bench.measure(name)
        await bench.manager.close()
        results.append(bench.broken)


def manage(folder: Path) -> None:
    """Be the manager until stdin ends."""
    from twisted.internet import reactor

    loop: Any = reactor
    port = loop.listenTCP(0, CountingSite(LongManager(SQLiteStore(folder / "store"))), interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    loop.callInThread(lambda: (sys.stdin.read(), loop.callFromThread(loop.stop)))
    loop.run()


def main() -> int:
    """Measure; return 1 if a figure is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[*CONTENTS, ROSTER], help="what to measure")
    parser.add_argument("--manager", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.manager is not None:
        manage(options.manager)
        return 0
    results: list[bool] = []
    try:
        react(lambda reactor: Deferred.fromCoroutine(measure_all(reactor, options.names, results)))
    except SystemExit as end:
        return int(end.code or 0) or int(results != [False])
    return 1


if __name__ == "__main__":
    sys.exit(main())
