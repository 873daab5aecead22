"""The extauth program of before, in real processes: no answer is ever taken for another's."""

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.extauth import programs
from tests.support import logging
from warmside.extauth import program
from warmside.extauth.authorities import AuthorityUnavailable
from warmside.extauth.program import ProgramAuthority
from warmside.extauth.stale import StaleIsUserCache

reactor: Any = installed_reactor
HOST = "example.org"


def temporary_folder(test: TestCase) -> Path:
    """A folder that is gone after the test; trial's own would be in the checkout."""
    folder = tempfile.mkdtemp()
    test.addCleanup(shutil.rmtree, folder)
    return Path(folder)


def later(answer: Any) -> "Deferred[bool]":
    assert isinstance(answer, Deferred)
    return answer


class Programs(TestCase):
    """Each test method is a coroutine."""

    timeout = 60

    def setUp(self) -> None:
        self.notes = temporary_folder(self) / "notes"
        self.patch(program, "MIN_BACKOFF", 0.01)
        self.patch(program, "DEADLINE", 3.0)
        self.authority = self.make(2)

    def make(self, copies: int) -> ProgramAuthority:
        """Start a program."""
        made = ProgramAuthority(reactor, (sys.executable, programs.__file__, str(self.notes)), copies)
        self.addCleanup(made.close)
        return made

    def asked(self) -> list[str]:
        """What the program was asked."""
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    async def refused(self, answer: Any) -> bool:
        """Whether the authority has no answer."""
        try:
            await later(answer)
        except AuthorityUnavailable:
            return True
        return False

    async def test_every_operation_is_passed_on_and_answered(self) -> None:
        ask = self.authority
        answers = [
            await later(ask.auth("juliet", HOST, b"right")),
            await later(ask.auth("juliet", HOST, b"wr:ong")),
            await later(ask.isuser("known", HOST)),
            await later(ask.isuser("nobody", HOST)),
            await later(ask.setpass("juliet", HOST, b"right")),
            await later(ask.tryregister("juliet", HOST, b"right")),
            await later(ask.removeuser("known", HOST)),
            await later(ask.removeuser3("juliet", HOST, b"right")),
            await later(ask.certauth("juliet", HOST, b"right")),
        ]
        self.assertEqual(answers, [True, False, True, False, True, True, True, True, True])
        self.assertEqual(self.asked()[1:3], ["auth:juliet:example.org:wr:ong", "isuser:known:example.org"])

    async def test_many_at_once_get_each_their_own_answer(self) -> None:
        expected = [number % 3 == 0 for number in range(300)]
        passwords = [b"right" if right else b"wrong" for right in expected]
        answers = [later(self.authority.auth(f"u{n}", HOST, password)) for n, password in enumerate(passwords)]
        self.assertEqual(await gatherResults(answers), expected)

    async def test_a_copy_that_dies_is_started_again_and_its_question_asked_of_another(self) -> None:
        self.assertFalse(await later(self.authority.auth("dieonce", HOST, b"wrong")))
        self.assertEqual(len(self.asked()), 2)
        await deferLater(reactor, 0.3)
        self.assertEqual(len([copy for copy in self.authority._copies if copy.running]), 2)

    async def test_what_may_not_be_asked_twice_is_refused_when_its_copy_dies(self) -> None:
        self.assertTrue(await self.refused(self.authority.tryregister("dieonce", HOST, b"right")))
        self.assertEqual(len(self.asked()), 1)

    async def test_a_question_that_kills_every_copy_is_not_asked_for_ever(self) -> None:
        self.assertTrue(await self.refused(self.authority.auth("die", HOST, b"x")))
        self.assertEqual(len(self.asked()), 2)
        self.assertTrue(await later(self.authority.auth("juliet", HOST, b"right")))

    async def test_a_copy_that_does_not_answer_is_ended_and_its_late_answer_taken_for_no_others(self) -> None:
        only = self.make(1)
        slow = only.isuser("slow", HOST)
        behind = later(only.auth("juliet", HOST, b"right"))
        self.assertTrue(await self.refused(slow))
        answered: list[Any] = []
        behind.addBoth(answered.append)
        await deferLater(reactor, 0.5)
        self.assertTrue(await later(only.auth("juliet", HOST, b"right")))

    async def test_what_is_no_answer_ends_the_copy_and_answers_nothing(self) -> None:
        for _ in range(3):
            self.assertTrue(await self.refused(self.authority.auth("rubbish", HOST, b"right")))
        await self.all_is_well()

    async def test_an_answer_that_nobody_asked_for_ends_the_copy(self) -> None:
        with logging() as logged:
            await self.outcome(self.make(1).auth("twice", HOST, b"wrong"))
            await deferLater(reactor, 0.3)
        self.assertTrue(any("wrote something that is no answer" in line for line in logged))
        await self.all_is_well()

    async def all_is_well(self) -> None:
        """The next questions get the right answers."""
        for number in range(20):
            password = b"right" if number % 2 else b"wrong"
            self.assertEqual(await later(self.authority.auth("juliet", HOST, password)), bool(number % 2))

    async def outcome(self, answer: Any) -> bool | None:
        """An answer; ``None`` if there is none."""
        try:
            return await later(answer)
        except AuthorityUnavailable:
            return None

    async def test_a_program_behind_a_shell_is_started_again_and_closed_too(self) -> None:
        """Ending the shell leaves what it has started with the pipes."""
        script = f"{sys.executable} {programs.__file__} {self.notes} --deaf; exit 0"
        self.patch(program, "DEADLINE", 0.5)
        behind = ProgramAuthority(reactor, ("/bin/sh", "-c", script), 1)
        self.assertTrue(await self.refused(behind.auth("juliet", HOST, b"right")))
        await deferLater(reactor, 0.5)
        self.assertTrue(behind._copies[0].running)
        started = time.monotonic()
        await behind.close()
        self.assertLess(time.monotonic() - started, 5)

    async def test_a_program_that_dies_at_once_is_tried_ever_more_rarely_and_questions_are_refused(self) -> None:
        with logging() as logged:
            broken = ProgramAuthority(reactor, ("/bin/false",), 1)
            self.addCleanup(broken.close)
            self.patch(program, "PATIENCE", 0.5)
            started = time.monotonic()
            self.assertTrue(await self.refused(broken.auth("juliet", HOST, b"right")))
            self.assertLess(time.monotonic() - started, 3)
            while broken._copies[0].backoff < program.HOPELESS:
                await deferLater(reactor, 0.05)
            self.assertRaises(AuthorityUnavailable, broken.auth, "juliet", HOST, b"right")
        ends = [line for line in logged if "a copy of false ended with status 1" in line]
        self.assertLess(len(ends), 12)

    async def test_a_yes_to_isuser_counts_while_the_program_is_down(self) -> None:
        remembering = StaleIsUserCache(self.authority)
        self.assertTrue(await later(remembering.isuser("known", HOST)))
        self.assertFalse(await later(remembering.isuser("unknown", HOST)))
        await self.authority.close()
        self.assertIs(remembering.isuser("known", HOST), True)
        self.assertRaises(AuthorityUnavailable, remembering.isuser, "unknown", HOST)
        self.assertRaises(AuthorityUnavailable, remembering.auth, "known", HOST, b"right")

    async def test_closing_ends_every_copy_even_a_busy_one_and_refuses_what_waits(self) -> None:
        only = self.make(1)
        answers = [only.isuser("slow", HOST), only.isuser("known", HOST)]
        await deferLater(reactor, 0.2)
        await only.close()
        self.assertFalse(only._copies[0].running)
        self.assertEqual([await self.refused(answer) for answer in answers], [True, True])
