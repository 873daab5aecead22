"""Two ejabberd nodes, each with its own warmside, and one Redis: what one node does holds at the other."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from private_ejabberd import free_port

from tests.real.boshclient import BoshClient, Refused
from tests.real.cluster import Balancer, Cluster, Node
from tests.real.parts import PYTHON, Reply, basic, exchanged, run, until
from tests.redisserver import RedisServer
from warmside.sessions.ending import RETRY_INTERVAL

HOST = "example.org"
BALANCED, ELSEWHERE = "balanced.example", "elsewhere.example"
HOSTS = ("  - example.org\n", f"  - example.org\n  - {BALANCED}\n  - {ELSEWHERE}\n")
"""``bosh.url`` of two hosts of node 1 is wrong: a balancer of both nodes, and node 2."""
KNOWN_WITHIN, BACK_WITHIN, AWAY_WITHIN, REDEEM_WITHIN = 1.0, 5.0, 2.0, 5.0
"""Seconds: an announcement at every node; all is well after Redis is back; a 503 without Redis; a refused login."""


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """Run the Redis of the cluster."""
    running = RedisServer().start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def cluster(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run two nodes. Two hosts of node 1 have a wrong ``bosh.url``."""
    ports = (free_port(), free_port())

    def toml(number: int) -> str:
        text = f'\n[shared]\nurl = "{redis.url}"\n'
        for host, port in zip((BALANCED, ELSEWHERE), ports, strict=True) if number == 1 else ():
            text += f'[host."{host}"]\nurl = "http://127.0.0.1:{port}/bosh"\n'
        return text

    running = Cluster(tmp_path_factory.mktemp("cluster"), HOSTS, toml=toml)
    bosh = [node.bosh for node in running.nodes]
    balancers = [Balancer(*bosh, port=ports[0]), Balancer(bosh[1], port=ports[1])]
    try:
        running.start()
        for node in running.nodes:
            until(partial(is_well, node, node))
        yield running
    finally:
        running.stop()
        for balancer in balancers:
            balancer.stop()


@pytest.fixture
def nodes(cluster: Cluster) -> tuple[Node, Node]:
    """Return both nodes."""
    first, second = cluster.nodes
    return first, second


def ready(node: Node) -> tuple[int, dict[str, Any]]:
    """Return the status of ``/ready`` and its JSON; 0 while warmside starts."""
    try:
        reply = node.request("GET", "/ready")
    except OSError:
        return 0, {}
    return reply.status, reply.json()


def is_unready(node: Node) -> bool:
    """Return True if ``/ready`` is 503 and names the shared Redis."""
    status, parts = ready(node)
    return status == 503 and parts.get("shared") != "ok"


def credential(node: Node, user: str) -> str:
    """Return a one-time password for a client that logs in itself."""
    reply = node.post("/credentials", jid=f"{user}@{HOST}")
    assert reply.status == 200, reply.body
    return str(reply.json()["password"])


def logs_in(node: Node, user: str, password: str) -> bool:
    """Return False if the node rejects the password."""
    client = BoshClient(node.bosh, HOST)
    try:
        client.log_in(user, password)
    except Refused:
        return False
    client.terminate()
    return True


def exists(node: Node, user: str) -> bool:
    """Return True if ejabberd takes a user for existing: it asks the node's warmside."""
    return bool(node.command("check_account", user=user, host=HOST) == 0)


def remove(node: Node, user: str) -> Reply:
    """Send ``DELETE /users/JID``."""
    return node.request("DELETE", f"/users/{quote(f'{user}@{HOST}')}", None, {"Authorization": basic()})


def test_a_session_warmed_at_one_node_is_attached_at_the_other(nodes: tuple[Node, Node]) -> None:
    first, second = nodes
    reply = first.warm(jid=f"juliet@{HOST}", wait=1, attach_within=60)
    assert reply.status == 200, reply.body
    client = second.attach(reply.json())
    client.presence()
    sender = first.attach(second.warm(jid=f"romeo@{HOST}", wait=1).json())
    sender.message(f"juliet@{HOST}", "across the nodes")
    assert client.await_message() == "across the nodes"
    for each in (client, sender):
        each.terminate()


def test_a_credential_of_one_node_logs_in_once_at_the_other(nodes: tuple[Node, Node]) -> None:
    first, second = nodes
    for minting, using in ((first, second), (second, first)):
        password = credential(minting, "juliet")
        assert not logs_in(using, "romeo", password), "the password of another user"
        assert logs_in(using, "juliet", password)
        assert [logs_in(node, "juliet", password) for node in nodes] == [False, False]


