"""``extauth.url``: an in-memory application for the logic, a real one for connections."""

import json
from pathlib import Path
from typing import Any

import pytest
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from twisted.web.resource import EncodingResourceWrapper, Resource
from twisted.web.server import NOT_DONE_YET, GzipEncoderFactory, Site

from tests.extauth.support import reactor, request, temporary_folder, unavailable, until
from tests.resolving import CONTAINER, knowing_the_container
from tests.support import logging
from warmside.config.reloading import FileRefused, ReloadingFile
from warmside.extauth.authorities import AuthorityUnavailable
from warmside.extauth.request import ExtauthRequest
from warmside.extauth.webapp import MAX_FAILURES, PAUSE_INTERVAL, RESPONSE_TIMEOUT, WebAppAuthority, read_secret


class Application(Resource):
    """Accepts the password ``right``. A test may set status and body, or make it hang."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[dict[str, str]] = []
        self.headers: list[Any] = []
        self.status = 200
        self.body: bytes | None = None
        self.hangs = False

    def render_POST(self, request: Any) -> Any:
        """Respond to a request."""
        fields = json.loads(request.content.read())
        self.requests.append(fields)
        self.headers.append(request.requestHeaders)
        request.setResponseCode(self.status)
        request.setHeader("Set-Cookie", "user=" + fields["user"])
        if self.status == 302:
            request.setHeader("Location", "/elsewhere")
        if self.hangs:
            return NOT_DONE_YET
        result = fields["password"] == "right" or fields["operation"] in ("isuser", "removeuser")
        return self.body if self.body is not None else json.dumps({"result": result}).encode()


class ResponseTest(TestCase):
    """An application in memory. Each test method is a coroutine."""

    timeout = 30

    def setUp(self) -> None:
        self.application = Application()
        self.agent = RequestTraversalAgent(self.application)
        self.clock = Clock()
        self.authority = self.make()

    def make(self, secret: ReloadingFile[str] | None = None) -> WebAppAuthority:
        """Return an authority that sends requests to the application."""
        return WebAppAuthority(self.clock, "http://app.example/extauth", secret, self.agent)

    async def result(self, request: ExtauthRequest, authority: WebAppAuthority | None = None) -> bool | None:
        """Return the result, or ``None`` if the application is unavailable."""
        results: list[Any] = []
        answer = later((authority or self.authority).answer(request))
        answer.addErrback(lambda failure: failure.trap(AuthorityUnavailable) and None)
        answer.addCallback(results.append)
        await until(lambda: self.agent.flush() or results)
        return results[0]  # type: ignore[no-any-return]

    async def test_every_operation_is_sent_with_its_fields(self) -> None:
        requests = [
            request("auth", "pässwörd:x".encode()),
            request("auth", b"right"),
            request("isuser"),
            request("setpass", b"right"),
            request("tryregister", b"right"),
            request("removeuser"),
            request("removeuser3", b"wrong"),
            request("certauth", b"right"),
        ]
        results = [await self.result(each) for each in requests]
        self.assertEqual(results, [False, True, True, True, True, True, False, True])
        first = {"operation": "auth", "user": "juliet", "host": "example.org", "password": "pässwörd:x"}
        self.assertEqual(self.application.requests[0], first)
        sent = [each["operation"] for each in self.application.requests]
        self.assertEqual(sent, [each.operation for each in requests])
        self.assertEqual(self.application.requests[2]["password"], "")
        self.assertIsNone(self.application.headers[0].getRawHeaders("Authorization"))

    async def test_a_cookie_is_not_sent_with_the_next_request(self) -> None:
        for user in ("juliet", "romeo"):
            self.assertIs(await self.result(request("isuser", user=user)), True)
        self.assertIsNone(self.application.headers[1].getRawHeaders("Cookie"))

    async def test_the_secret_is_sent_and_reloaded_when_it_changes(self) -> None:
        path = temporary_folder(self) / "secret"
        path.write_text("first-secret\n")
        path.chmod(0o600)
        authority = self.make(ReloadingFile(path, read_secret))
        await self.result(request("isuser"), authority)
        path.write_text("second-secret\n")
        await self.result(request("isuser"), authority)
        path.write_text("x")
        with logging() as logged:
            await self.result(request("isuser"), authority)
        sent = [headers.getRawHeaders("Authorization")[0] for headers in self.application.headers]
        self.assertEqual(sent, ["Bearer first-secret", "Bearer second-secret", "Bearer second-secret"])
        self.assertTrue(any(str(path) in line for line in logged))
        self.assertFalse(any("second-secret" in line for line in logged))

    async def test_an_invalid_response_is_a_failure(self) -> None:
        for status, body in (
            (500, None), (302, None), (401, None), (200, b""), (200, b"[]"), (200, b'{"result": 1}'),
            (200, b'{"result": "true"}'), (200, b'{"result": true' + b" " * 70_000 + b"}"), (200, b"[" * 60_000),
        ):  # fmt: skip
            self.application.status, self.application.body = status, body
            with logging() as logged:
                self.assertIsNone(await self.result(request("auth", b"right"), self.make()))
            self.assertEqual(len([line for line in logged if "extauth.url failed" in line]), 1)
            self.assertFalse(any("right" in line.partition("{'")[0] for line in logged))
        self.assertEqual(len(self.application.requests), 9)

    async def test_no_request_is_sent_for_a_while_to_an_application_that_is_down(self) -> None:
        self.application.status = 503
        with logging() as logged:
            for _ in range(MAX_FAILURES):
                self.assertIsNone(await self.result(request("isuser")))
            for _ in range(20):
                self.assertRaises(AuthorityUnavailable, self.authority.answer, request("isuser"))
            self.assertEqual(len(self.application.requests), MAX_FAILURES)
            self.clock.advance(PAUSE_INTERVAL)
            self.application.status = 200
            self.assertIs(await self.result(request("isuser")), True)
        lines = [line for line in logged if "extauth.url" in line]
        self.assertEqual(len(lines), 2)
        self.assertIn("responds again", lines[1])

    def test_a_password_that_is_not_utf_8_is_rejected(self) -> None:
        self.assertIs(self.authority.answer(request("auth", b"\xff")), False)
        self.assertEqual(self.application.requests, [])

    async def test_a_response_that_takes_too_long_is_a_failure(self) -> None:
        self.application.hangs = True
        answer = self.authority.answer(request("auth", b"right"))
        await until(lambda: self.agent.flush() or self.application.requests)
        self.clock.advance(RESPONSE_TIMEOUT)
        self.assertTrue(await unavailable(lambda: answer))


class ConnectionTest(TestCase):
    """Real connections. Each test method is a coroutine."""

    timeout = 30

    def setUp(self) -> None:
        self.application = Application()
        self.site = CountingSite(self.application)
        self.port = reactor.listenTCP(0, self.site, backlog=200, interface="127.0.0.1")
        self.addCleanup(lambda: self.port.stopListening())
        self.authority = WebAppAuthority(reactor, f"http://127.0.0.1:{self.port.getHost().port}/extauth", None)
        self.addCleanup(self.authority.close)

    async def test_the_connection_is_kept(self) -> None:
        for _ in range(3):
            await later(self.authority.answer(request("isuser")))
        self.assertEqual(self.site.connections, 1)

    async def test_a_compressed_response_is_decoded(self) -> None:
        self.site.resource = EncodingResourceWrapper(self.application, [GzipEncoderFactory()])
        for password, accepted in ((b"right", True), (b"wrong", False)):
            self.assertIs(await later(self.authority.answer(request("auth", password))), accepted)

    async def test_an_ipv6_address_and_the_name_of_a_container_are_connected_to(self) -> None:
        six = reactor.listenTCP(0, self.site, interface="::1")
        self.addCleanup(six.stopListening)
        for host, port in (("[::1]", six), (CONTAINER, self.port)):
            authority = WebAppAuthority(reactor, f"http://{host}:{port.getHost().port}/extauth", None)
            self.addCleanup(authority.close)
            with knowing_the_container():
                self.assertIs(await later(authority.answer(request("auth", b"right"))), True)
                self.assertIs(await later(authority.answer(request("auth", b"wrong"))), False)
            sent = self.application.headers[-1].getRawHeaders("Host")
            self.assertEqual(sent, [f"{host}:{port.getHost().port}"])

    async def test_each_of_many_concurrent_requests_gets_its_own_response(self) -> None:
        expected = [number % 3 == 0 for number in range(100)]
        answers = [
            later(self.authority.answer(request("auth", b"right" if valid else b"x", f"u{number}")))
            for number, valid in enumerate(expected)
        ]
        self.assertEqual(await gatherResults(answers), expected)

    async def test_a_refused_connection_is_a_failure(self) -> None:
        await self.port.stopListening()
        self.assertTrue(await unavailable(lambda: self.authority.answer(request("auth", b"right"))))


class CountingSite(Site):
    """Counts connections."""

    connections = 0

    def buildProtocol(self, addr: Any) -> Any:
        """Count a connection."""
        self.connections += 1
        return super().buildProtocol(addr)


def later(answer: Any) -> "Deferred[bool]":
    assert isinstance(answer, Deferred)
    return answer


@pytest.mark.parametrize(
    ("content", "mode"), [("first-secret\n", 0o622), ("short\n", 0o600), ("two words here\n", 0o600)]
)
def test_an_invalid_secret_or_one_that_others_can_write_is_refused(tmp_path: Path, content: str, mode: int) -> None:
    path = tmp_path / "secret"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(FileRefused) as refused:
        read_secret(path)
    assert content.strip() not in str(refused.value)
