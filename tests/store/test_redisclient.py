"""The connection to a real Redis: calls, messages, losses and their ends."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.redisserver import RedisServer, running_server
from tests.store.nodes import Spinner, running_spinner
from tests.support import logging
from warmside.config.settings import RedisPlace, Shared
from warmside.store import redisclient, redislink, redisopen, redisprotocol
from warmside.store.interface import StoreError
from warmside.store.redisclient import RedisClient, RedisUnavailable, Script
from warmside.store.redisopen import CONNECT_TIMEOUT

BACK_WITHIN = 5.0
"""Seconds after the end of a fault until all has to be well."""
LONG = 30.0
"""Seconds that a call may take at most where no time is tested."""

Connect = Callable[..., RedisClient]


server = pytest.fixture(scope="module")(running_server)


spinner = pytest.fixture(scope="module")(running_spinner)


@pytest.fixture
def connect(server: RedisServer, spinner: Spinner) -> Iterator[Connect]:
    """Return a function that opens a client; it returns when the client can be used, or is refused."""
    clients: list[RedisClient] = []

    def open_client(settings: Shared | None = None, state: str = "ok", **options: Any) -> RedisClient:
        client = RedisClient(spinner.reactor, settings or server.settings(), **options)
        clients.append(client)
        client.start()
        spinner.until(lambda: client.state.startswith(state))
        return client

    yield open_client
    for client in clients:
        spinner.result(client.close())


def test_replies_are_bytes_numbers_and_lists(connect: Connect, spinner: Spinner) -> None:
    client = connect()
    assert spinner.result(client.call("SET", client.key("a"), "ü", "PX", 60_000)) == b"OK"
    assert spinner.result(client.call("GET", "warmside:1:a")) == "ü".encode()
    assert spinner.result(client.call("GET", client.key("none"))) is None
    script = Script("return {KEYS[1], ARGV[1], 7, {redis.status_reply('X'), false}}")
    assert spinner.result(client.run(script, [client.key("k")], ["12"])) == [b"warmside:1:k", b"12", 7, [b"X", None]]


def test_script_that_redis_has_forgotten_is_sent_again(connect: Connect, spinner: Spinner, server: RedisServer) -> None:
    client, script = connect(), Script("return redis.call('INCR', KEYS[1])")
    key = client.key("forgotten")
    assert spinner.result(client.run(script, [key], [])) == 1
    server.command("SCRIPT", "FLUSH")
    assert spinner.result(client.run(script, [key], [])) == 2


def test_error_of_redis_is_a_store_error_without_the_arguments(connect: Connect, spinner: Spinner) -> None:
    client = connect()
    with pytest.raises(StoreError, match=r"Redis: .*unknown command") as wrong:
        spinner.result(client.call("NOSUCH", "hunter2"))
    assert "hunter2" not in str(wrong.value)
    assert client.state == "ok"


def test_unix_socket_and_database(connect: Connect, spinner: Spinner, server: RedisServer) -> None:
    settings = server.settings(unix=True)
    assert settings.place is not None
    client = connect(replace(settings, prefix="two:", place=replace(settings.place, database=3)))
    assert spinner.result(client.call("SET", client.key("a"), "3")) == b"OK"
    assert server.replies(("SELECT", 3), ("KEYS", "*"))[1] == [b"two:1:a"]


def test_messages_arrive_and_a_listener_learns_when_some_were_missed(
    connect: Connect, spinner: Spinner, server: RedisServer
) -> None:
    client, heard, broken = connect(), list[bytes](), list[bytes]()

    def fail(message: bytes) -> None:
        broken.append(message)
        raise ValueError

    client.listen(client.channel("news"), fail)
    client.listen(client.channel("news"), heard.append)
    spinner.until(lambda: b"" in heard)
    heard.clear()
    with logging() as logged:
        server.command("PUBLISH", "warmside:1:news:0", "one")
        server.command("PUBLISH", "warmside:1:other:0", "none")
        server.command("PUBLISH", "warmside:1:news:0", "two")
        spinner.until(lambda: len(heard) == 2)
    assert heard == [b"one", b"two"] and broken[-2:] == heard
    assert "a listener failed" in logged[0]
    server.command("CLIENT", "KILL", "TYPE", "pubsub")
    spinner.until(lambda: heard[2:] == [b""], BACK_WITHIN)
    server.command("PUBLISH", "warmside:1:news:0", "three")
    spinner.until(lambda: heard[3:] == [b"three"])


def test_a_killed_redis_fails_calls_at_once_and_is_used_again_when_it_is_back(
    connect: Connect, spinner: Spinner, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[redislink.Link] = []

    class Counted(redislink.Link):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            attempts.append(self)

    monkeypatch.setattr(redisclient, "Link", Counted)
    monkeypatch.setattr(redisclient, "MAX_DELAY", 0.25)
    server = RedisServer().start()
    try:
        client, connected = connect(server.settings()), []
        client.on_connected.append(lambda: connected.append(client.instance))
        before = client.instance
        pending = Deferred.fromCoroutine(client.call("BLPOP", client.key("none"), 0, within=LONG))
        failures: list[Failure] = []
        pending.addErrback(failures.append)
        with logging() as logged:
            server.kill()
            spinner.until(lambda: failures)
            assert failures[0].check(RedisUnavailable)
            assert client.state.startswith("away: ")
            began = time.monotonic()
            for _ in range(1000):
                with pytest.raises(RedisUnavailable, match="away: "):
                    spinner.result(client.call("PING"))
            assert time.monotonic() - began < LONG / 3
            spinner.until(lambda: len(attempts) == 4)
            assert "refused" in client.state
            server.start()
            spinner.until(lambda: client.state == "ok", BACK_WITHIN)
        assert len(connected) == 1 and client.instance == connected[0] != before
        lines = [line for line in logged if "Redis at" in line]
        assert len(lines) == 3, "lost, refused, back"
    finally:
        server.stop()


def test_a_stopped_redis_is_noticed_without_a_call(
    connect: Connect, spinner: Spinner, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redisopen, "CONNECT_TIMEOUT", 0.5)
    monkeypatch.setattr(redislink, "PING_INTERVAL", 0.2)
    client = connect()
    server.freeze()
    try:
        spinner.until(lambda: client.state != "ok")
        assert client.state == "away: no response within 1 s"
        with pytest.raises(RedisUnavailable):
            spinner.result(client.call("PING"))
        spinner.until(lambda: client.state == "away: no response within 0.5 s")
    finally:
        server.thaw()
    spinner.until(lambda: client.state == "ok", BACK_WITHIN)


def test_a_late_reply_ends_the_connection_and_all_calls(
    connect: Connect, spinner: Spinner, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redislink, "PING_INTERVAL", LONG)
    client = connect()
    server.freeze()
    try:
        results: list[Any] = []
        for within in (LONG, 0.2):
            Deferred.fromCoroutine(client.call("PING", within=within)).addBoth(results.append)
        spinner.until(lambda: len(results) == 2)
        assert [str(each.value) for each in results] == 2 * ["Redis can't be used: away: no response within 0.2 s"]
    finally:
        server.thaw()
    spinner.until(lambda: client.state == "ok", BACK_WITHIN)


def test_a_reply_that_waits_in_the_socket_while_this_process_is_busy_is_in_time(
    connect: Connect, spinner: Spinner
) -> None:
    client = connect()
    results: list[Any] = []
    Deferred.fromCoroutine(client.call("PING", within=0.05)).addBoth(results.append)
    spinner.reactor.iterate(0)  # sends the command
    time.sleep(0.1)
    spinner.until(lambda: results)
    assert results == [b"PONG"]
    assert client.state == "ok"


def test_commands_under_way_are_bounded(connect: Connect, spinner: Spinner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redisprotocol, "MAX_UNDER_WAY", 3)
    client = connect()
    results: list[Any] = []
    for _ in range(4):
        Deferred.fromCoroutine(client.call("PING")).addBoth(results.append)
    assert "3 commands are under way" in str(results[0].value)
    spinner.until(lambda: len(results) == 4)
    assert results[1:] == 3 * [b"PONG"]


def test_a_reply_that_is_too_long_ends_the_connection(
    connect: Connect, spinner: Spinner, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect()
    spinner.result(client.call("SET", client.key("long"), b"x" * 500_000))
    assert len(spinner.result(client.call("GET", client.key("long")))) == 500_000
    monkeypatch.setattr(redisprotocol, "MAX_REPLY", 200_000)
    with pytest.raises(RedisUnavailable):
        spinner.result(client.call("GET", client.key("long")))
    assert client.state == "away: the connection was lost"
    spinner.until(lambda: client.state == "ok", BACK_WITHIN)


def test_close_ends_an_attempt_to_connect(spinner: Spinner, server: RedisServer) -> None:
    server.freeze()
    try:
        client = RedisClient(spinner.reactor, server.settings())
        client.start()
        for _ in range(20):
            spinner.reactor.iterate(0.01)
        began = time.monotonic()
        spinner.result(client.close())
        assert time.monotonic() - began < CONNECT_TIMEOUT / 2
        assert client.state.startswith("away")
    finally:
        server.thaw()


def test_each_connection_looks_for_redis_again(connect: Connect, spinner: Spinner, tmp_path: Path) -> None:
    servers = [RedisServer().start() for _ in range(2)]
    try:
        link = tmp_path / "redis.sock"
        link.symlink_to(servers[0].path)
        client = connect(Shared("redis+unix:///x", RedisPlace("", 0, False, link, None, 0)))
        servers[1].replicate(servers[0])
        link.unlink()
        link.symlink_to(servers[1].path)
        servers[0].command("REPLICAOF", "127.0.0.1", servers[1].port)
        with pytest.raises(RedisUnavailable, match="read-only: it is a replica"):
            spinner.result(client.call("SET", client.key("a"), "1"))
        spinner.until(lambda: "give the address of the primary" in client.state)
        servers[1].command("REPLICAOF", "NO", "ONE")
        spinner.until(lambda: client.state == "ok", BACK_WITHIN)
        assert client.instance is not None
        assert client.instance.run_id == servers[1].info("server")["run_id"]
    finally:
        for server in servers:
            server.stop()
