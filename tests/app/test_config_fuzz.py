"""Random configurations end in an error in words, or the service serves."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings

from tests.app.configfuzz import FOLDER, Unexpected, documents, drive
from warmside.config.loader import load


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(documents())
def test_every_configuration_ends_in_a_message_or_serves(text: str) -> None:
    drive(text)
