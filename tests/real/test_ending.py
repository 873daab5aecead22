"""``POST /end`` on a real ejabberd: every kind of session, races with ``/warm``, and servers that can't do it."""

import http.client
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from xml.etree.ElementTree import SubElement, tostring

import pytest

from tests.real.boshclient import BoshClient, Terminated, element
from tests.real.endports import JULIET, Ports, start
from tests.real.parts import basic, until
from tests.real.streams import TcpClient

OWN_TIME = 20
"""Seconds in which a session of warmside's own has to end: less than ejabberd's inactivity, which ends it anyway."""


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    """Run one server for all tests."""
    running = start(tmp_path_factory.mktemp("ending"))
    yield running
    running.server.stop()


@pytest.fixture(autouse=True)
def nothing_connected(ports: Ports) -> Iterator[None]:
    """Expect that a test leaves no session."""
    yield
    for jid in {each.partition("/")[0] for each in ports.server.command("connected_users")}:
        user, _, host = jid.partition("@")
        ports.server.command("kick_user", user=user, host=host)
    until(lambda: not ports.server.connected())


def is_user(ports: Ports, user: str) -> bool:
    """Return True if ejabberd takes a user for existing: it asks warmside."""
    return bool(ports.server.command("check_account", user=user, host="example.org") == 0)


class Poller(threading.Thread):
    """A browser that polls all the time.

    :ivar condition: the condition with which its session ended.
    """

    def __init__(self, client: BoshClient) -> None:
        super().__init__()
        self.client = client
        self.condition = ""

    def run(self) -> None:
        try:
            while True:
                self.client.post({})
        except Terminated as error:
            self.condition = str(error)
        finally:
            self.client.close()


def test_bosh_sessions_end_with_and_without_presence_and_polling(ports: Ports) -> None:
    server = ports.server
    polling, online, silent = (server.attached(f"{JULIET}/{each}") for each in ("polling", "online", "silent"))
    online.presence()
    poller = Poller(polling)
    poller.start()
    romeo = server.attached("romeo@example.org/orchard")
    assert ports.ended() == [f"{JULIET}/{each}" for each in ("online", "polling", "silent")]
    poller.join(20)
    assert not poller.is_alive() and poller.condition == "remote-stream-error"
    for each in (online, silent, polling):
        with pytest.raises(Terminated):
            each.ping()
            each.ping()
    assert romeo.ping()
    assert ports.ended() == []


@pytest.mark.parametrize("kind", ["tcp", "web"])
def test_streams_end_with_a_conflict_and_cannot_be_resumed(ports: Ports, kind: str) -> None:
    bound, dropped, plain = ports.client(kind), ports.client(kind), ports.client(kind)
    jids = [each.bind(name) for each, name in ((bound, "bound"), (dropped, "dropped"), (plain, "plain"))]
    identifiers = [bound.enable_resumption(), dropped.enable_resumption()]
    assert all(identifiers)
    dropped.drop()
    assert ports.ended() == sorted(jids)
    assert bound.end() == plain.end() == "conflict"
    for identifier in identifiers:
        assert ports.client(kind).resume(identifier) == "failed"
    until(lambda: not ports.server.sessions("juliet"))


@pytest.mark.parametrize("kind", ["tcp", "web"])
def test_an_unended_stream_can_be_resumed(ports: Ports, kind: str) -> None:
    client = ports.client(kind)
    client.bind("kept")
    identifier = client.enable_resumption()
    client.drop()
    assert ports.client(kind).resume(identifier) == "resumed"


def test_a_full_jid_ends_that_session_alone_and_displaces_nothing(ports: Ports) -> None:
    server = ports.server
    ended, kept = server.attached(f"{JULIET}/a"), server.attached(f"{JULIET}/b")
    password = ports.password()
    assert ports.ended(f"{JULIET}/c") == []
    assert ports.ended(f"{JULIET}/a") == [f"{JULIET}/a"]
    assert kept.ping() and server.sessions("juliet") == [f"{JULIET}/b"]
    with pytest.raises(Terminated):
        ended.ping()
    TcpClient(ports.tcp).authenticate("juliet", password)  # not revoked


def test_pep_nodes_are_no_sessions(ports: Ports) -> None:
    client = ports.server.attached(f"{JULIET}/a")
    client.presence()
    pubsub = element("pubsub", "http://jabber.org/protocol/pubsub")
    item = SubElement(SubElement(pubsub, "publish", node="urn:example:mood"), "item", id="current")
    SubElement(item, "mood", xmlns="urn:example:mood").text = "happy"
    answer = client.ask(pubsub, kind="set")
    assert answer.get("type") == "result", tostring(answer)
    items = client.ask(element("query", "http://jabber.org/protocol/disco#items"), to=JULIET)
    assert b'node="urn:example:mood"' in tostring(items)
    assert ports.ended() == [f"{JULIET}/a"]


def test_an_unused_password_is_revoked_and_a_later_one_is_not(ports: Ports) -> None:
    before = ports.password()
    assert ports.ended() == []
    client = TcpClient(ports.tcp)
    with pytest.raises(AssertionError, match="not-authorized"):
        client.authenticate("juliet", before)
    assert ports.client("tcp").bind("later") == f"{JULIET}/later"


