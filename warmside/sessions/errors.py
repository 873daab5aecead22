"""Errors of warming and ending sessions, for the HTTP interface, which turns them into responses.

Most of them are raised by `warmside.bosh`, which the HTTP interface does not import.
"""

from warmside.bosh.errors import (
    Banned,
    BoshError,
    Busy,
    ConditionError,
    NoSessionList,
    NotAuthenticated,
    PauseTooLong,
    Refused,
    ResourceConflict,
    StreamFailed,
    Terminated,
    TimedOut,
    Unreachable,
)
from warmside.sessions.ended import EndedMeanwhile, SessionsLeft
from warmside.sessions.verdicts import OneTimeRefused, UnsafeHost
from warmside.store.interface import HostState, RevocationStatus, StoreError
from warmside.throttle.limits import TooManyFailures

__all__ = [
    "Banned",
    "BoshError",
    "Busy",
    "ConditionError",
    "EndedMeanwhile",
    "HostState",
    "NoSessionList",
    "NotAuthenticated",
    "OneTimeRefused",
    "PauseTooLong",
    "Refused",
    "ResourceConflict",
    "RevocationStatus",
    "SessionsLeft",
    "StoreError",
    "StreamFailed",
    "Terminated",
    "TimedOut",
    "TooManyFailures",
    "Unreachable",
    "UnsafeHost",
]
