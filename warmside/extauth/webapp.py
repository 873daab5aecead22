"""``extauth.url``: a web application that answers for ordinary passwords over HTTP."""

import json
import re
from pathlib import Path
from typing import Any

from treq import collect
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse

from warmside.compat.hostnames import EndpointFactory, PreparedURL
from warmside.config.reloading import FileRefused, ReloadingFile, read_guarded
from warmside.extauth.authorities import Answer, AuthorityUnavailable
from warmside.extauth.request import ExtauthRequest
from warmside.tls import connection_fault, first_error, tls_fault, trust_policy

JSON = "application/json"
RESPONSE_TIMEOUT = 10.0
"""Seconds for a request; ejabberd waits 30 seconds."""
MAX_RESPONSE = 64 * 1024
"""Bytes of a response body."""
MAX_IDLE_CONNECTIONS = 16
MAX_FAILURES = 3
"""Consecutive failures after which no request is sent for `PAUSE_INTERVAL`."""
PAUSE_INTERVAL = 5.0
"""Seconds."""
REMIND_INTERVAL = 60.0
"""Seconds between log messages about an outage."""
MAX_SECRET = 4096
"""Bytes of the secret file."""
SECRET = re.compile(r"[!-~]{8,}")


class _InvalidResponse(Exception):
    """The application sent no usable response. The message holds nothing that it sent."""


class WebAppAuthority:
    """Sends ``{"operation", "user", "host", "password"}`` to a URL and reads ``{"result": true|false}``.

    :param url: receives the POST requests.
    :param secret: sent as ``Authorization: Bearer``; ``None`` sends none.
    :param agent: sends the requests; by default one with persistent connections.
    :param ca_file: PEM file of the certificate authority for https; ``None`` means the system's.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        url: str,
        secret: ReloadingFile[str] | None,
        agent: "IAgent | None" = None,
        ca_file: Path | None = None,
    ) -> None:
        self._reactor = reactor
        self._url = PreparedURL(url)
        self._secret = secret
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = MAX_IDLE_CONNECTIONS
        endpoints = EndpointFactory(reactor, trust_policy(ca_file))
        self._agent = agent or Agent.usingEndpointFactory(reactor, endpoints, pool=self._pool)
        self._failures = 0
        self._paused_until = 0.0
        self._logged_at: float | None = None

    def answer(self, request: ExtauthRequest) -> Answer:
        """Return the application's result.

        A certificate is sent as the password. Operations without a secret send an empty password.

        :raises AuthorityUnavailable: the application is down and no request is sent for a while.
        """
        try:
            password = request.secret.decode()
        except UnicodeDecodeError:
            return False  # can't be sent as JSON, and a web application's passwords are text
        if self._reactor.seconds() < self._paused_until:
            raise AuthorityUnavailable
        fields = {"operation": request.operation, "user": request.user, "host": request.host, "password": password}
        result = Deferred.fromCoroutine(self._post(fields))
        result.addTimeout(RESPONSE_TIMEOUT, self._reactor, lambda *_: self._time_out())
        return result.addCallbacks(self._succeeded, self._failed)

    async def fault(self, request: ExtauthRequest) -> str | None:
        """Return the reason for which the application does not answer a request; ``None`` if it answers."""
        fields = {"operation": request.operation, "user": request.user, "host": request.host, "password": ""}
        try:
            await Deferred.fromCoroutine(self._post(fields)).addTimeout(
                RESPONSE_TIMEOUT, self._reactor, lambda *_: self._time_out()
            )
        except Exception as error:  # the HTTP client raises many types
            failed = first_error(Failure(error))
            return str(failed) if isinstance(failed, _InvalidResponse) else _fault(failed)
        return None

    def close(self) -> "Deferred[None]":
        """Close the persistent connections."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed

    async def _post(self, fields: dict[str, str]) -> bool:
        headers = Headers({"Content-Type": [JSON], "Accept": [JSON], "User-Agent": ["warmside"]})
        if self._secret is not None:
            headers.setRawHeaders("Authorization", [f"Bearer {self._secret.content}"])
        # A new client for each request: a cookie must not reach another user's request.
        client = HTTPClient(self._agent)
        response = await client.post(
            self._url, data=json.dumps(fields).encode(), headers=headers, allow_redirects=False, unbuffered=True
        )
        body = await _read(response)
        if response.code != 200:
            raise _InvalidResponse(f"the response has status {response.code}, expected 200")
        try:
            result = json.loads(body)["result"]
        except (ValueError, KeyError, TypeError, RecursionError):
            result = None
        if not isinstance(result, bool):
            raise _InvalidResponse('the response is not {"result": true|false}')
        return result

    def _succeeded(self, result: bool) -> bool:
        if self._logged_at is not None:
            self.log.info("extauth.url responds again")
        self._failures, self._logged_at = 0, None
        return result

    def _time_out(self) -> None:
        raise _InvalidResponse(f"no response within {RESPONSE_TIMEOUT:g} seconds")

    def _failed(self, failure: Failure) -> bool:
        now = self._reactor.seconds()
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            self._paused_until = now + PAUSE_INTERVAL
        if self._logged_at is None or now - self._logged_at >= REMIND_INTERVAL:
            self._logged_at = now
            error = first_error(failure)
            reason = str(error) if isinstance(error, _InvalidResponse) else _fault(error)
            self.log.error("extauth.url failed, rejecting requests for ordinary passwords: {reason}", reason=reason)
        raise AuthorityUnavailable from None


def _fault(error: object) -> str:
    return tls_fault(error, "extauth.url", "extauth.ca_file") or connection_fault(error)


def read_secret(path: Path) -> str:
    """Return the secret in a file: its only line.

    :raises FileRefused: the file can't be read, others can write to it, or it is not a secret.
    """
    text = read_guarded(path, MAX_SECRET).strip()
    if not SECRET.fullmatch(text):
        raise FileRefused("expected one line of at least 8 printable ASCII characters without a space")
    return text


async def _read(response: IResponse) -> bytes:
    """Return a response's body.

    :raises _InvalidResponse: it is longer than `MAX_RESPONSE`.
    """
    parts: list[bytes] = []
    size = 0

    def take(data: bytes) -> None:
        nonlocal size
        size += len(data)
        if size <= MAX_RESPONSE:
            parts.append(data)

    await collect(response, take)
    if size > MAX_RESPONSE:
        raise _InvalidResponse(f"the response is longer than {MAX_RESPONSE} bytes")
    return b"".join(parts)