def test_ending_makes_nobody_known_and_needs_no_known_user(ports: Ports) -> None:
    server = ports.server
    assert not is_user(ports, "stranger")
    for jid in ("stranger@example.org", "stranger@example.org/a"):
        assert ports.ended(jid) == []
    assert not is_user(ports, "stranger")
    client = server.attached("gone@example.org/a")
    assert is_user(ports, "gone")
    with closing(sqlite3.connect(server.users)) as users, users:
        users.execute("DELETE FROM users WHERE jid = 'gone@example.org'")
    assert not is_user(ports, "gone") and server.sessions("gone") == [client.jid]
    assert ports.ended("gone@example.org") == [client.jid]
    assert not is_user(ports, "gone")


def test_the_policy_applies_and_each_call_is_audited_and_counted(ports: Ports) -> None:
    def counted(outcome: str) -> float:
        lines = ports.server.metrics().splitlines()
        name = f'warmside_end_total{{outcome="{outcome}"}} '
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    def audited(outcome: str) -> list[str]:
        start = f'audit request="POST /end" outcome="{outcome}" '
        return [line for line in ports.server.output().splitlines() if start in line]

    before = len(audited("success")), len(audited("policy"))
    assert ports.end("admin@example.org").json()["type"] == "urn:warmside:policy"
    assert ports.end("admin@example.org/a").status == 403
    assert ports.ended("audited@example.org") == []
    assert (len(audited("success")), len(audited("policy"))) == (before[0] + 1, before[1] + 2)
    assert all('status=403 admin="webapp"' in line for line in audited("policy")[-2:])
    assert 'jid="audited@example.org"' in audited("success")[-1]
    # The counts of another process are up to a second old.
    until(lambda: (counted("success"), counted("policy")) == (before[0] + 1, before[1] + 2))


@pytest.mark.parametrize(
    ("host", "name", "text"),
    [
        ("closenew.example", "resource-conflict", "closenew"),
        ("setresource.example", "resource-conflict", "setresource"),
        ("nodisco.example", "no-session-list", "mod_disco"),
    ],
)
def test_a_server_that_does_not_allow_it_is_502_that_names_it(ports: Ports, host: str, name: str, text: str) -> None:
    server, jid = ports.server, f"juliet@{host}/a"
    client = server.attached(jid)
    for each in (jid, f"juliet@{host}"):
        reply = ports.end(each)
        assert reply.status == 502 and reply.json()["type"] == f"urn:warmside:{name}", reply.body
        assert text in reply.json()["detail"]
    client.post({})
    until(lambda: server.command("connected_users") == [jid], OWN_TIME)


def test_more_than_100_sessions_need_a_second_call(ports: Ports) -> None:
    clients = [ports.server.attached(f"{JULIET}/{number}") for number in range(103)]
    reply = ports.end()
    assert reply.status == 503 and reply.json()["type"] == "urn:warmside:sessions-left", reply.body
    assert reply.headers["Retry-After"] and "3 of the user's sessions are left" in reply.json()["detail"]
    until(lambda: ports.server.connected() == 3)
    assert len(ports.ended()) == 3
    assert not ports.server.connected() and len(clients) == 103


def test_at_the_maximum_of_sessions_the_look_displaces_the_oldest(ports: Ports) -> None:
    host = "limited.example"
    clients = [ports.server.attached(f"juliet@{host}/{number}") for number in range(3)]
    assert ports.ended(f"juliet@{host}/none") == []
    until(lambda: sorted(ports.server.command("connected_users")) == [f"juliet@{host}/1", f"juliet@{host}/2"], OWN_TIME)
    assert clients[2].ping()
    assert len(ports.ended(f"juliet@{host}")) == 2


def test_sessions_that_come_all_the_time_do_not_survive_a_200(ports: Ports) -> None:
    """Warm sessions of one user while they are ended: a session that was handed out before an end is gone after it."""
    server = ports.server
    stop = threading.Event()
    warmed: list[tuple[float, str]] = []
    statuses: list[int] = []

    def warm() -> None:
        while not stop.is_set():
            began = time.monotonic()
            reply = server.warm(jid=JULIET, presence="available")
            statuses.append(reply.status)
            if reply.status == 200:
                warmed.append((began, reply.json()["jid"]))

    threads = [threading.Thread(target=warm) for _ in range(3)]
    for each in threads:
        each.start()
    survivors, ends = [], 0
    try:
        for _ in range(12):
            started = time.monotonic()
            reply = ports.end()
            left = set(server.command("connected_users"))
            if reply.status == 200:
                ends += 1
                survivors += [jid for began, jid in list(warmed) if began < started and jid in left]
            else:
                assert reply.status == 503, reply.body
    finally:
        stop.set()
        for each in threads:
            each.join()
    assert survivors == [] and ends
    assert set(statuses) <= {200, 409} and {200, 409} <= set(statuses), statuses


def test_a_caller_that_disconnects_leaves_no_session_of_warmside(ports: Ports) -> None:
    server = ports.server
    clients = [server.attached(f"{JULIET}/{number}") for number in range(20)]
    names = {f"{JULIET}/{number}" for number in range(20)}
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    reply = server.post("/warm", jid="romeo@example.org")  # the admin's password is verified
    assert reply.status == 200
    headers = {"Authorization": basic(), "Accept": "application/json", "Content-Type": "application/json"}
    connection.request("POST", "/end", b'{"jid": "juliet@example.org"}', headers)
    until(lambda: len(server.sessions("juliet")) < 20)
    connection.close()
    until(lambda: set(server.sessions("juliet")) <= names, OWN_TIME)
    assert len(clients) == 20
    ports.ended()
    assert server.sessions("juliet") == []
