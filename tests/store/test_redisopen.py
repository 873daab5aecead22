"""Instances of Redis that are refused, each in words, and passwords. All with a real Redis."""

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.redisserver import RedisServer
from tests.store.nodes import Spinner, running_spinner
from tests.support import logging
from warmside.config.settings import RedisPlace, Shared
from warmside.store import redislink, redisopen
from warmside.store.interface import StoreError
from warmside.store.redisclient import RedisClient, RedisUnavailable

SECRET = "hunter2hunter2"
BACK_WITHIN = 5.0
"""Seconds after the end of a fault until Redis has to be used again."""

Refused = Callable[..., tuple[RedisClient, list[str]]]


spinner = pytest.fixture(scope="module")(running_spinner)


@pytest.fixture
def start() -> Iterator[Callable[..., RedisServer]]:
    """Return a function that starts a server."""
    servers: list[RedisServer] = []

    def start(*options: str, **arguments: Any) -> RedisServer:
        servers.append(RedisServer(*options, **arguments).start())
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def turns(spinner: Spinner) -> Iterator[Refused]:
    """Return a function that opens a client, waits for a state, and returns what was logged."""
    clients: list[RedisClient] = []

    def turns(settings: Shared, state: str, password: str | None = None) -> tuple[RedisClient, list[str]]:
        with logging() as logged:
            client = RedisClient(spinner.reactor, settings, lambda: password)
            clients.append(client)
            client.start()
            spinner.until(lambda: client.state.startswith(state) and "not connected" not in client.state)
        return client, logged

    yield turns
    for client in clients:
        spinner.result(client.close())


def put(spinner: Spinner, client: RedisClient) -> Any:
    """Write one key."""
    return spinner.result(client.call("SET", client.key("a"), "1"))


@pytest.mark.parametrize(
    ("fault", "state", "cure"),
    [
        (
            [("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")],
            "evicts: maxmemory-policy is allkeys-lru",
            [("CONFIG", "SET", "maxmemory-policy", "noeviction")],
        ),
        (
            [("ACL", "SETUSER", "default", "-info")],
            "no-info: a script may not",
            [("ACL", "SETUSER", "default", "+info")],
        ),
        (
            [("ACL", "SETUSER", "default", "-eval")],
            "no-info: a script may not",
            [("ACL", "SETUSER", "default", "+eval")],
        ),
        (
            [("CONFIG", "SET", "requirepass", "x")],
            "away: it requires a password",
            [("CONFIG", "SET", "requirepass", "")],
        ),
        ([("REPLICAOF", "127.0.0.1", "1")], "read-only: it is a replica", [("REPLICAOF", "NO", "ONE")]),
        (
            [("CONFIG", "SET", "replica-serve-stale-data", "no"), ("REPLICAOF", "127.0.0.1", "1")],
            "read-only: it is a replica without its primary",
            [("REPLICAOF", "NO", "ONE")],
        ),
    ],
    ids=["evicts", "no-info", "no-eval", "requirepass", "replica", "replica-alone"],
)
def test_instance_is_refused_in_words_until_it_is_corrected(
    start: Callable[..., RedisServer],
    turns: Refused,
    spinner: Spinner,
    fault: list[tuple[str, ...]],
    state: str,
    cure: list[tuple[str, ...]],
) -> None:
    server = start()
    for reply in server.replies(*fault):
        assert reply == b"OK"
    client, logged = turns(server.settings(), state)
    assert any(f"Redis at {server.url} can't be used: {state}" in line for line in logged)
    with pytest.raises(RedisUnavailable, match=state):
        put(spinner, client)
    server.replies(("AUTH", "x"), *cure)
    spinner.until(lambda: client.state == "ok", BACK_WITHIN)
    assert put(spinner, client) == b"OK"


def test_a_cluster_is_refused(start: Callable[..., RedisServer], turns: Refused) -> None:
    server = start("--cluster-enabled", "yes")
    assert turns(server.settings(), "cluster")[0].state == (
        "cluster: it is a Redis Cluster: give the address of a single primary"
    )


