"""``extauth.program`` with real processes and a clock that the tests advance."""

import contextlib
import errno
import os
import signal
import sys
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from tests.extauth import programs
from tests.extauth.support import ClockReactor, request, temporary_folder, unavailable, until
from tests.support import logging
from warmside.extauth import program
from warmside.extauth.authorities import Answer, AuthorityUnavailable
from warmside.extauth.isusercache import StaleIsUserCache
from warmside.extauth.program import ProgramAuthority


class ProgramTest(TestCase):
    """Each test method is a coroutine."""

    timeout = 30

    def setUp(self) -> None:
        self.reactor = ClockReactor()
        self.clock = self.reactor.clock
        self.notes = temporary_folder(self) / "notes"

    def make(self, processes: int, *command: str) -> ProgramAuthority:
        """Start a program, by default that of `tests.extauth.programs`."""
        default = (sys.executable, "-I", "-S", programs.__file__, str(self.notes))
        made = ProgramAuthority(self.reactor, command or default, processes)
        self.addCleanup(self.close, made)
        return made

    def close(self, authority: ProgramAuthority) -> "Deferred[None]":
        """Close a program and let the time pass for processes that do not exit."""
        closed = authority.close()
        self.clock.advance(program.EXIT_TIMEOUT)
        return closed

    def requests(self) -> list[str]:
        """Return the requests that the program has received."""
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    def restart(self, authority: ProgramAuthority) -> bool:
        """Let the time pass until all processes that have ended are restarted. Return True if all run."""
        for process in authority._processes:
            if process._restart is not None and process._restart.active():
                self.clock.advance(max(0.0, process._restart.getTime() - self.clock.seconds()))
        return all(process.running for process in authority._processes)

    async def result(self, authority: ProgramAuthority, answer: Answer) -> bool | None:
        """Return the result, or ``None`` if the authority is unavailable. Processes are restarted meanwhile."""
        assert isinstance(answer, Deferred)
        results: list[Any] = []
        answer.addErrback(lambda failure: failure.trap(AuthorityUnavailable) and None)
        answer.addCallback(results.append)
        await until(lambda: self.restart(authority) and results)
        return results[0]  # type: ignore[no-any-return]


class ResponseTest(ProgramTest):
    """Responses of the program."""

    def setUp(self) -> None:
        super().setUp()
        self.authority = self.make(2)

    async def auth(self, user: str, password: bytes) -> bool | None:
        """Return the result of ``auth``."""
        return await self.result(self.authority, self.authority.answer(request("auth", password, user)))

    async def works(self) -> None:
        """Check that the next responses are right."""
        for number in range(20):
            self.assertEqual(await self.auth("juliet", b"right" if number % 2 else b"wrong"), bool(number % 2))

    async def test_every_operation_is_passed_on(self) -> None:
        requests = [
            request("auth", b"right"),
            request("auth", b"wr:ong"),
            request("isuser", user="known"),
            request("isuser", user="unknown"),
            request("setpass", b"right"),
            request("tryregister", b"right"),
            request("removeuser", user="known"),
            request("removeuser3", b"right"),
            request("certauth", b"right"),
        ]
        results = [await self.result(self.authority, self.authority.answer(each)) for each in requests]
        self.assertEqual(results, [True, False, True, False, True, True, True, True, True])
        self.assertEqual(self.requests()[1:3], ["auth:juliet:example.org:wr:ong", "isuser:known:example.org"])

    async def test_each_of_many_concurrent_requests_gets_its_own_response(self) -> None:
        expected = [number % 3 == 0 for number in range(300)]
        passwords = [b"right" if valid else b"wrong" for valid in expected]
        answers: list[Any] = [
            self.authority.answer(request("auth", password, f"u{number}")) for number, password in enumerate(passwords)
        ]
        self.assertEqual(await gatherResults(answers), expected)

    async def test_a_process_that_exits_is_restarted_and_its_request_retried(self) -> None:
        self.assertIs(await self.auth("dieonce", b"wrong"), False)
        self.assertEqual(len(self.requests()), 2)
        self.assertTrue(all(process.running for process in self.authority._processes))

    async def test_a_request_that_is_not_repeatable_is_rejected_when_its_process_exits(self) -> None:
        answer = self.authority.answer(request("tryregister", b"right", "dieonce"))
        self.assertIsNone(await self.result(self.authority, answer))
        self.assertEqual(len(self.requests()), 1)

    async def test_a_request_that_ends_every_process_is_retried_once(self) -> None:
        self.assertIsNone(await self.auth("die", b"x"))
        self.assertEqual(len(self.requests()), 2)
        self.assertIs(await self.auth("juliet", b"right"), True)

    async def test_an_invalid_response_ends_the_process_and_answers_nothing(self) -> None:
        for _ in range(3):
            self.assertIsNone(await self.auth("rubbish", b"right"))
        await self.works()

    async def test_an_unrequested_response_ends_the_process(self) -> None:
        only = self.make(1)
        with logging() as logged:
            await self.result(only, only.answer(request("auth", b"wrong", "twice")))
            await until(lambda: any("wrote an invalid response" in line for line in logged))
        await self.works()

    async def test_an_accepted_isuser_is_cached_while_the_program_is_unavailable(self) -> None:
        cache = StaleIsUserCache(self.authority)
        for user, exists in (("known", True), ("unknown", False)):
            self.assertIs(await self.result(self.authority, cache.answer(request("isuser", user=user))), exists)
        await self.close(self.authority)
        self.assertIs(cache.answer(request("isuser", user="known")), True)
        self.assertRaises(AuthorityUnavailable, cache.answer, request("isuser", user="unknown"))
        self.assertRaises(AuthorityUnavailable, cache.answer, request("auth", b"right", "known"))


