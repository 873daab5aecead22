"""One ejabberd with warmside in it for the whole test run."""

from collections.abc import Iterator

import pytest

from tests.real.parts import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The sample files' ejabberd with warmside, running."""
    running = Server(tmp_path_factory.mktemp("server")).start()
    yield running
    running.stop()
