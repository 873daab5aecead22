"""How warming a session can fail: the types of errors that whoever asks for one has to know.

The HTTP interface turns them into replies; it does not reach into `warmside.bosh`, which raises most of them.
"""

from warmside.bosh.errors import Banned, BoshError, Busy, PauseTooLong, Refused, TimedOut, Unreachable
from warmside.sessions.replayprobe import OneTimeRefused, UnsafeHost
from warmside.store.interface import RevocationStatus, StoreError
from warmside.throttle.accounts import TooManyFailures

__all__ = [
    "Banned",
    "BoshError",
    "Busy",
    "OneTimeRefused",
    "PauseTooLong",
    "Refused",
    "RevocationStatus",
    "StoreError",
    "TimedOut",
    "TooManyFailures",
    "Unreachable",
    "UnsafeHost",
]
