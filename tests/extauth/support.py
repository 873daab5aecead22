"""Helpers for tests of the extauth protocol and its authorities."""

import shutil
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from warmside.extauth.authorities import Answer, AuthorityUnavailable
from warmside.extauth.request import ExtauthRequest

reactor: Any = installed_reactor
WARMSIDE = Path(sys.executable).with_name("warmside")

OPERATIONS = ("auth", "isuser", "setpass", "tryregister", "removeuser", "removeuser3", "certauth")


def frame(payload: bytes) -> bytes:
    """Return a {packet,2} frame."""
    return struct.pack("!H", len(payload)) + payload


def request(operation: str, secret: bytes = b"", user: str = "juliet") -> ExtauthRequest:
    """Return a request about a user of example.org."""
    return ExtauthRequest(operation, user, "example.org", secret)


def temporary_folder(test: TestCase) -> Path:
    """Make a folder that is removed after the test; trial's own would be in the checkout."""
    folder = tempfile.mkdtemp()
    test.addCleanup(shutil.rmtree, folder)
    return Path(folder)


async def until(condition: Callable[[], object]) -> None:
    """Run the reactor until a condition is true. The test case has the timeout."""
    while not condition():
        await deferLater(reactor, 0.001)


async def unavailable(answer: Callable[[], Answer]) -> bool:
    """Return True if `AuthorityUnavailable` is raised, or fails the Deferred."""
    try:
        result = answer()
        if isinstance(result, Deferred):
            await result
    except AuthorityUnavailable:
        return True
    return False


class ClockReactor:
    """Reactor with real processes and a clock that only the test advances."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.callLater = self.clock.callLater
        self.seconds = self.clock.seconds
        self.spawnProcess: Any = reactor.spawnProcess
