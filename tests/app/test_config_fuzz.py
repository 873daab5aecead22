"""Random configurations end in an error in words, or the service serves."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings

from tests.app.configfuzz import FOLDER, Unexpected, documents, drive
from warmside.config.loader import load

EXAMPLES = int(os.environ.get("CONFIGURATIONS", "200"))
"""Number of configurations. `CONFIGURATIONS=2000` takes about a minute."""
USABLE = f'admins.file = "{FOLDER}/admins"\nhttp.listen = "tcp:0:interface=127.0.0.1"\n'


@settings(
    max_examples=EXAMPLES,
    derandomize="CONFIGURATIONS" not in os.environ,  # a search with many examples is random
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(documents())
@example(USABLE.replace("127.0.0.1", "a..b"))
@example(USABLE.replace("127.0.0.1", "a\\u0000b"))
@example(USABLE + 'passwords.store = "sqlite:///a\\u0000b"\n')
@example(USABLE + 'extauth.program = "/bin/cat a\\u0000b"\n')
@example(USABLE + 'bosh.url = "https://xn--/bosh"\n')
@example(USABLE + 'bosh.url = "http://127.0.0.1:/bosh"\n')
@example(USABLE + f"x = {'9' * 5000}\n")
@example(USABLE + f"x = {'[' * 3000}\n")
@example(USABLE + '"a\\nb" = 1\n')
@example(USABLE + f'log.file = "{FOLDER}/fifo"\n')
@example(USABLE + f'bosh.ca_file = "{FOLDER}/fifo"\n')
def test_every_configuration_ends_in_a_message_or_serves(text: str) -> None:
    drive(text)


def test_a_usable_configuration_serves() -> None:
    assert drive(USABLE) == "served"


def test_the_search_finds_a_seeded_fault() -> None:
    def faulty(path: Path) -> Any:
        config = load(path)
        if config.bosh.connections != 8:  # the default
            raise OverflowError("seeded")
        return config

    @settings(
        max_examples=3000,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(documents())
    def search(text: str) -> None:
        drive(text, load=faulty)

    with pytest.raises(Unexpected, match="OverflowError: seeded"):
        search()
