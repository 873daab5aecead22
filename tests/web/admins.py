"""Helpers of the tests of admins: a checker with a clock and a fake ejabberd."""

import time
from pathlib import Path
from typing import Any

import bcrypt
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater

from tests.support import now
from warmside.config.reloading import ReloadingFile
from warmside.sessions.errors import Banned, Unreachable
from warmside.store.accepted import AcceptedPasswords
from warmside.store.sqlite import SQLiteFailureCounters
from warmside.throttle.limits import ADMIN_LIMIT, EJABBERD_ADMINS_LIMIT, Kind, TooManyFailures
from warmside.throttle.throttle import Attempt, Throttle
from warmside.web.admins import AddressedPassword, AdminDirectory, read_admins
from warmside.web.checker import AdminChecker
from warmside.web.hashing import MAX_WAITING, Bcrypt, Overloaded

MAX_FAILURES, WINDOW = ADMIN_LIMIT.limit.max_failures, ADMIN_LIMIT.limit.window
MAX_PENDING, REJECTION_TIME = ADMIN_LIMIT.max_pending, ADMIN_LIMIT.min_rejection_time


def hashed(password: str) -> str:
    """Return a bcrypt hash of the lowest cost."""
    return bcrypt.hashpw(password.encode(), b"$2b$04$kyJsznY2X3rSJNsUrhJ7hO").decode()


HASH = hashed("secret")


class Threads:
    """Keeps the calls from threads until the test makes them."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __call__(self, function: Any, *arguments: Any) -> None:
        self.calls.append((function, arguments))

    def wait_for(self, count: int) -> None:
        """Wait for a number of calls, and make each one. A call may start the work of the next one."""
        deadline = time.monotonic() + 60
        for _ in range(count):
            while not self.calls:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            function, arguments = self.calls.pop(0)
            function(*arguments)


class Admins:
    """An `AdminChecker` of a file and of accounts.

    :ivar checked: names and passwords that ejabberd was given.
    :ivar account_password: the password of every account.
    :ivar ejabberd: what ejabberd does; see `check_account`.
    """

    def __init__(self, path: Path | None, threads: Threads, accounts: tuple[str, ...] = ()) -> None:
        self.clock = Clock()
        self.threads = threads
        self.counters = SQLiteFailureCounters(None, self.clock.seconds)
        self.accepted = AcceptedPasswords(None, clock=self.clock.seconds)
        self.bcrypt = Bcrypt(threads, self.clock.seconds)
        self.checked: list[tuple[str, str]] = []
        self.account_password = "right"
        self.ejabberd = "answers"
        self.unanswered: list[Deferred[None]] = []
        self.directory = AdminDirectory(ReloadingFile(path, read_admins) if path is not None else None, accounts)
        self.restart()

    def restart(self) -> None:
        """Replace the checker by another process's."""
        self.throttle = Throttle(self.clock, self.counters, self.accepted)
        self.checker = AdminChecker(self.directory, self.throttle, self.bcrypt, self.check_account)

    async def check_account(self, name: str, password: str) -> bool:
        self.checked.append((name, password))
        match self.ejabberd:
            case "is stopped":
                await deferLater(self.clock, 0.01)
                raise Unreachable("connection refused")
            case "never answers":
                self.unanswered.append(Deferred())
                await self.unanswered[-1]
            case "is slow":
                await deferLater(self.clock, 5)
            case "bans":
                raise Banned("ejabberd bans", "policy-violation")
            case "limits":
                raise TooManyFailures(1)
            case "breaks":
                raise ZeroDivisionError
        return password == self.account_password

    def authenticate(self, name: str, password: str, address: str = "127.0.0.1") -> "Deferred[Any]":
        """Begin to authenticate."""
        credentials = AddressedPassword(name.encode(), password.encode(), address)
        result: Deferred[Any] = self.checker.requestAvatarId(credentials)
        return result

    def outcome(self, name: str, password: str, work: int = 1, address: str = "127.0.0.1") -> str:
        """Authenticate; return the name of the admin, or of the error.

        :param work: number of checks by bcrypt.
        """
        authenticating = self.authenticate(name, password, address)
        try:
            if work:
                self.threads.wait_for(work)
            self.clock.advance(REJECTION_TIME)
            return str(now(authenticating).decode())
        except Exception as error:
            return type(error).__name__

    def slow_down(self) -> list["Deferred[Any]"]:
        """Have the address slowed down, with the maximum of attempts in progress. None of them is checked."""
        for number in range(MAX_FAILURES):
            self.outcome("x", f"wrong{number}")
        self.bcrypt._busy = True
        return [self.authenticate("x", f"more{number}") for number in range(MAX_PENDING)]

    def end(self, checks: list["Deferred[Any]"]) -> None:
        """Complete the checks that `slow_down` began."""
        self.bcrypt._busy = False
        self.bcrypt._start_next()
        self.threads.wait_for(MAX_WAITING)
        self.clock.advance(MAX_PENDING * ADMIN_LIMIT.interval)
        for check in checks:
            check.addErrback(lambda failure: failure.trap(TooManyFailures, Overloaded))

    def exhaust_accounts(self) -> None:
        """Use up the failures of account admins that ejabberd may see."""

        async def reject(number: int) -> None:
            async with self.throttle.attempt(Attempt(Kind.ACCOUNT_ADMIN, f"user{number}@example.org", b"x")) as verdict:
                await verdict.rejected()

        for number in range(EJABBERD_ADMINS_LIMIT.max_failures):
            now(reject(number))
