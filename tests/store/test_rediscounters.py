"""Failure counters of several machines, with and without Redis."""

from collections.abc import Iterator

import pytest

from tests.redisserver import RedisServer, running_server
from tests.store.redisbackend import LOOP, Client
from tests.support import logging, now
from warmside.store.interface import UNLIMITED
from warmside.store.rediscounters import RedisFailureCounters, SharedCounters
from warmside.store.sqlite import SQLiteFailureCounters
from warmside.throttle.limits import LOCAL_KEYS, RULES


class Node:
    """The failure counters of a machine."""

    def __init__(self, server: RedisServer) -> None:
        self.client = Client(server.path)
        self.local = SQLiteFailureCounters(None)
        self.counters = SharedCounters(self.local, RedisFailureCounters(self.client), ("own",))

    def add(self, key: str, limit: int = UNLIMITED) -> bool:
        added: bool = LOOP.result(self.counters.add(key, limit, 60))
        return added

    def count(self, key: str) -> int:
        return int(LOOP.result(self.counters.count(key))[0])


server = pytest.fixture(running_server)


@pytest.fixture
def nodes(server: RedisServer) -> Iterator[list[Node]]:
    """Two machines on one Redis."""
    nodes = [Node(server), Node(server)]
    yield nodes
    for node in nodes:
        LOOP.result(node.client.close())


def test_failures_at_one_machine_count_at_the_other(nodes: list[Node], server: RedisServer) -> None:
    one, other = nodes
    assert [each.add("jid a@x", 3) for each in (one, other, one, other, one)] == [True, True, True, False, False]
    assert one.count("jid a@x") == other.count("jid a@x") == 3
    assert now(one.local.count("jid a@x"))[0] == 2 and now(other.local.count("jid a@x"))[0] == 1
    LOOP.result(other.counters.take_back("jid a@x"))
    assert one.count("jid a@x") == 2
    (key,) = server.command("KEYS", "*")
    assert b"a@x" not in key and 0 < server.command("PTTL", key) <= 60_000
    LOOP.result(one.counters.forget("jid a@x", "own"))
    assert other.count("jid a@x") == 0


def test_counters_of_one_machine_are_not_shared(nodes: list[Node]) -> None:
    one, other = nodes
    assert one.add("own ejabberd", 1)
    assert one.count("own ejabberd") == 1 and other.count("own ejabberd") == 0
    assert not one.add("own ejabberd", 1)
    LOOP.result(one.counters.take_back("own ejabberd"))
    LOOP.result(one.counters.forget("own ejabberd"))
    assert one.client.commands == 0 and one.count("own ejabberd") == 0


def test_without_redis_the_failures_of_this_machine_decide(nodes: list[Node], server: RedisServer) -> None:
    one, other = nodes
    for each in (one, one, other):
        each.add("x", 9)
    server.kill()
    LOOP.until(lambda: one.client.state != "ok")
    with logging() as logged:
        assert one.count("x") == 2
        assert [one.add("x", 3) for _ in range(2)] == [True, False]
        LOOP.result(one.counters.take_back("x"))
        LOOP.result(one.counters.forget("y"))
        assert one.count("x") == 2
    assert len([line for line in logged if "by this machine alone" in line]) == 1
    server.start()
    LOOP.until(lambda: one.client.state == "ok")
    with logging() as logged:
        assert one.add("x") and one.count("x") == 1
    assert len([line for line in logged if "for all machines again" in line]) == 1


def test_the_counters_that_follow_one_ejabberd_are_those_of_one_machine() -> None:
    """A success at one node resets what its ejabberd has counted, and not what another node's has."""
    for rules in RULES.values():
        for limit in rules.enforced + rules.consulted + rules.counted + rules.restored:
            key = limit.key_for("ejabberd", "127.0.0.1")
            assert key.startswith(LOCAL_KEYS) is (limit.reset_by_success or key == "restoring")
        if rules.per_address is not None:
            assert not rules.per_address.limit.key_for("", "127.0.0.1").startswith(LOCAL_KEYS)
