"""How warming a session can fail: the types of errors that whoever asks for one has to know.

The HTTP interface turns them into replies; it does not reach into `warmside.bosh`, which raises most of them.
"""

from warmside.bosh.errors import Banned, BoshError, Busy, PauseTooLong, Refused, TimedOut, Unreachable
from warmside.gate import TooManyFailures
from warmside.onetime import Leftover, StoreError
from warmside.probe import OneTimeRefused, UnsafeHost

__all__ = [
    "Banned",
    "BoshError",
    "Busy",
    "Leftover",
    "OneTimeRefused",
    "PauseTooLong",
    "Refused",
    "StoreError",
    "TimedOut",
    "TooManyFailures",
    "Unreachable",
    "UnsafeHost",
]
