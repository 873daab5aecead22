"""``extauth.program``: an external program that answers for ordinary passwords, in several processes.

A process gets one request at a time, as from ejabberd, so that a response can only belong to that request.
A process that writes anything else, or does not respond in time, is killed.
"""

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from warmside.config.files import shebang_fault
from warmside.extauth.authorities import NO_RESPONSE, Answer, AuthorityUnavailable
from warmside.extauth.frames import ACCEPTED, REJECTED, is_repeatable, to_frame
from warmside.extauth.request import ExtauthRequest

RESPONSE_TIMEOUT = 20.0
"""Seconds for a request, including its time in the queue; ejabberd waits 30 seconds."""
START_TIMEOUT = 5.0
"""Seconds for which a request is queued while no process runs."""
MIN_RESTART_DELAY, MAX_RESTART_DELAY = 0.1, 30.0
"""Seconds before a process is restarted. Doubled each time it ends without a response."""
UNAVAILABLE_DELAY = 2.0
"""Seconds. Requests are rejected at once while every process waits this long or longer for its restart."""
EXIT_TIMEOUT = 0.3
"""Seconds for a process to exit after its stdin is closed; then it is killed."""
MAX_QUEUED = 1000
"""Requests in the queue."""

NOT_RUNNING, OVERLOADED = "not-running", "overloaded"
"""States of the program in ``/ready``."""
REMOVED_VARIABLES = ("PROMETHEUS_MULTIPROC_DIR", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""Environment variables that are meant for warmside and are not passed to the program."""


@dataclass(eq=False)
class _PendingRequest:
    """A request without a response. If its process ends, it is retried once, provided that this is safe."""

    frame: bytes = field(repr=False)
    retry: bool
    """True if it may be sent to another process."""
    result: "Deferred[bool]" = field(repr=False)
    queued_at: float
    timer: Any = None
    process: "_Process | None" = None


def _script(command: Sequence[str]) -> str | None:
    """Return the script that the program of a command interprets: its first argument that is an absolute path."""
    return next((word for word in command[1:] if word.startswith("/")), None)


def shown_command(command: Sequence[str]) -> str:
    """Return the program and its script, for messages. Other arguments are left out, since they may be secret."""
    script = _script(command)
    return command[0] if script is None else f"{command[0]} {script}"


def start_fault(command: Sequence[str]) -> str:
    """Return the reason why a command can't run, as the end of a message; an empty text if none is found."""
    script = _script(command)
    fault = shebang_fault(Path(command[0]))
    if fault is None and script is not None and not os.path.exists(script):
        fault = f"{script} does not exist"
    return f" ({fault})" if fault is not None else ""


class ProgramAuthority:
    """Answers requests with the program.

    :param command: the program's absolute path and its arguments.
    :param processes: number of processes to run.
    """

    log = Logger()

    def __init__(self, reactor: Any, command: Sequence[str], processes: int) -> None:
        self._reactor = reactor
        self._command = command
        self._queue: deque[_PendingRequest] = deque()
        self._closed = False
        self._processes = [_Process(self, reactor) for _ in range(processes)]
        for process in self._processes:
            process.start()

    def answer(self, request: ExtauthRequest) -> Answer:
        """Return the program's result.

        :raises AuthorityUnavailable: closed, no process is about to run, or the queue is full.
        """
        running = any(process.running for process in self._processes)
        awaited = running or any(process.restart_delay < UNAVAILABLE_DELAY for process in self._processes)
        if self._closed or not awaited:
            raise AuthorityUnavailable(NOT_RUNNING)
        if len(self._queue) >= MAX_QUEUED:
            raise AuthorityUnavailable(OVERLOADED)
        frame = to_frame(request.to_payload())
        pending = _PendingRequest(frame, is_repeatable(frame), Deferred(), self._reactor.seconds())
        timeout = RESPONSE_TIMEOUT if running else START_TIMEOUT
        pending.timer = self._reactor.callLater(timeout, self._time_out, pending)
        self._queue.append(pending)
        self.send_queued()
        return pending.result

    def close(self) -> "Deferred[None]":
        """Reject queued requests and end the processes; the Deferred fires when they have ended."""
        self._closed = True
        for pending in list(self._queue):
            self._fail(pending, NOT_RUNNING)
        ended = DeferredList([process.end() for process in self._processes])
        return ended.addCallback(lambda _: None)

    def spawn(self, protocol: ProcessProtocol) -> Any:
        """Start a process. It shares warmside's stderr."""
        environ = {name: value for name, value in os.environ.items() if name not in REMOVED_VARIABLES}
        return self._reactor.spawnProcess(
            protocol, self._command[0], self._command, env=environ, childFDs={0: "w", 1: "r", 2: 2}
        )

    def process_ended(self, process: "_Process", pending: _PendingRequest | None, reason: str) -> None:
        """Log that a process has ended, and retry or reject its request."""
        if not self._closed:
            self.log.error(
                "extauth.program: a process of {program} {reason}; restarting it in {delay} s",
                program=shown_command(self._command),
                reason=reason + start_fault(self._command),
                delay=round(process.restart_delay, 1),
            )
        if pending is not None and not pending.result.called:
            pending.process = None
            if pending.retry and not self._closed:
                pending.retry = False
                self._queue.appendleft(pending)
                self.send_queued()
            else:
                self._fail(pending, NOT_RUNNING)

    def send_queued(self) -> None:
        """Send queued requests to idle processes."""
        for process in self._processes:
            if not self._queue:
                return
            if process.idle:
                pending = self._queue.popleft()
                pending.process = process
                pending.timer.reset(max(0.0, pending.queued_at + RESPONSE_TIMEOUT - self._reactor.seconds()))
                process.send(pending)

    def respond(self, pending: _PendingRequest, accepted: bool) -> None:
        """Fire the request's Deferred with a process's response."""
        pending.timer.cancel()
        pending.result.callback(accepted)

    def _time_out(self, pending: _PendingRequest) -> None:
        if pending.process is not None:
            # A late response would be taken for that of the next request.
            pending.process.kill(f"did not respond within {RESPONSE_TIMEOUT:g} seconds and was killed")
        self._fail(pending, NO_RESPONSE)

    def _fail(self, pending: _PendingRequest, state: str) -> None:
        if pending in self._queue:
            self._queue.remove(pending)
        if pending.timer.active():
            pending.timer.cancel()
        if not pending.result.called:
            pending.result.errback(AuthorityUnavailable(state))


class _Process(ProcessProtocol):
    """One process of the program. Restarted when it ends, until `end` is called."""

    transport: Any

    def __init__(self, authority: ProgramAuthority, reactor: Any) -> None:
        self.restart_delay = MIN_RESTART_DELAY
        self.running = False
        self._authority = authority
        self._reactor = reactor
        self._pending: _PendingRequest | None = None
        self._received = b""
        self._end_reason = ""
        self._restart: Any = None
        self._kill_timer: Any = None
        self._ending: list[Deferred[None]] = []

    @property
    def idle(self) -> bool:
        """True if it can take a request."""
        return self.running and self._pending is None

    def start(self) -> None:
        """Start the process."""
        self._restart = None
        self._received, self._end_reason = b"", ""
        try:
            self._authority.spawn(self)
        except OSError as error:
            self._ended(f"can't be started: {error.strerror}")

    def connectionMade(self) -> None:
        """Take requests: the process runs."""
        self.running = True
        self._authority.send_queued()

    def send(self, pending: _PendingRequest) -> None:
        """Write a request to stdin."""
        self._pending = pending
        self.transport.write(pending.frame)

    def outReceived(self, data: bytes) -> None:
        """Take bytes from stdout; kill the process unless they are the response to the pending request."""
        self._received += data
        if self._pending is None or self._received not in (ACCEPTED, REJECTED):
            partial = ACCEPTED.startswith(self._received) or REJECTED.startswith(self._received)
            if self._pending is None or not partial:
                self.kill("wrote an invalid response and was killed")
            return
        pending, accepted = self._pending, self._received == ACCEPTED
        self._pending, self._received = None, b""
        self.restart_delay = MIN_RESTART_DELAY
        self._authority.respond(pending, accepted)
        self._authority.send_queued()

    def kill(self, reason: str) -> None:
        """Kill the process."""
        self.running = False
        self._end_reason = self._end_reason or reason
        try:
            self.transport.signalProcess("KILL")
        except ProcessExitedAlready:
            pass

    def processExited(self, reason: Failure) -> None:
        """Close the pipes. A child of a shell that has exited could hold them open."""
        self.running = False
        self.transport.loseConnection()

    def processEnded(self, reason: Failure) -> None:
        """Restart: the process has exited and all its output was read."""
        status = getattr(reason.value, "exitCode", None)
        exited = f"exited with status {status}" if status is not None else "was killed"
        self._ended(self._end_reason or exited)

    def end(self) -> "Deferred[None]":
        """Close stdin, kill the process after `EXIT_TIMEOUT`, do not restart it. Fires when it has ended."""
        ended: Deferred[None] = Deferred()
        if self._restart is not None and self._restart.active():
            self._restart.cancel()
        if self.transport is None or self.transport.pid is None:
            ended.callback(None)
            return ended
        if not self._ending:
            self._kill_timer = self._reactor.callLater(EXIT_TIMEOUT, self.kill, "was killed")
            self.transport.closeStdin()
        self._ending.append(ended)
        return ended.addTimeout(2 * EXIT_TIMEOUT, self._reactor, lambda result, _: None)

    def _ended(self, reason: str) -> None:
        self.running = False
        pending, self._pending = self._pending, None
        if self._ending:
            if self._kill_timer.active():
                self._kill_timer.cancel()
        else:
            self._restart = self._reactor.callLater(self.restart_delay, self.start)
        self._authority.process_ended(self, pending, reason)
        self.restart_delay = min(2 * self.restart_delay, MAX_RESTART_DELAY)
        for ended in self._ending:
            if not ended.called:
                ended.callback(None)
        self._ending.clear()
