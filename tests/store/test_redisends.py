"""Ended users at several machines: each has a file of its own, and they share a real Redis."""

import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.redisserver import RedisServer, running_server
from tests.store.redisbackend import Client, Loop
from tests.support import logging, now
from warmside.store import redisends
from warmside.store.ends import SQLiteEnds
from warmside.store.interface import StoreError
from warmside.store.redisends import SharedEnds

JULIET, ROMEO = "juliet@example.org", "romeo@example.org"


class Node:
    """The ended users of a machine. Its reactor runs only while this node is asked for something."""

    def __init__(self, server: RedisServer, path: Path, database: int = 0) -> None:
        self.loop = Loop()
        self.client = Client(server.path, loop=self.loop, database=database)
        self.local = SQLiteEnds(path)
        self.ends = SharedEnds(self.local, self.client, self.loop.reactor)

    def mark(self, jid: str = JULIET) -> None:
        self.loop.result(self.ends.mark(jid))

    def ended(self, began: float, *jids: str) -> bool:
        """Compare the marks in a turn of the reactor, as a login does."""
        check: Deferred[Any] = deferLater(self.loop.reactor, 0)
        check.addCallback(lambda _: Deferred.fromCoroutine(self.ends.ended_since(began, *jids or (JULIET,))))
        ended: bool = self.loop.result(check)
        return ended

    def begin(self, lease: str, bare: str = JULIET) -> bool:
        begun: bool = self.loop.result(self.ends.begin(bare, lease, 10))
        return begun

    def subscribed(self, server: RedisServer, number: int) -> None:
        """Wait until so many subscriptions are there, and this node has read the marks before its own."""
        channel = self.client.channel("ended")
        self.loop.until(lambda: bool(server.command("PUBSUB", "NUMSUB", channel)[1] == number))
        self.loop.until(lambda: self.client.commands > 0 and self.client.under_way == 0)

    def has_received(self) -> None:
        """Wait until a message is in the socket; the reactor does not read it."""
        link = self.client._link
        assert link is not None
        assert select.select([link._subscriber.transport], [], [], 30)[0]


server = pytest.fixture(running_server)


@pytest.fixture
def nodes(server: RedisServer, tmp_path: Path) -> Iterator[list[Node]]:
    """Two machines on one Redis, both connected."""
    nodes = []
    for number in (1, 2):
        nodes.append(Node(server, tmp_path / f"{number}.sqlite"))
        nodes[-1].subscribed(server, number)
        nodes[-1].ended(0)
    yield nodes
    for node in nodes:
        node.loop.result(node.client.close())
        node.ends.close()


def test_a_mark_that_has_arrived_is_seen_by_the_next_check(nodes: list[Node]) -> None:
    one, other = nodes
    began = other.ends.now()
    one.mark()
    assert one.ended(began)
    other.has_received()
    assert other.ended(began)
    assert other.ended(began, ROMEO, JULIET) and not other.ended(began, ROMEO)
    assert not other.ended(other.ends.now())
    one.mark(f"{ROMEO}/a")
    other.has_received()
    assert other.ended(began, ROMEO, f"{ROMEO}/a") and not other.ended(began, f"{ROMEO}/b")


def test_a_mark_does_not_reach_another_database(nodes: list[Node], server: RedisServer, tmp_path: Path) -> None:
    stranger = Node(server, tmp_path / "stranger.sqlite", database=3)
    try:
        stranger.subscribed(server, 1)
        stranger.mark(ROMEO)
        nodes[0].mark(JULIET)
        assert stranger.ended(0, ROMEO) and not stranger.ended(0, JULIET)
        assert nodes[1].ended(0, JULIET) and not nodes[1].ended(0, ROMEO)
    finally:
        stranger.loop.result(stranger.client.close())
        stranger.ends.close()


def test_a_mark_holds_at_its_own_machine_without_its_message(nodes: list[Node]) -> None:
    began = nodes[0].ends.now()
    nodes[0].client._listeners.clear()
    nodes[0].mark()
    assert nodes[0].ended(began)


def test_a_check_sends_no_command(nodes: list[Node]) -> None:
    commands = nodes[1].client.commands
    nodes[1].ended(0)
    assert nodes[1].client.commands == commands