def test_an_announced_user_is_known_at_the_other_node_until_removed(nodes: tuple[Node, Node]) -> None:
    first, second = nodes
    sender = second.attach(second.warm(jid=f"romeo@{HOST}", wait=1).json())
    assert not exists(second, "gregory")
    assert first.post("/users", jids=[f"gregory@{HOST}"]).json()["added"] == 1
    until(lambda: exists(second, "gregory"), KNOWN_WITHIN)
    sender.message(f"gregory@{HOST}", "welcome")
    assert sender.ping()
    sender.terminate()
    client = first.attach(second.warm(jid=f"gregory@{HOST}", wait=1).json())
    client.presence()
    assert client.await_message() == "welcome"
    assert remove(second, "gregory").status == 204
    assert first.sessions("gregory") == second.sessions("gregory") == []
    until(lambda: not exists(first, "gregory"), KNOWN_WITHIN)


def test_sessions_of_the_other_node_are_ended_also_of_the_same_second(nodes: tuple[Node, Node]) -> None:
    """ejabberd orders sessions by second, then by a counter of the node: the older one of a second may win."""
    for attempt in range(40):
        user = f"ended{attempt}"
        ending, other = nodes if attempt % 2 else reversed(nodes)
        warmed = [node.warm(jid=f"{user}@{HOST}", wait=1).json()["jid"] for node in (ending, other, other)]
        since = time.monotonic()
        reply = ending.post("/end", jid=f"{user}@{HOST}")
        assert reply.status == 200, reply.body
        assert sorted(reply.json()["ended"]) == sorted(warmed)
        assert [node.sessions(user) for node in nodes] == [[], []]
        if time.monotonic() - since > RETRY_INTERVAL:
            break  # a session lived on, and was taken over again
    else:
        pytest.fail("no session began in the second in which it was to end")


def test_an_end_at_one_node_reaches_a_warm_of_the_other_that_began_before(nodes: tuple[Node, Node]) -> None:
    first, second = nodes
    user = f"mercutio@{HOST}"
    outcomes: list[int] = []
    with ThreadPoolExecutor(4) as pool:
        while 409 not in outcomes:
            warming = [pool.submit(second.warm, jid=user, wait=1) for _ in range(3)]
            ended = first.post("/end", jid=user)
            assert ended.status == 200, ended.body
            replies = [each.result() for each in warming]
            outcomes += [reply.status for reply in replies]
            assert {reply.status for reply in replies} <= {200, 409}, [reply.body for reply in replies]
            assert len(outcomes) < 90, "no call of /warm began before an end"
    assert first.post("/end", jid=user).status == 200


def test_unregister_at_one_node_revokes_at_the_other(nodes: tuple[Node, Node]) -> None:
    first, second = nodes
    password = credential(first, "benvolio")
    second.command("unregister", user="benvolio", host=HOST)
    assert not logs_in(first, "benvolio", password)
    until(lambda: not exists(first, "benvolio"), KNOWN_WITHIN)


def test_failures_at_one_node_count_at_the_other(nodes: tuple[Node, Node]) -> None:
    first, second = nodes
    wrong = {"jid": f"tybalt@{HOST}", "password": "a guess"}
    for _ in range(5):
        assert first.warm(**wrong).status == 403
    assert second.warm(**wrong).status == 429


def test_a_bosh_url_of_another_node_is_named(nodes: tuple[Node, Node]) -> None:
    first, _ = nodes
    reply = first.warm(jid=f"juliet@{ELSEWHERE}")
    assert (reply.status, reply.json()["type"]) == (502, "urn:warmside:otp-not-asked")
    assert "bosh.url leads to another node's ejabberd or to a balancer" in reply.json()["detail"]


def test_a_bosh_url_of_a_balancer_is_named(nodes: tuple[Node, Node]) -> None:
    first, _ = nodes
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda number: first.warm(jid=f"user{number}@{BALANCED}"), range(16)))
    refused = [reply.json() for reply in replies if reply.status != 200]
    assert refused and all("bosh.url leads to another node's ejabberd" in each["detail"] for each in refused), refused


