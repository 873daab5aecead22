"""Errors of warming a session, for the HTTP interface, which turns them into responses.

Most of them are raised by `warmside.bosh`, which the HTTP interface does not import.
"""

from warmside.bosh.errors import (
    Banned,
    BoshError,
    Busy,
    ConditionError,
    NotAuthenticated,
    PauseTooLong,
    Refused,
    StreamFailed,
    Terminated,
    TimedOut,
    Unreachable,
)
from warmside.sessions.verdicts import OneTimeRefused, UnsafeHost
from warmside.store.interface import HostState, RevocationStatus, StoreError
from warmside.throttle.limits import TooManyFailures

__all__ = [
    "Banned",
    "BoshError",
    "Busy",
    "ConditionError",
    "HostState",
    "NotAuthenticated",
    "OneTimeRefused",
    "PauseTooLong",
    "Refused",
    "RevocationStatus",
    "StoreError",
    "StreamFailed",
    "Terminated",
    "TimedOut",
    "TooManyFailures",
    "Unreachable",
    "UnsafeHost",
]
