"""One-time passwords in Redis: what is stored, what other machines see, and what happens without Redis."""

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.redisserver import RedisServer, running_server
from tests.store.redisbackend import LOOP, Client
from tests.support import logging, now
from warmside.store import redispasswords
from warmside.store.interface import RevocationStatus, StoreError
from warmside.store.metered import MeteredStore
from warmside.store.redisclient import Script
from warmside.store.redispasswords import RedisPasswords, SharedPasswords
from warmside.store.sqlite import SQLiteStore

JULIET, ROMEO = "juliet@example.org", "romeo@example.org"


class Node:
    """The one-time passwords of a machine."""

    def __init__(self, server: RedisServer) -> None:
        self.client = Client(server.path)
        self.local = SQLiteStore(None)
        self.redis = RedisPasswords(self.client)
        self.shared = SharedPasswords(self.local, self.redis)

    def mint(self, bare: str = JULIET) -> bytes:
        text: str = LOOP.result(self.shared.mint(bare, 30)).text
        return text.encode()

    def redeem(self, password: bytes, bare: str = JULIET) -> bool:
        redeemed: bool = LOOP.result(self.shared.redeem(bare, password))
        return redeemed


server = pytest.fixture(running_server)


@pytest.fixture
def nodes(server: RedisServer) -> Iterator[list[Node]]:
    """Two machines on one Redis."""
    nodes = [Node(server), Node(server)]
    yield nodes
    server.thaw() if server.process.poll() is None else None
    for node in nodes:
        LOOP.result(node.client.close())


def test_a_password_is_redeemed_once_at_any_machine(nodes: list[Node]) -> None:
    one, other = nodes
    password = one.mint()
    assert not other.redeem(password, ROMEO)
    assert [other.redeem(password), other.redeem(password), one.redeem(password)] == [True, False, False]


def test_keys_have_digests_only_and_expire_by_themselves(nodes: list[Node], server: RedisServer) -> None:
    password = nodes[0].mint()
    nodes[0].redeem(password, ROMEO)
    secret = password.removeprefix(b"warmside-otp-")
    keys = server.command("KEYS", "*")
    assert len(keys) == 2
    for key in keys:
        assert 0 < server.command("PTTL", key) <= 30_000
        written = key + server.command("DUMP", key)
        assert secret not in written and JULIET.encode() not in written


def test_an_expired_password_is_rejected_also_if_redis_still_has_it(nodes: list[Node], server: RedisServer) -> None:
    password = nodes[0].mint()
    (key,) = server.command("KEYS", "*:otp:*")
    server.command("HINCRBY", key, "expires", -30_001)
    assert not nodes[1].redeem(password)
    server.command("HINCRBY", key, "expires", 30_001)
    assert nodes[1].redeem(password)


def test_the_index_of_a_user_lets_go_of_expired_passwords(nodes: list[Node], server: RedisServer) -> None:
    for _ in range(3):
        nodes[0].mint()
    (index,) = server.command("KEYS", "*:otps:*")
    first, second, _ = server.command("ZRANGE", index, 0, -1)
    server.command("ZADD", index, 1000, first, 1000, second)
    nodes[0].mint()
    assert server.command("ZCARD", index) == 2
    LOOP.result(nodes[0].redis.mint(JULIET, 5))
    assert server.command("PTTL", index) > 20_000
    LOOP.result(nodes[0].redis.mint(JULIET, 90))
    assert server.command("PTTL", index) > 80_000


def test_own_passwords_cost_no_command(nodes: list[Node]) -> None:
    node = nodes[0]
    password = now(node.local.mint(JULIET, 30)).text.encode()
    assert node.shared.redeem(JULIET, password) is True
    assert node.client.commands == 0
    assert not node.redeem(password)


def test_a_machine_learns_that_another_one_was_asked_about_its_own_password(
    nodes: list[Node], server: RedisServer
) -> None:
    one, other = nodes
    minted = now(one.local.mint(JULIET, 30))
    assert LOOP.result(one.redis.asked_elsewhere(minted)) is False
    assert not other.redeem(minted.text.encode())
    assert LOOP.result(one.redis.asked_elsewhere(minted)) is True
    (note,) = server.command("KEYS", "*")
    assert 0 < server.command("PTTL", note) <= redispasswords.ASKED_TIME * 1000
    server.kill()
    assert LOOP.result(one.redis.asked_elsewhere(minted)) is False
    LOOP.until(lambda: not one.redis.available)
    assert now(one.redis.asked_elsewhere(minted)) is False


def test_all_passwords_of_a_user_are_revoked_at_every_machine(nodes: list[Node]) -> None:
    one, other = nodes
    own, credential, romeos = now(other.local.mint(JULIET, 30)).text.encode(), one.mint(), one.mint(ROMEO)
    events: list[tuple[str, int]] = []
    metered = MeteredStore(other.shared, lambda event, number: events.append((event, number)))
    assert LOOP.result(metered.revoke_all(JULIET)) == 2
    assert events == [("revoked", 2)]
    assert not other.redeem(own) and not one.redeem(credential)
    assert other.redeem(romeos, ROMEO)


def test_a_credential_is_revoked_with_its_status(nodes: list[Node]) -> None:
    minted = LOOP.result(nodes[0].shared.mint(JULIET, 30))
    assert LOOP.result(nodes[1].shared.revoke(minted)) is RevocationStatus.UNASKED
    assert not nodes[0].redeem(minted.text.encode())


def test_without_redis_nothing_is_minted_or_revoked(nodes: list[Node], server: RedisServer) -> None:
    node = nodes[0]
    own, minted = now(node.local.mint(JULIET, 30)), LOOP.result(node.shared.mint(JULIET, 30))
    server.kill()
    LOOP.until(lambda: not node.redis.available)
    for call in (node.shared.mint(JULIET, 30), node.shared.revoke_all(JULIET), node.shared.revoke(minted)):
        with pytest.raises(StoreError) as raised:
            now(call)
        assert minted.text not in str(raised.value)
    assert node.shared.redeem(JULIET, minted.text.encode()) is False
    assert node.shared.redeem(JULIET, own.text.encode()) is True
    assert now(node.local.revoke_all(JULIET)) == 0


def test_a_redemption_whose_connection_is_lost_is_rejected_and_not_repeated(
    nodes: list[Node], server: RedisServer
) -> None:
    node = nodes[0]
    password = node.mint()
    server.freeze()
    commands = node.client.commands
    redeemed: Any = node.shared.redeem(JULIET, password)
    assert isinstance(redeemed, Deferred) and not redeemed.called
    with logging() as logged:
        assert LOOP.result(redeemed) is False
    assert any("one-time password rejected" in line for line in logged)
    assert not any(password.decode() in line for line in logged)
    assert node.shared.redeem(JULIET, password) is False  # the next request of ejabberd does not wait
    server.thaw()
    LOOP.until(lambda: node.redis.available)
    assert node.client.commands == commands + 1
    assert node.redeem(node.mint())


def test_scripts_that_redis_has_forgotten_are_sent_again(nodes: list[Node], server: RedisServer) -> None:
    password = nodes[0].mint()
    server.command("SCRIPT", "FLUSH")
    assert nodes[0].redeem(password)


def test_an_error_of_redis_rejects_the_password(nodes: list[Node], monkeypatch: pytest.MonkeyPatch) -> None:
    password = nodes[0].mint()
    monkeypatch.setattr(redispasswords, "REDEEM", Script("return redis.call('NONE')"))
    assert not nodes[0].redeem(password)