def test_an_instance_beyond_loopback_without_a_password_is_refused(
    start: Callable[..., RedisServer], turns: Refused, spinner: Spinner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redisopen, "is_loopback", lambda host: False)
    server = start()
    client, _ = turns(server.settings(), "open: it is not on loopback and takes commands without a password")
    server.command("CONFIG", "SET", "requirepass", SECRET)
    spinner.until(lambda: client.state.startswith("away: it requires a password"))
    assert put(spinner, turns(server.settings(), "ok", SECRET)[0]) == b"OK"
    server.replies(("AUTH", SECRET), ("ACL", "SETUSER", "default", "nopass"))
    turns(server.settings(), "open", SECRET)
    assert put(spinner, turns(server.settings(unix=True), "ok")[0]) == b"OK"
    server.command("ACL", "SETUSER", "default", "-@all", "+@read", "+@write")  # PING is neither
    turns(server.settings(), "open")


def test_protected_mode_is_named(turns: Refused, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with socket.socket(socket.AF_UNIX) as listener:  # a real one rejects only clients of other machines
        listener.bind(str(path))
        listener.listen()

        def reject() -> None:
            accepted, _ = listener.accept()
            assert accepted.recv(1 << 16)
            accepted.sendall(b"-DENIED Redis is running in protected mode because no password is set.\r\n")
            accepted.close()

        rejecting = threading.Thread(target=reject)
        rejecting.start()
        place = RedisPlace("", 0, False, path, None, 0)
        turns(Shared(f"redis+unix://{path}", place), "open: it has no password, and its protected mode")
        rejecting.join()


def test_an_instance_that_begins_to_evict_is_refused_while_it_is_connected(
    start: Callable[..., RedisServer], turns: Refused, spinner: Spinner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redislink, "PING_INTERVAL", 0.05)
    monkeypatch.setattr(redislink, "EXAMINE_EACH", 3)
    server = start()
    client, _ = turns(server.settings(), "ok")
    server.command("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
    spinner.until(lambda: client.state.startswith("evicts: maxmemory-policy is volatile-ttl"))
    server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    spinner.until(lambda: client.state == "ok", BACK_WITHIN)


def test_a_full_redis_fails_writes_and_stays_connected(
    start: Callable[..., RedisServer], turns: Refused, spinner: Spinner
) -> None:
    server = start()
    client, _ = turns(server.settings(), "ok")
    server.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreError, match=r"^Redis: OOM"):
        put(spinner, client)
    server.command("CONFIG", "SET", "maxmemory", "0")
    assert put(spinner, client) == b"OK"


def test_user_password_and_prefix_of_an_acl_suffice(
    start: Callable[..., RedisServer], turns: Refused, spinner: Spinner
) -> None:
    server = start()
    rights = "on >%s resetkeys ~warmside:* resetchannels &warmside:* -@all +auth +ping +eval +info +subscribe +set"
    server.command("ACL", "SETUSER", "web", *(rights % SECRET).split())
    server.command("ACL", "SETUSER", "default", "off")
    settings = server.settings()
    assert settings.place is not None
    settings = replace(settings, place=replace(settings.place, user="web"))
    client, heard = turns(settings, "ok", SECRET)[0], list[bytes]()
    client.listen(client.channel("news"), heard.append)
    spinner.until(lambda: heard == [b""])
    assert put(spinner, client) == b"OK"


@pytest.mark.parametrize("options", [("--requirepass", "other"), ("--rename-command", "AUTH", ""), ()], ids=str)
def test_a_rejected_password_is_shown_nowhere(
    start: Callable[..., RedisServer], turns: Refused, options: tuple[str, ...]
) -> None:
    client, logged = turns(start(*options).settings(), "away: it ", SECRET)
    assert "shared.password_file" in client.state
    assert SECRET not in client.state + "".join(logged) + repr(vars(client))
