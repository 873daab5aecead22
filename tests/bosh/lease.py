"""Simulated connections to a `SimulatedManager`, for `LoginRunner`: no sockets, no time."""

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.bosh.manager import Behaviour, SimulatedManager
from tests.support import work_at_once
from warmside.bosh.body import decode
from warmside.bosh.login import Login
from warmside.bosh.runner import LoginRunner, Runtime
from warmside.bosh.sasl import Credentials
from warmside.bosh.session import Parameters, Request, Session
from warmside.bosh.transport import ConnectionBroken, Response
from warmside.jids import prepare

FIRST_RID = 100
CLEANUP_TIMEOUT = 4.0


class SimulatedLease:
    """Connections reserved for one login; a test carries requests and responses, or loses them."""

    def __init__(self, manager: SimulatedManager, width: int = 2) -> None:
        self.manager = manager
        self.width = width
        self.posted: dict[int, Deferred[Response]] = {}
        self.sent: list[tuple[int, bytes]] = []
        """Every request in order, with its rid."""

    def post(self, body: bytes) -> "Deferred[Response]":
        """See `ConnectionLease.post`."""
        attributes = decode(body).attributes
        rid = int(attributes["rid"])
        self.sent.append((rid, body))
        self.manager.arriving.append(Request(rid, body, creation="sid" not in attributes))
        posted: Deferred[Response] = Deferred(lambda _: self._forget(rid))
        self.posted[rid] = posted
        return posted

    def deliver(self, index: int = 0) -> None:
        """Deliver one response of ``leaving``, unless it was sent to a connection that is lost."""
        rid, body = self.manager.leaving.pop(index)
        if rid in self.posted and not self._is_arriving(rid):
            self.posted.pop(rid).callback(Response(200, body))

    def lose(self, rid: int, *, arrived: bool = True) -> None:
        """Lose the connection of a request, and a response on it.

        :param arrived: False to lose it before the request has arrived at the manager.
        """
        posted = self.posted.pop(rid)
        self._forget(rid, arrived=arrived)
        posted.errback(ConnectionBroken("the connection was lost"))

    def run(self) -> None:
        """Carry requests and responses until nothing can happen any more."""
        while moves := self.manager.moves() or [self.deliver] * len(self.manager.leaving):
            moves[0]()

    def _is_arriving(self, rid: int) -> bool:
        return any(request.rid == rid for request in self.manager.arriving)

    def _forget(self, rid: int, *, arrived: bool = True) -> None:
        self.posted.pop(rid, None)
        self.manager.leaving = [answer for answer in self.manager.leaving if answer[0] != rid]
        if not arrived:
            self.manager.arriving = [request for request in self.manager.arriving if request.rid != rid]


@dataclass
class Simulation:
    """One login, its runner, and the simulated parts around it."""

    clock: Clock
    manager: SimulatedManager
    lease: SimulatedLease
    runner: LoginRunner

    @property
    def session(self) -> Session:
        """Session of the login."""
        return self.runner.session

    def logged_in(self) -> "Simulation":
        """Log in; no request is outstanding afterwards."""
        done = self.start(self.runner.log_in())
        self.lease.run()
        assert done.called and not self.session.outstanding
        return self

    def start(self, coroutine: Any) -> "Deferred[Any]":
        """Start a coroutine of the runner."""
        return Deferred.fromCoroutine(coroutine)

    def advance(self, seconds: float) -> None:
        """Let time pass, then carry what it caused."""
        self.clock.advance(seconds)
        self.lease.run()

    def close(self) -> None:
        """Close the runner as after a failed login, and check that nothing is left behind."""
        closing = self.start(self.runner.close())
        self.lease.run()
        while not closing.called and self.clock.getDelayedCalls():
            self.advance(self.clock.getDelayedCalls()[0].getTime() - self.clock.seconds())
        assert closing.called and self.manager.over and not self.lease.posted
        assert not self.clock.getDelayedCalls()


def simulate(behaviour: Behaviour | None = None) -> Simulation:
    """Return a login with a one-time password on a simulated manager."""
    clock, manager = Clock(), SimulatedManager(behaviour or Behaviour())
    lease: Any = SimulatedLease(manager)
    credentials = Credentials(prepare("juliet@example.org/r"), "secret", one_time=True)
    login = Login(Session(Parameters("example.org"), first_rid=FIRST_RID), credentials, within=10)
    runner = LoginRunner(Runtime(clock, work_at_once), lease, login, CLEANUP_TIMEOUT)
    return Simulation(clock, manager, lease, runner)
