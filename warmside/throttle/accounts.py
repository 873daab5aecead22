"""Bounds how many wrong passwords reach ejabberd: per JID, and in all.

mod_fail2ban bans an address after twenty failures in a row, and all of warmside's logins come from
one address. So whoever guesses is stopped here before ejabberd would stop everybody. A failure is
counted before the attempt is made, so that attempts at the same time can't pass together.
"""

from warmside.store.interface import UNLIMITED, FailureCounters
from warmside.throttle.verified import VerifiedPasswords

MAX_PER_JID, WINDOW_PER_JID = 5, 900.0
"""Failures of one JID, and the seconds without a failure after which they are forgotten."""
MAX_IN_ALL, WINDOW_IN_ALL = 12, 3600.0
"""Failures since ejabberd last accepted a login, as mod_fail2ban counts them: it bans at 20, for an hour."""
IN_ALL = "ejabberd"


class TooManyFailures(Exception):
    """Too many passwords were wrong. ``retry_after`` is in seconds."""

    def __init__(self, retry_after: float) -> None:
        self.retry_after = max(1, int(retry_after + 0.999))
        super().__init__("too many wrong passwords: try again later")


class AccountThrottle:
    """What every password that somebody sent has to pass on its way to ejabberd.

    :param counts: shared by all processes.
    :param right: knows what was right before.
    """

    def __init__(self, counts: FailureCounters, right: VerifiedPasswords) -> None:
        self._counts = counts
        self._right = right

    async def enter(self, bare: str, password: str, address: str | None) -> None:
        """Count an attempt as failed beforehand. A password that was right the last time passes always.

        :param bare: the prepared bare JID.
        :param address: what ejabberd may count the attempt for instead of warmside's own address.
        :raises TooManyFailures: it must not reach ejabberd.
        """
        parts = (bare.encode(), password.encode())
        refused_by = await self._count(bare, address, unlimited=self._right.here(*parts))
        if refused_by is not None:
            if not await self._right.anywhere(*parts):
                raise TooManyFailures((await self._counts.count(refused_by))[1])
            await self._count(bare, address, unlimited=True)

    async def look(self, bare: str) -> None:
        """Count an attempt at a JID that needs no ejabberd to be wrong, so that it looks like one that does.

        :raises TooManyFailures: as `enter` would.
        """
        count, rest = await self._counts.count(IN_ALL)
        if count >= MAX_IN_ALL:
            raise TooManyFailures(rest)
        key = f"look {bare}"
        if not await self._counts.add(key, MAX_PER_JID, WINDOW_PER_JID):
            raise TooManyFailures((await self._counts.count(key))[1])

    async def accepted(self, bare: str, password: str | None, address: str | None) -> None:
        """ejabberd has accepted a login; ``password`` is ``None`` for a one-time password."""
        if password is not None:
            await self._right.remember(bare.encode(), password.encode())
            await self._counts.take_back(_limits(bare, None)[0][0])
        await self._counts.forget(*(key for key, _, _ in _limits(bare, address)[1:]))

    async def refused(self, bare: str, password: str | None, address: str | None) -> None:
        """ejabberd has refused a login. One with a password was counted when it entered."""
        if password is not None:
            await self._right.forget(bare.encode(), password.encode())
            return
        for key, _, window in _limits(bare, address)[1:]:
            await self._counts.add(key, UNLIMITED, window)

    async def never_asked(self, bare: str, address: str | None) -> None:
        """The password never reached ejabberd."""
        for key, _, _ in _limits(bare, address):
            await self._counts.take_back(key)

    async def _count(self, bare: str, address: str | None, *, unlimited: bool) -> str | None:
        """Count a failure beforehand; returns the key that has too many already, and then counts nothing."""
        counted: list[str] = []
        for key, most, window in _limits(bare, address):
            if not await self._counts.add(key, UNLIMITED if unlimited else most, window):
                for each in counted:
                    await self._counts.take_back(each)
                return key
            counted.append(key)
        return None


def _limits(bare: str, address: str | None) -> list[tuple[str, int, float]]:
    """The keys that an attempt counts for, the most of each, and its window.

    ejabberd counts for the address that is passed on, if it believes warmside, and else everything for
    warmside's own: both are kept below the limit.
    """
    return [
        (f"jid {bare}", MAX_PER_JID, WINDOW_PER_JID),
        (IN_ALL, MAX_IN_ALL, WINDOW_IN_ALL),
        (f"{IN_ALL} {address or 'own'}", MAX_IN_ALL, WINDOW_IN_ALL),
    ]
