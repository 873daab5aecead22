"""Fixtures: the stores on which a test runs, and a child process that shares one of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.backends import Backend, SQLiteBackend
from tests.store.worker import ChildWorker

SHARED = ["sqlite"]
"""Kinds of stores that several connections and processes share."""


@pytest.fixture(params=[*SHARED, "memory"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """Return an empty store of each kind."""
    return SQLiteBackend("" if request.param == "memory" else str(tmp_path))


@pytest.fixture(params=SHARED)
def shared_backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """Return an empty store of each kind that is shared."""
    return SQLiteBackend(str(tmp_path))


@pytest.fixture(scope="session")
def child() -> Iterator[ChildWorker]:
    """Start one child process for all tests."""
    worker = ChildWorker()
    yield worker
    worker.stop()
