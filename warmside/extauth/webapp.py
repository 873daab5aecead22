"""``extauth.url``: a web application that answers for ordinary passwords over HTTP."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent

from warmside.compat.hostnames import PreparedURL
from warmside.config.reloading import FileRefused, ReloadingFile, read_guarded
from warmside.extauth.authorities import NO_RESPONSE, Answer, AuthorityUnavailable
from warmside.extauth.request import ExtauthRequest
from warmside.httpclient.agent import Address, NoCookies, PreparedAgent, WholeBody
from warmside.httpclient.response import ResponseTooLong, read_body
from warmside.tls import connection_fault, first_error, tls_fault

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


UNREACHABLE, INVALID_RESPONSE = "unreachable", "invalid-response"
"""States of the application in ``/ready``."""


class _InvalidResponse(Exception):
    """The application sent no usable response. The message holds nothing that it sent."""

    state = INVALID_RESPONSE


class _NoResponse(_InvalidResponse):
    """The application did not respond in time."""

    state = NO_RESPONSE


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
        self._agent = agent or PreparedAgent(reactor, Address(self._url, ca_file), MAX_RESPONSE, MAX_IDLE_CONNECTIONS)
        no_cookies: Any = NoCookies()
        self._client = HTTPClient(self._agent, cookiejar=no_cookies, data_to_body_producer=WholeBody)
        self._failures = 0
        self._paused_until = 0.0
        self._state = UNREACHABLE
        self._logged_at: float | None = None

    def answer(self, request: ExtauthRequest) -> Answer:
        """Return the application's result.

        A certificate is sent as the password. Operations without a secret send an empty password.

        :raises AuthorityUnavailable: the application is down and no request is sent for a while.
        """
        if self._reactor.seconds() < self._paused_until:
            raise AuthorityUnavailable(self._state)
        return self._send(request, self._failed)

    def check(self, request: ExtauthRequest) -> Answer:
        """Return the application's result, also while `answer` sends no request. A success ends that time.

        :raises AuthorityUnavailable: the application failed. This is not counted.
        """
        return self._send(request, self._unavailable)

    def _send(self, request: ExtauthRequest, failed: Callable[[Failure], bool]) -> Answer:
        try:
            password = request.secret.decode()
        except UnicodeDecodeError:
            return False  # can't be sent as JSON, and a web application's passwords are text
        fields = {"operation": request.operation, "user": request.user, "host": request.host, "password": password}
        result = Deferred.fromCoroutine(self._post(fields))
        result.addTimeout(RESPONSE_TIMEOUT, self._reactor, lambda *_: self._time_out())
        return result.addCallbacks(self._succeeded, failed)

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
        return self._agent.close() if isinstance(self._agent, PreparedAgent) else succeed(None)

    async def _post(self, fields: dict[str, str]) -> bool:
        headers = Headers({"Content-Type": [JSON], "Accept": [JSON], "User-Agent": ["warmside"]})
        if self._secret is not None:
            headers.setRawHeaders("Authorization", [f"Bearer {self._secret.content}"])
        response = await self._client.post(
            self._url, data=json.dumps(fields).encode(), headers=headers, allow_redirects=False, unbuffered=True
        )
        body = read_body(response, MAX_RESPONSE)
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
        self._failures, self._paused_until, self._logged_at = 0, 0.0, None
        return result

    def _time_out(self) -> None:
        raise _NoResponse(f"no response within {RESPONSE_TIMEOUT:g} seconds")

    def _failed(self, failure: Failure) -> bool:
        now = self._reactor.seconds()
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            self._paused_until = now + PAUSE_INTERVAL
        return self._unavailable(failure)

    def _unavailable(self, failure: Failure) -> bool:
        """Log why the application failed.

        :raises AuthorityUnavailable: always.
        """
        now, error = self._reactor.seconds(), first_error(failure)
        self._state = error.state if isinstance(error, _InvalidResponse) else UNREACHABLE
        if self._logged_at is None or now - self._logged_at >= REMIND_INTERVAL:
            self._logged_at = now
            reason = str(error) if isinstance(error, _InvalidResponse) else _fault(error)
            self.log.error("extauth.url failed, rejecting requests for ordinary passwords: {reason}", reason=reason)
        raise AuthorityUnavailable(self._state) from None


def _fault(error: object) -> str:
    if isinstance(error, ResponseTooLong):
        return f"the response is longer than {MAX_RESPONSE} bytes"
    return tls_fault(error, "extauth.url", "extauth.ca_file") or connection_fault(error)


def read_secret(path: Path) -> str:
    """Return the secret in a file: its only line.

    :raises FileRefused: the file can't be read, others can write to it, or it is not a secret.
    """
    text = read_guarded(path, MAX_SECRET).strip()
    if not SECRET.fullmatch(text):
        raise FileRefused("expected one line of at least 8 printable ASCII characters without a space")
    return text
