"""The web application answers for ordinary passwords, over HTTP."""

import json
import re
from pathlib import Path
from typing import Any

from treq import collect
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from warmside.config.reloading import FileRefused, ReloadingFile, read_guarded
from warmside.extauth.authorities import Answer, AuthorityUnavailable, ForwardingAuthority

JSON = "application/json"
DEADLINE = 10.0
"""Seconds for a question; ejabberd waits 30."""
CONNECT_TIMEOUT = 5.0
MAX_ANSWER = 64 * 1024
MAX_KEPT = 16
"""Connections that are kept."""
FAILURES_IN_A_ROW = 3
"""After so many the application counts as down, and is not asked for a while."""
PAUSE = 5.0
"""Seconds for which an application that is down is not asked."""
REMIND = 60.0
MAX_SECRET = 4096
SECRET = re.compile(r"[!-~]{8,}")


class _NoAnswer(Exception):
    """The application gave no answer that can be used. The message holds nothing that it sent."""


class WebAppAuthority(ForwardingAuthority):
    """Asks an address with ``{"operation", "user", "host", "password"}``; it answers ``{"result": true|false}``.

    :param url: where to POST to.
    :param secret: is sent as ``Authorization: Bearer``; ``None`` sends none.
    """

    log = Logger()

    def __init__(self, reactor: Any, url: str, secret: ReloadingFile[str] | None) -> None:
        self._reactor = reactor
        self._url = url
        self._secret = secret
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = MAX_KEPT
        self._agent = Agent(reactor, pool=self._pool, connectTimeout=CONNECT_TIMEOUT)
        self._failures = 0
        self._not_before = 0.0
        self._said_at: float | None = None

    def close(self) -> "Deferred[None]":
        """Close the kept connections."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed

    def forward(self, operation: str, user: str, host: str, secret: bytes | None) -> Answer:
        """What the application says; a certificate is sent as the password, and none as an empty one."""
        try:
            password = (secret or b"").decode()
        except UnicodeDecodeError:
            return False  # JSON has no room for it, and nobody's password is like this
        if self._reactor.seconds() < self._not_before:
            raise AuthorityUnavailable
        question = {"operation": operation, "user": user, "host": host, "password": password}
        asked = Deferred.fromCoroutine(self._post(question))
        asked.addTimeout(DEADLINE, self._reactor, lambda *_: self._timed_out())
        return asked.addCallbacks(self._answered, lambda failure: self._failed(failure.value))

    async def _post(self, question: dict[str, str]) -> bool:
        headers = Headers({"Content-Type": [JSON], "Accept": [JSON], "User-Agent": ["warmside"]})
        if self._secret is not None:
            headers.setRawHeaders("Authorization", [f"Bearer {self._secret.content}"])
        # A client for each request: cookies of one answer must not go along with another's question.
        client = HTTPClient(self._agent)
        response = await client.post(
            self._url, data=json.dumps(question).encode(), headers=headers, allow_redirects=False, unbuffered=True
        )
        body = await _read(response)
        if response.code != 200:
            raise _NoAnswer(f"it answered with status {response.code}")
        try:
            result = json.loads(body)["result"]
        except (ValueError, KeyError, TypeError, RecursionError):
            result = None
        if not isinstance(result, bool):
            raise _NoAnswer('it did not answer {"result": true|false}')
        return result

    def _answered(self, result: bool) -> bool:
        if self._said_at is not None:
            self.log.info("extauth.url answers again")
        self._failures, self._said_at = 0, None
        return result

    def _timed_out(self) -> None:
        raise _NoAnswer(f"it did not answer within {DEADLINE:g} seconds")

    def _failed(self, error: BaseException) -> bool:
        now = self._reactor.seconds()
        self._failures += 1
        if self._failures >= FAILURES_IN_A_ROW:
            self._not_before = now + PAUSE
        if self._said_at is None or now - self._said_at >= REMIND:
            self._said_at = now
            reason = str(error) if isinstance(error, _NoAnswer) else type(error).__name__
            self.log.error("extauth.url gives no answer, questions to it are refused: {reason}", reason=reason)
        raise AuthorityUnavailable from None


def read_secret(path: Path) -> str:
    """The secret in a file: its one line.

    :raises FileRefused: it can't be read, others may write to it, or it is no line of printable ASCII.
    """
    text = read_guarded(path, MAX_SECRET).strip()
    if not SECRET.fullmatch(text):
        raise FileRefused("it is not one line of at least 8 printable ASCII characters")
    return text


async def _read(response: IResponse) -> bytes:
    """A response's body; more than the maximum is no answer."""
    parts: list[bytes] = []
    size = 0

    def take(data: bytes) -> None:
        nonlocal size
        size += len(data)
        if size <= MAX_ANSWER:
            parts.append(data)

    await collect(response, take)
    if size > MAX_ANSWER:
        raise _NoAnswer("its answer is far too long")
    return b"".join(parts)
