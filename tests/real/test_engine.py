"""The BOSH core against real connection managers: requests, round trips, mechanisms.

The core does no I/O, so here it is driven by blocking sockets: each batch of requests is sent at
once, each on a connection of its own, and that is one round trip.
"""

import http.client
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
from warmside.bosh.session import Parameters, Session
from warmside.jids import prepare


@pytest.fixture(scope="module")
def prosody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prosody]:
    running = Prosody(tmp_path_factory.mktemp("prosody"))
    running.register("juliet", "capulet")
    yield running
    running.stop()


class Counted:
    """A login that was driven to its end."""

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
        connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=20) for _ in range(2)]
        batch = self.login.start()
        try:
            while not self.login.done:
                if self.login.work is not None:
                    batch = self.login.worked(self.login.work())
                    continue
                self.round_trips += 1
                self.requests += len(batch)
                for connection, request in zip(connections, batch, strict=False):
                    connection.request("POST", path, request.body, {"Content-Type": "text/xml; charset=utf-8"})
                following = []
                for connection, request in zip(connections, batch, strict=False):
                    response = connection.getresponse()
                    following += self.login.receive(request.rid, response.status, response.read())
                batch = following
        finally:
            for connection in connections:
                connection.close()

    def attach(self, port: int, path: str) -> BoshClient:
        session = self.login.session
        assert self.login.jid is not None
        handed_over = {"jid": self.login.jid.full(), "sid": session.sid, "rid": session.next_rid}
        return BoshClient(port, path=path).attach(handed_over)


def test_on_ejabberd_a_login_takes_four_requests_in_three_round_trips(server: Server) -> None:
    seen = set()
    for _ in range(20):
        counted = Counted(server.bosh, "/bosh", mint(server, "juliet@example.org"), one_time=True)
        seen.add((counted.requests, counted.round_trips))
        client = counted.attach(server.bosh, "/bosh")
        assert client.ping()
        client.terminate()
    assert min(seen) == (4, 3), "a busy machine may keep ejabberd from answering at once, but not always"
    assert max(requests for requests, _ in seen) <= 6 and max(round_trips for _, round_trips in seen) <= 5


def test_an_authentication_that_takes_as_long_as_requests_are_held_comes_to_its_end(tmp_path: Path) -> None:
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


def test_on_prosody_a_login_takes_three_requests_in_two_round_trips(prosody: Prosody) -> None:
    seen = set()
    for _ in range(20):
        counted = Counted(prosody.port, "/http-bind", "capulet", one_time=True)
        seen.add((counted.requests, counted.round_trips))
        client = counted.attach(prosody.port, "/http-bind")
        assert client.ping()
        client.terminate()
    assert min(seen) == (3, 2), "of two requests sent at once one may overtake the other, but not always"
    assert max(requests for requests, _ in seen) <= 6 and max(round_trips for _, round_trips in seen) <= 5


@pytest.mark.parametrize(("parallel", "hold"), [(1, 1), (2, 0), (1, 0)])
def test_one_by_one_works_everywhere(server: Server, prosody: Prosody, parallel: int, hold: int) -> None:
    for port, path, password in (
        (server.bosh, "/bosh", mint(server, "juliet@example.org")),
        (prosody.port, "/http-bind", "capulet"),
    ):
        counted = Counted(port, path, password, one_time=True, parallel=parallel, hold=hold)
        client = counted.attach(port, path)
        assert client.ping()
        client.terminate()


def test_the_users_own_password_is_proven_by_scram_where_it_is_offered(prosody: Prosody) -> None:
    counted = Counted(prosody.port, "/http-bind", "capulet", one_time=False)
    assert counted.login._exchange is not None and counted.login._exchange.name.startswith("SCRAM-SHA-")
    counted.attach(prosody.port, "/http-bind").terminate()
    with pytest.raises(Refused):
        Counted(prosody.port, "/http-bind", "montague", one_time=False)


def test_a_warm_session_on_prosody_with_the_users_own_password(prosody: Prosody, server: Server) -> None:
    """Not through POST /warm: Prosody asks no extauth program, so its hosts are never found safe."""
    counted = Counted(prosody.port, "/http-bind", "capulet", one_time=False)
    client = counted.attach(prosody.port, "/http-bind")
    assert client.ping()
    client.terminate()
