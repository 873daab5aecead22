"""Login on real connection managers: requests, round trips, mechanisms.

The login does no I/O, so these tests drive it with blocking sockets. Requests that are sent together are one round
trip, each on a connection of its own.
"""

import http.client
import select
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.extauth import slow
from tests.real.boshclient import BoshClient
from tests.real.parts import ROOT, Server
from tests.real.prosody import Prosody
from tests.real.test_warm import mint
from warmside.bosh.errors import Refused
from warmside.bosh.login import Login
from warmside.bosh.sasl import Credentials
from warmside.bosh.session import Parameters, Request, Session
from warmside.jids import prepare


@pytest.fixture(scope="module")
def prosody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prosody]:
    running = Prosody(tmp_path_factory.mktemp("prosody"))
    running.register("juliet", "capulet")
    yield running
    running.stop()


class Counted:
    """Completed login, with the numbers of requests and round trips."""

    def __init__(
        self,
        port: int,
        path: str,
        password: str,
        *,
        one_time: bool,
        user: str = "juliet",
        parallel: int = 2,
        hold: int = 1,
        wait: int = 5,
    ):
        credentials = Credentials(prepare(f"{user}@example.org/balcony"), password, one_time=one_time)
        session = Session(Parameters("example.org", wait=wait, hold=hold))
        self.login = Login(session, credentials, parallel=parallel, within=5)
        self.requests = self.round_trips = 0
        self._path = path
        self._idle = [http.client.HTTPConnection("127.0.0.1", port, timeout=20) for _ in range(2)]
        self._waiting: dict[http.client.HTTPConnection, tuple[int, int]] = {}
        """The rid and the round trip of the request on each connection."""
        try:
            self._send(self.login.start(), 1)
            while not self.login.done:
                if self.login.work is not None:
                    self._send(self.login.worked(self.login.work()), self.round_trips + 1)
                else:
                    self._receive()
        finally:
            for connection in (*self._idle, *self._waiting):
                connection.close()

    def _send(self, requests: list[Request], round_trip: int) -> None:
        for request in requests:
            connection = self._idle.pop()
            connection.request("POST", self._path, request.body, {"Content-Type": "text/xml; charset=utf-8"})
            self._waiting[connection] = request.rid, round_trip
            self.requests += 1

    def _receive(self) -> None:
        """Pass on the responses that have arrived, and send the requests that follow."""
        ready, _, _ = select.select([connection.sock for connection in self._waiting], [], [], 20)
        assert ready, "no response within 20 seconds"
        for connection in [connection for connection in self._waiting if connection.sock in ready]:
            response = connection.getresponse()
            data = response.read()
            rid, round_trip = self._waiting.pop(connection)
            self._idle.append(connection)
            self.round_trips = max(self.round_trips, round_trip)
            self._send(self.login.receive(rid, response.status, data), round_trip + 1)

    def attach(self, port: int, path: str) -> BoshClient:
        session = self.login.session
        assert self.login.jid is not None
        handed_over = {"jid": self.login.jid.full(), "sid": session.sid, "rid": session.next_rid}
        return BoshClient(port, path=path).attach(handed_over)


def test_a_login_on_ejabberd_takes_four_requests_in_three_round_trips(server: Server) -> None:
    seen = set()
    for _ in range(20):
        counted = Counted(server.bosh, "/bosh", mint(server, "juliet@example.org"), one_time=True)
        seen.add((counted.requests, counted.round_trips))
        client = counted.attach(server.bosh, "/bosh")
        assert client.ping()
        client.terminate()
    assert min(seen) == (4, 3), "a busy machine may delay ejabberd's responses, but not in every login"
    assert max(requests for requests, _ in seen) <= 6 and max(round_trips for _, round_trips in seen) <= 5


def test_an_authentication_that_takes_as_long_as_requests_are_held_succeeds(tmp_path: Path) -> None:
    program = f"{sys.executable} -m {slow.__name__}"
    server = Server(tmp_path, ("extauth_pool_size: 2", "extauth_pool_size: 8"), program=program)
    server.ejabberd.start(environ=server.environ | {"PYTHONPATH": str(ROOT)})

    def log_in(number: int) -> None:
        Counted(server.bosh, "/bosh", "any", one_time=True, user=f"user{number}", wait=1).attach(
            server.bosh, "/bosh"
        ).terminate()

    try:
        with ThreadPoolExecutor(8) as threads:
            assert len(list(threads.map(log_in, range(32)))) == 32
    finally:
        server.stop()


def test_a_login_on_prosody_takes_three_requests_in_two_round_trips(prosody: Prosody) -> None:
    seen = {(6, 5)}
    for _ in range(40):
        if min(seen) == (3, 2):
            break
        counted = Counted(prosody.port, "/http-bind", "capulet", one_time=True, wait=1)
        seen.add((counted.requests, counted.round_trips))
        client = counted.attach(prosody.port, "/http-bind")
        assert client.ping()
        client.terminate()
    assert min(seen) == (3, 2), "one of two requests may overtake the other, but not in every login"
    assert max(requests for requests, _ in seen) <= 6 and max(round_trips for _, round_trips in seen) <= 5


@pytest.mark.parametrize(("parallel", "hold"), [(1, 1), (2, 0), (1, 0)])
def test_requests_one_by_one_work_on_every_manager(server: Server, prosody: Prosody, parallel: int, hold: int) -> None:
    for port, path, password in (
        (server.bosh, "/bosh", mint(server, "juliet@example.org")),
        (prosody.port, "/http-bind", "capulet"),
    ):
        counted = Counted(port, path, password, one_time=True, parallel=parallel, hold=hold)
        client = counted.attach(port, path)
        assert client.ping()
        client.terminate()


def test_the_users_own_password_uses_scram_if_it_is_offered(prosody: Prosody) -> None:
    counted = Counted(prosody.port, "/http-bind", "capulet", one_time=False)
    assert counted.login._exchange is not None and counted.login._exchange.name.startswith("SCRAM-SHA-")
    counted.attach(prosody.port, "/http-bind").terminate()
    with pytest.raises(Refused):
        Counted(prosody.port, "/http-bind", "montague", one_time=False)


def test_a_warm_session_on_prosody_with_the_users_own_password(prosody: Prosody, server: Server) -> None:
    """Use the login without POST /warm: Prosody has no extauth program, so the replay probe rejects its hosts."""
    counted = Counted(prosody.port, "/http-bind", "capulet", one_time=False)
    client = counted.attach(prosody.port, "/http-bind")
    assert client.ping()
    client.terminate()