def test_the_doctor_names_a_bosh_url_of_a_balancer(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    first, second = nodes
    bosh = (first.bosh, second.bosh)
    # One has the port of ejabberd's own listener. Of the other one only a login shows where it leads.
    balancers = [Balancer(*bosh, host="127.0.0.2", port=first.bosh), Balancer(*bosh, path=tmp_path / "bosh.sock")]
    kept = first.toml.read_text()
    try:
        for balancer in balancers:
            own = f'url = "http://127.0.0.1:{first.bosh}/bosh"'
            first.toml.write_text(exchanged(kept, (own, f'url = "{balancer.url}"')))
            found = checked(first)
            assert {each["name"] for each in found} == {"bosh-elsewhere"}
            assert len(found) == 3 and any(each["says"].startswith(balancer.url) for each in found), found
    finally:
        first.toml.write_text(kept)
        for balancer in balancers:
            balancer.stop()
    assert checked(second) == []


def test_the_doctor_notes_sessions_in_mnesia(nodes: tuple[Node, Node]) -> None:
    _, node = nodes
    yml = node.folder / "redis.yml"
    text = (node.folder / "ejabberd" / "ejabberd.yml").read_text()
    for options, noted in (("mod_bosh: {}", True), ("mod_bosh:\n    ram_db_type: redis", False)):
        yml.write_text(exchanged(text, ("mod_bosh: {}", options)))
        command = (PYTHON, "-I", "-m", "warmside", "check", "--offline", "--config", node.toml, "--ejabberd", yml)
        assert ("in Mnesia: a session" in run(*command, env=node.environ).stdout) is noted


def checked(node: Node) -> list[dict[str, Any]]:
    """Return the findings of ``warmside check``, without that about an old version."""
    files = ("--config", node.toml, "--ejabberd", node.folder / "ejabberd" / "ejabberd.yml")
    ended = run(PYTHON, "-I", "-m", "warmside", "check", "--json", *files, env=node.environ)
    return [each for each in json.loads(ended.stdout)["findings"] if each["name"] != "old-ejabberd"]


def refused_requests(node: Node) -> Iterator[tuple[Reply, float]]:
    """Send a request of each kind that needs Redis; yield the reply and its seconds."""
    for path, fields in (
        ("/credentials", {"jid": f"paris@{HOST}"}),
        ("/users", {"jids": [f"nobody@{HOST}"]}),
        ("/end", {"jid": f"peter@{HOST}"}),
        ("DELETE", {}),
    ):
        since = time.monotonic()
        reply = remove(node, "peter") if path == "DELETE" else node.post(path, **fields)
        yield reply, time.monotonic() - since


def test_without_redis_warm_goes_on_and_the_rest_is_refused_at_once(
    nodes: tuple[Node, Node], redis: RedisServer
) -> None:
    first, second = nodes
    password = credential(first, "paris")
    assert first.post("/users", jids=[f"{user}@{HOST}" for user in ("peter", "balthasar")]).status == 200
    until(lambda: exists(second, "peter"), KNOWN_WITHIN)
    assert remove(first, "balthasar").status == 204
    redis.kill()
    for node in nodes:
        for reply, seconds in refused_requests(node):
            assert (reply.status, "Retry-After" in reply.headers) == (503, True), reply.body
            assert seconds < AWAY_WITHIN, reply.body
        assert node.warm(jid=f"juliet@{HOST}").status == 200
        assert exists(node, "peter") and not exists(node, "nobody")
        until(partial(is_unready, node), 3)
        since = time.monotonic()
        assert not logs_in(node, "paris", password)
        assert time.monotonic() - since < REDEEM_WITHIN
    redis.start()  # empty
    since = time.monotonic()
    while not all(is_well(node, other) for node, other in (nodes, nodes[::-1])):
        assert time.monotonic() - since < BACK_WITHIN
    for node in nodes:
        assert exists(node, "peter")
        assert not exists(node, "balthasar")
        assert not logs_in(node, "paris", password), "a password of the Redis that was killed"
    assert first.post("/end", jid=f"juliet@{HOST}").status == 200


def is_well(node: Node, other: Node) -> bool:
    """Return True if all that needs Redis works. The requests reach both processes of a node."""
    if any(ready(node)[0] != 200 or node.post("/users", jids=[f"later@{HOST}"]).status != 200 for _ in range(4)):
        return False
    replies = [node.post("/credentials", jid=f"paris@{HOST}") for _ in range(4)]
    return all(reply.status == 200 and logs_in(other, "paris", reply.json()["password"]) for reply in replies)
