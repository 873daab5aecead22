"""The web application answers, over real HTTP."""

import json
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.extauth.test_program import temporary_folder
from tests.support import logging
from warmside.config.reloading import FileRefused, ReloadingFile
from warmside.extauth import webapp
from warmside.extauth.authorities import AuthorityUnavailable
from warmside.extauth.webapp import WebAppAuthority, read_secret

reactor: Any = installed_reactor
HOST = "example.org"


class Application(Resource):
    """Says yes to the password ``right``; ``reply`` exchanges what it answers."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, str]] = []
        self.headers: list[Any] = []
        self.status = 200
        self.reply: bytes | None = None
        self.silent = False

    def render_POST(self, request: Any) -> Any:
        """Answer a question."""
        question = json.loads(request.content.read())
        self.seen.append(question)
        self.headers.append(request.requestHeaders)
        request.setResponseCode(self.status)
        request.setHeader("Set-Cookie", "user=" + question["user"])
        if self.status == 302:
            request.setHeader("Location", "/elsewhere")
        if self.silent:
            return NOT_DONE_YET
        result = question["password"] == "right" or question["operation"] in ("isuser", "removeuser")
        return self.reply if self.reply is not None else json.dumps({"result": result}).encode()


class Counting(Site):
    """Counts connections."""

    made = 0

    def buildProtocol(self, addr: Any) -> Any:
        """One more."""
        self.made += 1
        return super().buildProtocol(addr)


def later(answer: Any) -> "Deferred[bool]":
    assert isinstance(answer, Deferred)
    return answer


class Applications(TestCase):
    """Each test method is a coroutine."""

    timeout = 60

    def setUp(self) -> None:
        self.application = Application()
        self.site = Counting(self.application)
        self.port = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        self.addCleanup(lambda: self.port.stopListening())
        self.authority = self.make()

    def make(self, secret: Any = None) -> WebAppAuthority:
        """The authority over the application."""
        made = WebAppAuthority(reactor, f"http://127.0.0.1:{self.port.getHost().port}/extauth", secret)
        self.addCleanup(made.close)
        return made

    async def refused(self, ask: Any) -> bool:
        """Whether there is no answer."""
        try:
            await later(ask())
        except AuthorityUnavailable:
            return True
        return False

    async def test_every_operation_is_asked_with_its_fields(self) -> None:
        ask = self.authority
        answers = [
            await later(ask.auth("juliet", HOST, "pässwörd:x".encode())),
            await later(ask.auth("juliet", HOST, b"right")),
            await later(ask.isuser("juliet", HOST)),
            await later(ask.setpass("juliet", HOST, b"right")),
            await later(ask.tryregister("juliet", HOST, b"right")),
            await later(ask.removeuser("juliet", HOST)),
            await later(ask.removeuser3("juliet", HOST, b"wrong")),
            await later(ask.certauth("juliet", HOST, b"right")),
        ]
        self.assertEqual(answers, [False, True, True, True, True, True, False, True])
        first = {"operation": "auth", "user": "juliet", "host": HOST, "password": "pässwörd:x"}
        self.assertEqual(self.application.seen[0], first)
        operations = "auth auth isuser setpass tryregister removeuser removeuser3 certauth"
        self.assertEqual([each["operation"] for each in self.application.seen], operations.split())
        self.assertEqual(self.site.made, 1)
        self.assertIsNone(self.application.headers[0].getRawHeaders("Authorization"))

    async def test_a_cookie_of_one_answer_goes_along_with_no_other_question(self) -> None:
        for user in ("juliet", "romeo"):
            await later(self.authority.isuser(user, HOST))
        self.assertIsNone(self.application.headers[1].getRawHeaders("Cookie"))

    async def test_the_secret_is_sent_and_read_again_when_it_changes(self) -> None:
        path = temporary_folder(self) / "secret"
        path.write_text("first-secret\n")
        path.chmod(0o600)
        authority = self.make(ReloadingFile(path, read_secret))
        await later(authority.isuser("juliet", HOST))
        path.write_text("second-secret\n")
        await later(authority.isuser("juliet", HOST))
        path.write_text("x")
        with logging() as logged:
            await later(authority.isuser("juliet", HOST))
        sent = [headers.getRawHeaders("Authorization")[0] for headers in self.application.headers]
        self.assertEqual(sent, ["Bearer first-secret", "Bearer second-secret", "Bearer second-secret"])
        self.assertTrue(any("previous content is still used" in line for line in logged))
        self.assertFalse(any("second-secret" in line for line in logged))

    def test_a_secret_that_others_can_write_or_that_is_none_is_refused(self) -> None:
        path = temporary_folder(self) / "secret"
        for content, mode in (("first-secret\n", 0o622), ("short\n", 0o600), ("two words here\n", 0o600)):
            path.write_text(content)
            path.chmod(mode)
            refused = self.assertRaises(FileRefused, read_secret, path)
            self.assertNotIn(content.strip(), str(refused))

    async def test_whatever_is_no_answer_means_no(self) -> None:
        for status, reply in (
            (500, None), (302, None), (401, None), (200, b""), (200, b"[]"), (200, b'{"result": 1}'),
            (200, b'{"result": "true"}'), (200, b'{"result": true' + b" " * 70_000 + b"}"), (200, b"[" * 60_000),
        ):  # fmt: skip
            self.application.status, self.application.reply = status, reply
            authority = self.make()
            with logging() as logged:
                self.assertTrue(await self.refused(lambda asked=authority: asked.auth("juliet", HOST, b"right")))
            self.assertEqual(len([line for line in logged if "extauth.url gives no answer" in line]), 1)
            self.assertFalse(any("right" in line.partition("{'")[0] for line in logged))

    async def test_an_application_that_is_down_is_not_asked_for_a_while(self) -> None:
        self.patch(webapp, "PAUSE", 0.4)
        self.application.status = 503
        with logging() as logged:
            for _ in range(webapp.FAILURES_IN_A_ROW):
                self.assertTrue(await self.refused(lambda: self.authority.isuser("juliet", HOST)))
            seen = len(self.application.seen)
            for _ in range(20):
                self.assertRaises(AuthorityUnavailable, self.authority.isuser, "juliet", HOST)
            self.assertEqual(len(self.application.seen), seen)
            await deferLater(reactor, 0.5)
            self.application.status = 200
            self.assertTrue(await later(self.authority.isuser("juliet", HOST)))
        said = [line for line in logged if "extauth.url" in line]
        self.assertEqual(len(said), 2)
        self.assertIn("answers again", said[1])

    async def test_an_application_that_does_not_answer_in_time_is_not_waited_for(self) -> None:
        self.patch(webapp, "DEADLINE", 0.3)
        self.application.silent = True
        self.assertTrue(await self.refused(lambda: self.authority.auth("juliet", HOST, b"right")))

    async def test_an_application_that_is_not_there_is_down(self) -> None:
        await self.port.stopListening()
        self.assertTrue(await self.refused(lambda: self.authority.auth("juliet", HOST, b"right")))

    async def test_many_at_once_get_each_their_own_answer(self) -> None:
        expected = [number % 3 == 0 for number in range(200)]
        answers = [
            later(self.authority.auth(f"u{n}", HOST, b"right" if yes else b"x")) for n, yes in enumerate(expected)
        ]
        self.assertEqual(await gatherResults(answers), expected)

    def test_a_password_that_is_not_text_is_wrong(self) -> None:
        self.assertIs(self.authority.auth("juliet", HOST, b"\xff"), False)
