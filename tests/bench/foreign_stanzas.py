"""Measure a login that brings a long response, beside ordinary logins, on the simulated manager of the tests.

    python -m tests.bench.foreign_stanzas

Print the time of ordinary logins alone and beside a login with 20 MB of small stanzas, and with 30 stanzas of 60,000
elements each. The longest stall is the most processor time between two ticks of 1 ms; other processes don't count.
It includes the manager of the tests, which runs in the same process.
"""

import gc
import itertools
import statistics
import time
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.trial.unittest import TestCase

from tests.sessions.fakemanager import Warming, body, reactor, run
from warmside.jids import prepare
from warmside.sessions.model import WarmRequest, WarmSession
from warmside.web.replies import long_warm_session_reply

SMALL = "<presence xmlns='jabber:client' type='subscribe' from='stranger{}@example.org'><status>{}</status></presence>"
HEAVY = "<message xmlns='jabber:client' from='stranger@example.org'>" + "<x/>" * 60_000 + "</message>"


class Measure(Warming):
    """The measurements; each is a test method."""

    async def one(self) -> float:
        """Return the seconds of an ordinary login."""
        began = time.monotonic()
        await self.warmer.warm(WarmRequest(prepare("romeo@example.org")))
        return time.monotonic() - began

    async def measure(self, name: str, content: str) -> None:
        """Print the times of ordinary logins, alone and beside a long response."""
        await self.probed()
        alone = [await self.one() for _ in range(30)]
        ticks: list[float] = []
        ticker = LoopingCall(lambda: ticks.append(time.process_time()))
        collections: list[float] = []

        def collected(phase: str, _: dict[str, int]) -> None:
            now = time.process_time()
            collections.append(now if phase == "start" else now - collections.pop())

        response = self.long_bind(content)
        began = time.monotonic()
        self.fake.fault = response
        task: Deferred[WarmSession] = self.warmer.warm(WarmRequest(prepare("juliet@example.org")))
        replied = task.addCallback(lambda session: self.reply(session))
        await deferLater(reactor, 0.05)
        ticker.start(0.001, now=True)
        gc.callbacks.append(collected)
        beside = []
        while not replied.called:
            beside.append(await self.one())
        ticker.stop()
        gc.callbacks.remove(collected)
        seconds = time.monotonic() - began
        session, size = await replied
        stall = max(after - before for before, after in itertools.pairwise(ticks))
        half = statistics.median
        print(
            f"\n{name}: {len(content) / 1e6:.1f} MB in {seconds:.2f} s, {len(session.stanzas)} stanzas, "
            f"{session.left_out} left out, reply {size / 1e6:.1f} MB; longest stall {1000 * stall:.0f} ms, "
            f"longest garbage collection {1000 * max(collections, default=0):.0f} ms; other logins "
            f"{1000 * half(alone):.1f} -> {1000 * half(beside):.1f} ms (x{half(beside) / half(alone):.1f}), "
            f"slowest {1000 * max(alone):.0f} -> {1000 * max(beside):.0f} ms, {len(beside)} of them"
        )

    def reply(self, session: WarmSession) -> "Deferred[tuple[WarmSession, int]]":
        """Serialize the reply; return its size."""
        made = Deferred.fromCoroutine(long_warm_session_reply(reactor, session))
        return made.addCallback(lambda reply: (session, len(reply.body)))

    def long_bind(self, content: str) -> Callable[[str, int], bytes | None]:
        """Return a fault that adds content to the first response to a bind."""
        prepared = body(content + "BOUND").split(b"BOUND")
        left = [True]
        answer = self.fake._response

        def respond(kind, received, sid):  # type: ignore[no-untyped-def]
            whole = answer(kind, received, sid)
            if kind == "bind" and left and self.fake.alive[sid].startswith("juliet"):
                left.clear()
                start = whole.index(b"<iq")
                return prepared[0] + whole[start:]
            return whole

        self.fake._response = respond  # type: ignore[method-assign]
        return lambda kind, count: None

    @run
    async def test_small(self) -> None:
        """Measure 20 MB of subscription requests."""
        one = SMALL.format("{}", "x" * 200)
        await self.measure("subscription requests", "".join(one.format(n) for n in range(20_000_000 // len(one))))

    @run
    async def test_heavy(self) -> None:
        """Measure 30 stanzas of 60,000 elements."""
        await self.measure("oversized stanzas", HEAVY * 30)


if __name__ == "__main__":
    import unittest

    assert issubclass(Measure, TestCase)
    unittest.main(verbosity=0)
