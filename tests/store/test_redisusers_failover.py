"""Known users after a failover to a replica, and beside those of another service."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.redisserver import RedisServer
from tests.store.nodes import Node, Spinner, running_spinner
from tests.store.test_redisusers import JULIET, NURSE, ROMEO, USERS, known
from warmside.config.settings import RedisPlace

spinner = pytest.fixture(running_spinner)


def test_a_replica_without_the_last_writes_loses_nothing(spinner: Spinner, tmp_path: Path) -> None:
    primary, replica = RedisServer().start(), RedisServer().start()
    try:
        replica.replicate(primary)
        link = tmp_path / "redis.sock"
        link.symlink_to(primary.path)
        settings = replace(primary.settings(unix=True), place=RedisPlace("", 0, False, link, None, 0))
        nodes = [Node(spinner, primary, tmp_path / f"{name}.sqlite", settings=settings) for name in ("one", "two")]
        one, two = nodes
        one.announce(JULIET, ROMEO)
        spinner.until(lambda: replica.command("ZCARD", USERS) == 2)
        replica.replicate(None)
        two.announce(NURSE)
        one.forget(JULIET)
        spinner.until(lambda: known(one, JULIET, NURSE) == known(two, JULIET, NURSE) == [False, True])
        link.unlink()
        link.symlink_to(replica.path)
        primary.kill()
        spinner.until(lambda: replica.command("ZCARD", USERS) == 3)
        three = Node(spinner, replica, tmp_path / "three.sqlite")
        nodes.append(three)
        spinner.until(lambda: known(three, JULIET, ROMEO, NURSE) == [False, True, True])
        for node in nodes:
            node.stop()
    finally:
        primary.stop()
        replica.stop()


def test_another_prefix_has_other_users(spinner: Spinner, tmp_path: Path) -> None:
    server = RedisServer().start()
    one = Node(spinner, server, tmp_path / "one.sqlite", "one:")
    two = Node(spinner, server, tmp_path / "two.sqlite", "two:")
    one.announce(JULIET)
    two.announce(NURSE)
    assert known(two, JULIET, NURSE) == [False, True]
    assert sorted(server.command("KEYS", "*")) == [
        b"one:1:users", b"one:1:users-state", b"two:1:users", b"two:1:users-state",
    ]  # fmt: skip
    one.stop()
    two.stop()
    server.stop()