def test_a_machine_that_was_not_connected_reads_what_it_missed(
    nodes: list[Node], server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = nodes
    monkeypatch.setattr(redisends, "PORTION", 2)
    began = other.ends.now()
    missed = [f"user{number}@example.org" for number in range(5)]
    others = server.command("CLIENT", "LIST", "TYPE", "pubsub").splitlines()[-1].split()[0]
    server.command("CLIENT", "KILL", "ID", others.removeprefix(b"id="))
    one.subscribed(server, 1)  # the other node's reactor does not run
    for jid in missed:
        one.mark(jid)
    other.loop.until(lambda: all(now(other.local.ended_since(began, jid)) for jid in missed))
    assert not other.ended(began, JULIET)


def test_a_missed_mark_has_the_time_of_the_end(nodes: list[Node], server: RedisServer, tmp_path: Path) -> None:
    nodes[0].mark()
    nodes[0].mark(ROMEO)
    server.command("ZINCRBY", "test:1:ends", -100_000_000, JULIET)
    late = Node(server, tmp_path / "late.sqlite")
    late.local.mark_at({ROMEO: late.ends.now()})
    after = late.ends.now()
    time.sleep(0.001)
    late.loop.until(lambda: now(late.local.ended_since(0, JULIET)))
    assert late.ended(after - 150) and not late.ended(after - 50)
    assert not late.ended(after, ROMEO), "an older mark has replaced a later one"
    late.loop.result(late.client.close())
    late.ends.close()


def test_redis_keeps_marks_as_long_as_a_login_may_take_and_not_too_many(
    nodes: list[Node], server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes[0].mark("old@example.org")
    server.command("ZINCRBY", "test:1:ends", -601_000_000, "old@example.org")
    monkeypatch.setattr(redisends, "MAX_MARKS", 3)
    for number in range(5):
        nodes[0].mark(f"user{number}@example.org")
        if number == 0:
            assert server.command("ZRANGE", "test:1:ends", 0, -1) == [b"user0@example.org"]
    assert server.command("ZRANGE", "test:1:ends", 0, -1) == [b"user%d@example.org" % n for n in (2, 3, 4)]
    assert 590_000 < server.command("PTTL", "test:1:ends") <= 600_000


def test_only_one_call_at_all_machines_holds_the_lease_of_a_user(nodes: list[Node], server: RedisServer) -> None:
    one, other = nodes
    assert one.begin("a") and not other.begin("b") and not one.begin("b")
    assert other.begin("b", ROMEO)
    (key,) = server.command("KEYS", "*juliet*")
    assert 9_000 < server.command("PTTL", key) <= 10_000
    other.loop.result(other.ends.release(JULIET, "b"))
    assert not other.begin("b")
    one.loop.result(one.ends.release(JULIET, "a"))
    assert other.begin("b")


def test_without_redis_nothing_is_marked_and_no_lease_is_taken(nodes: list[Node], server: RedisServer) -> None:
    one, _ = nodes
    server.kill()
    one.loop.until(lambda: one.client.state != "ok")
    for call in (one.ends.mark(JULIET), one.ends.begin(JULIET, "a", 10)):
        with pytest.raises(StoreError):
            one.loop.result(call)
    assert not one.ended(0)
    with logging() as logged:
        one.loop.result(one.ends.release(JULIET, "a"))
    assert any("can be ended again later" in line for line in logged)


def test_a_mark_that_can_not_be_stored_is_logged(nodes: list[Node]) -> None:
    one, other = nodes
    other.local.close()
    one.mark()
    with logging() as logged:
        other.loop.until(lambda: any("could not be stored" in line for line in logged))


def test_a_lease_whose_response_was_lost_is_released_with_the_next_connection(
    server: RedisServer, nodes: list[Node]
) -> None:
    first, second = nodes
    server.freeze()
    with pytest.raises(StoreError):
        first.loop.result(first.ends.begin(JULIET, "lost", 300))
    server.thaw()
    first.loop.until(lambda: "cmdstat_set" in server.info("commandstats") and first.client.state == "ok")
    first.loop.until(lambda: server.command("GET", first.client.key(f"ending:{JULIET}")) is None)
    assert second.begin("next")


def test_a_lease_that_could_not_be_released_is_released_with_the_next_connection(
    server: RedisServer, nodes: list[Node]
) -> None:
    first, second = nodes
    assert first.loop.result(first.ends.begin(JULIET, "lost", 300))
    assert first.client._link is not None
    first.client._link.end("away: a test")
    with logging():
        first.loop.result(first.ends.release(JULIET, "lost"))
    assert server.command("GET", first.client.key(f"ending:{JULIET}")) == b"lost"
    first.loop.until(lambda: server.command("GET", first.client.key(f"ending:{JULIET}")) is None)
    assert second.begin("next")
