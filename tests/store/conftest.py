"""Fixtures: the stores on which a test runs, and a child process that shares one of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redisserver import RedisServer
from tests.store.backends import Backend, SQLiteBackend
from tests.store.redisbackend import RedisBackend
from tests.store.worker import ChildWorker

SHARED = ["sqlite", "redis"]
"""Kinds of stores that several connections and processes share."""


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Start one Redis for all tests of a process."""
    server = RedisServer().start()
    yield server
    server.stop()


@pytest.fixture(params=[*SHARED, "memory"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """Return an empty store of each kind."""
    yield from _open(request, tmp_path)


@pytest.fixture(params=SHARED)
def shared_backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """Return an empty store of each kind that is shared."""
    yield from _open(request, tmp_path)


def _open(request: pytest.FixtureRequest, folder: Path) -> Iterator[Backend]:
    if request.param != "redis":
        yield SQLiteBackend("" if request.param == "memory" else str(folder))
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    server.command("FLUSHDB")
    backend = RedisBackend(f"{server.path} test:")
    yield backend
    backend.close()


@pytest.fixture(scope="session")
def child() -> Iterator[ChildWorker]:
    """Start one child process for all tests."""
    worker = ChildWorker()
    yield worker
    worker.stop()