class EndTest(ProgramTest):
    """Processes that do not respond, do not run, or end."""

    async def test_a_process_that_times_out_is_killed_and_its_late_response_ignored(self) -> None:
        only = self.make(1)
        slow = only.answer(request("isuser", user="slow"))
        self.clock.advance(1)
        next_in_queue = only.answer(request("auth", b"right"))
        await until(self.requests)
        self.clock.advance(program.RESPONSE_TIMEOUT - 1)
        self.assertTrue(await unavailable(lambda: slow))
        self.assertIs(await self.result(only, next_in_queue), True)
        self.assertIs(await self.result(only, only.answer(request("auth", b"wrong"))), False)

    async def test_a_program_behind_a_shell_is_restarted_and_closed(self) -> None:
        """Killing the shell leaves its child with the pipes open."""
        script = f"{sys.executable} {programs.__file__} {self.notes} --hang; exit 0"
        behind = self.make(1, "/bin/sh", "-c", script)
        self.addCleanup(self.kill_children)
        answer = behind.answer(request("auth", b"right"))
        await until(self.requests)
        self.clock.advance(program.RESPONSE_TIMEOUT)
        self.assertTrue(await unavailable(lambda: answer))
        await until(lambda: self.restart(behind))
        await until(lambda: len(self.requests()) == 2)
        await self.close(behind)
        self.assertFalse(behind._processes[0].running)

    def kill_children(self) -> None:
        """Kill the children that the shells have left."""
        for pid in self.requests():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    async def test_a_program_that_exits_at_once_is_restarted_ever_more_slowly(self) -> None:
        with logging() as logged:
            broken = self.make(1, "/bin/false")
            self.assertIsNone(await self.result(broken, broken.answer(request("auth", b"right"))))
            (process,) = broken._processes
            await until(
                lambda: (
                    not process.running
                    and (process.restart_delay >= program.UNAVAILABLE_DELAY or (self.restart(broken) and False))
                )
            )
            self.assertRaises(AuthorityUnavailable, broken.answer, request("auth", b"right"))
        ends = [line for line in logged if "a process of /bin/false exited with status 1; restarting" in line]
        self.assertTrue(0 < len(ends) < 12, len(ends))

    async def test_the_log_names_the_script_and_the_reason_why_it_can_not_run(self) -> None:
        folder = temporary_folder(self)
        crlf, missing = folder / "crlf.py", folder / "missing.py"
        crlf.write_bytes(b"#!/usr/bin/python3\r\nprint()\r\n")
        crlf.chmod(0o755)
        interpreted = f" {missing} exited with status 2 ({missing} does not exist); restarting"
        for command, expected in (
            ((sys.executable, "-S", str(missing), "--password=geheim"), interpreted),
            ((str(crlf),), "(its #! line ends with CR LF: "),
        ):
            with logging() as logged:
                self.make(1, *command)
                await until(lambda logged=logged: any("restarting" in line for line in logged))  # type: ignore[misc]
            self.assertIn(f"a process of {command[0]} ", logged[0])
            self.assertIn(expected, logged[0])
            self.assertNotIn("geheim", logged[0])

    async def test_requests_wait_for_a_program_that_can_not_be_started_yet(self) -> None:
        def spawn(*arguments: Any, **options: Any) -> None:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

        self.reactor.spawnProcess = spawn
        with logging() as logged:
            authority = self.make(1)
            answer = authority.answer(request("auth", b"right"))
            self.clock.pump([1.0] * int(program.START_TIMEOUT))
            self.assertTrue(await unavailable(lambda: answer))
            self.assertEqual(self.clock.seconds(), program.START_TIMEOUT)
        self.assertTrue(any("can't be started: " in line for line in logged))
        self.assertRaises(AuthorityUnavailable, authority.answer, request("auth", b"right"))

    async def test_closing_kills_a_busy_process_and_rejects_queued_requests(self) -> None:
        only = self.make(1)
        slow, queued = (only.answer(request("isuser", user=user)) for user in ("slow", "known"))
        await until(self.requests)
        await self.close(only)
        self.assertFalse(only._processes[0].running)
        self.assertTrue(await unavailable(lambda: slow))
        self.assertTrue(await unavailable(lambda: queued))

    def test_a_full_queue_rejects(self) -> None:
        self.patch(program, "MAX_QUEUED", 1)
        only = self.make(1)
        answers: list[Any] = [only.answer(request("isuser", user="slow")) for _ in range(2)]
        self.assertRaises(AuthorityUnavailable, only.answer, request("isuser", user="known"))
        for answer in answers:
            answer.addErrback(lambda failure: failure.trap(AuthorityUnavailable))


def test_the_environment_of_the_service_manager_is_not_passed_on() -> None:
    environments: list[dict[str, str]] = []

    def spawn(*arguments: Any, env: dict[str, str], **options: Any) -> None:
        environments.append(env)

    reactor = ClockReactor()
    reactor.spawnProcess = spawn
    with mock.patch.dict(os.environ, dict.fromkeys(program.REMOVED_VARIABLES, "x")):
        ProgramAuthority(reactor, ("/bin/true",), 1)
        assert set(os.environ) - set(environments[0]) == set(program.REMOVED_VARIABLES)
