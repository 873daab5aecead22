"""Fixtures of the tests of the HTTP interface."""

import pytest

from tests.web.interface import Interface


@pytest.fixture
def interface() -> Interface:
    return Interface()
