"""Follow the known users in Redis: read what other machines have changed, and push what only this one knows."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from warmside.store.interface import StoreError
from warmside.store.redisclient import RedisClient, RedisUnavailable, Script
from warmside.store.userscripts import MERGE, READ, REMEMBER
from warmside.store.usersfile import Progress, Reply, Row, SharedUsersFile

POLL_INTERVAL = 0.5
"""Seconds between two readings if no message comes."""
PAGE = 500
"""Rows in one step, so that the reactor is held for some milliseconds only."""


class RedisUsers:
    """The known users in Redis.

    :param client: the connection.
    :param file: this machine's file.
    """

    def __init__(self, client: RedisClient, file: SharedUsersFile) -> None:
        self.channel = client.channel("users")
        self._client = client
        self._keys = (client.key("users"), client.key("users-state"))
        self._file = file

    async def change(self, script: Script, jids: Sequence[str]) -> int:
        """Announce or remove users, and write them to the file. Return the first part of the script's reply.

        :raises StoreError: Redis or the file failed.
        """
        count, scores = await self._run(script, self._file.progress(), *jids)
        self._file.apply(zip(jids, _numbers(scores), strict=True))
        return int(count)

    async def read(self, progress: Progress) -> Reply:
        """Read the changes after the cursor.

        :raises StoreError: Redis failed.
        """
        again = "" if progress.again is None else progress.again
        known = (progress.epoch, progress.seen, progress.token, progress.cursor, again, PAGE)
        epoch, seen, token, events, page, rest = await self._run(READ, progress, *known)
        start = (epoch.decode(), int(seen), token.decode())
        if events == b"gone":
            return Reply(*start, int(page), [], [], [])
        entries = [entry.split(":") for entry in events.decode().splitlines()]
        since = [(kind, int(version), token) for kind, version, token in entries]
        return Reply(*start, None, since, _rows(page), _rows(rest))

    async def remember(self, rows: Sequence[Row]) -> None:
        """Announce users that became known here, each with the version that was known before.

        :raises StoreError: Redis or the file failed.
        """
        if rows:
            words = [word for row in rows for word in row]
            _, scores = await self._run(REMEMBER, self._file.progress(), *words)
            self._file.apply(zip((jid for jid, _ in rows), _numbers(scores), strict=True))

    async def merge(self, progress: Progress, rows: Sequence[Row]) -> None:
        """Write rows of the file to Redis, as far as it lacks them.

        :raises StoreError: Redis failed.
        """
        if rows:
            await self._run(MERGE, progress, *(word for row in rows for word in row))

    async def _run(self, script: Script, progress: Progress, *arguments: str | int) -> Any:
        token = f"{self._file.node}{secrets.token_hex(8)}"
        words = (self.channel, token, progress.highest // 2, *arguments)
        return await self._client.run(script, self._keys, words)


class UsersFollower:
    """Keeps a machine's file and Redis in step.

    It looks for changes at each message, at each connection to Redis, and after `POLL_INTERVAL`. Several processes of
    a machine may do the same: one of them makes each step, and the others wait for the next time.

    :param reactor: the reactor.
    :param users: the known users in Redis.
    :param file: this machine's file.
    """

    log = Logger()

    def __init__(self, reactor: Any, users: RedisUsers, file: SharedUsersFile) -> None:
        self._users = users
        self._file = file
        self._polling = LoopingCall(self.wake)
        self._polling.clock = reactor
        self._running = False
        self._woken = False
        self._closed = False
        self._failure = ""

    def start(self, client: RedisClient) -> None:
        """Follow until `close`."""
        client.on_connected.append(self.wake)
        client.listen(self._users.channel, lambda message: self.wake())
        self._polling.start(POLL_INTERVAL, now=False)

    def wake(self) -> None:
        """Look for changes now, or after the step in progress."""
        self._woken = True
        if not self._running and not self._closed:
            self._running = True
            Deferred.fromCoroutine(self._run()).addErrback(
                lambda failure: self.log.failure("the exchange of known users failed", failure)
            )

    def close(self) -> None:
        """Stop. A step in progress changes nothing more in the file."""
        self._closed = True
        if self._polling.running:
            self._polling.stop()

    async def _run(self) -> None:
        more = False
        try:
            while (more or self._woken) and not self._closed:
                self._woken = False
                more = await self._step()
            self._failure = ""
        except RedisUnavailable:
            pass  # the client logs it, and wakes this once it is connected
        except StoreError as error:
            if not self._closed and str(error) != self._failure:
                self.log.error("known users are not exchanged with other machines: {reason}", reason=str(error))
                self._failure = str(error)
        finally:
            self._running = False

    async def _step(self) -> bool:
        """Read a page, and push pending users and a portion of the file. Return True if there is more to do now."""
        before = self._file.progress()
        reply = await self._users.read(before)
        read = before.after(reply, self._file.node)
        if self._closed or not self._file.advance(before, read, [*reply.page, *reply.again]):
            return False
        pending = self._file.pending(PAGE)
        await self._users.remember(pending)
        pushed = await self._push(read)
        if self._closed or not self._file.advance(read, pushed):
            return False
        return bool(reply.events or pending or len(reply.page) == PAGE or pushed.unfinished)

    async def _push(self, progress: Progress) -> Progress:
        """Push the next portion of the file; return the progress after it."""
        if progress.push is None:
            return progress
        portion = self._file.portion(progress.push, PAGE)
        rows = [(jid, score) for jid, score, pending in portion if not pending and score > max(progress.low, 0)]
        await self._users.merge(progress, rows)
        if progress.low < 0:
            await self._users.remember([(jid, 0) for jid, score, pending in portion if not (score or pending)])
        return replace(progress, push=portion[-1][0] if len(portion) == PAGE else None)


def _numbers(lines: bytes) -> list[int]:
    return [int(line) for line in lines.split(b"\n") if line]


def _rows(lines: bytes) -> list[Row]:
    words = lines.decode().split("\n") if lines else []
    return list(zip(words[::2], map(int, words[1::2]), strict=True))
