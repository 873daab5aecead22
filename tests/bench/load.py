"""Load on two nodes, with a history: warms, credentials with logins at the other node, revocations, announcements.

Used one-time passwords are tried again, at once at both nodes and for as long as they would live: a password that a
fault brings back is found.
"""

import contextlib
import http.client
import itertools
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.bench.history import History, Kind, Operation, Result
from tests.real.boshclient import BoshClient, Refused, Terminated
from tests.real.parts import Reply, Server

HOST = "example.org"
PAUSE = 0.05
"""Seconds between two operations of a thread."""
ERROR_PAUSE = 0.1
"""Seconds after an operation that failed, as a client waits."""
WAIT_TIME = 1.0
"""Seconds from some credentials to their logins: a replica has the password, and then lacks its removal."""
REPLAY_TIME = 25.0
"""Seconds for which a used password is tried again; it would live for 30."""
RECENT_TIME = 5.0
"""Seconds; a failover loses the last ones."""
USERS = 40
"""Names of the users of each node."""
LOST = (OSError, http.client.HTTPException, Terminated, AssertionError)
"""Errors of a request without a usable response."""


@dataclass(frozen=True)
class Used:
    """A password that was accepted or revoked. Its text is not in the history."""

    number: int
    user: str
    text: str
    since: float


class Load:
    """Threads that use the nodes until `stop`.

    :param nodes: the first is number 1.
    """

    def __init__(self, nodes: Sequence[Server]) -> None:
        self.history = History()
        self.nodes = dict(enumerate(nodes, 1))
        self._run = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._used: deque[Used] = deque(maxlen=500)
        self._waiting: dict[int, deque[Used]] = {number: deque() for number in self.nodes}
        self._over = threading.Event()
        self._failures: list[BaseException] = []
        pairs = list(zip(self.nodes, [*list(self.nodes)[1:], 1], strict=True))
        tasks: list[tuple[Callable[..., None], tuple[int, ...]]] = [(self.warm, (node,)) for node in self.nodes]
        tasks += [(self.credential, pair) for pair in pairs]
        tasks += [(self.revocation, pair) for pair in pairs]
        tasks += [(self.announcement, (node,)) for node in self.nodes]
        tasks += [(self.replay, ())] * 3
        self._threads = [threading.Thread(target=self._repeat, args=task, daemon=True) for task in tasks]
        self._logins = ThreadPoolExecutor(8)

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; raise what went wrong in one, which is no result of an operation."""
        self._over.set()
        for thread in self._threads:
            thread.join(60)
        self._logins.shutdown()
        if self._failures:
            raise self._failures[0]

    def _repeat(self, work: Callable[..., None], arguments: tuple[int, ...]) -> None:
        try:
            for turn in itertools.count():
                if self._over.wait(PAUSE):
                    return
                work(*arguments, turn)
        except BaseException as failure:
            self._failures.append(failure)

    def warm(self, node: int, turn: int) -> None:
        """Warm a session; the next one replaces it."""
        with self.history.operation(Kind.WARM, node) as operation:
            self._post(operation, "/warm", jid=f"warm{node}-{turn % USERS}@{HOST}/warm", wait=1)

    def credential(self, node: int, other: int, turn: int) -> None:
        """Ask a node for a credential, and log in with it at both nodes at the same time: now, or `WAIT_TIME` later."""
        minted = self._mint(node, f"user{node}-{turn % USERS}")
        if minted is not None and turn % 2:
            self._waiting[node].append(minted)
            minted = None
        if self._waiting[node] and self._waiting[node][0].since < time.monotonic() - WAIT_TIME:
            self._log_in_at_once(self._waiting[node].popleft(), other, node)
        if minted is not None:
            self._log_in_at_once(minted, other, node)

    def _log_in_at_once(self, minted: Used, *nodes: int) -> None:
        logins = [self._logins.submit(self.log_in, node, minted) for node in nodes]
        accepted = [each.result() for each in logins]
        if any(accepted):
            self._used.append(minted)

    def revocation(self, node: int, other: int, turn: int) -> None:
        """Ask a node for a credential, revoke it at the other, and log in with it at both."""
        user = f"revoked{node}-{turn % USERS}"
        minted = self._mint(node, user)
        with self.history.operation(Kind.REVOKE, other, f"{user}@{HOST}") as operation:
            self._post(operation, "/end", jid=f"{user}@{HOST}")
        if minted is None:
            return
        accepted = [self.log_in(at, minted) for at in (node, other)]
        if any(accepted) or operation.result is Result.OK:
            self._used.append(minted)

    def announcement(self, node: int, turn: int) -> None:
        """Announce a new user."""
        user = f"new{node}-{self._run}-{turn}@{HOST}"
        with self.history.operation(Kind.ANNOUNCE, node, user) as operation:
            self._post(operation, "/users", jids=[user])
        self._over.wait(5 * PAUSE)

    def replay(self, turn: int) -> None:
        """Try a used password again, every second time one that was used within `RECENT_TIME`."""
        since = time.monotonic() - (RECENT_TIME if turn % 2 else REPLAY_TIME)
        used = [each for each in self._used.copy() if each.since > since]
        if used:
            self.log_in(random.choice(list(self.nodes)), random.choice(used))

    def log_in(self, node: int, password: Used) -> bool:
        """Authenticate at a node's ejabberd; return True if the password was accepted. The session is ended."""
        client = BoshClient(self.nodes[node].bosh)
        with self.history.operation(Kind.LOGIN, node, password.user, password.number) as operation:
            try:
                client.authenticate(password.user.partition("@")[0], password.text)
                operation.result = Result.OK
            except Refused as refusal:
                operation.result, operation.detail = Result.REFUSED, str(refusal)
            except LOST as error:
                operation.detail = str(error)
        if operation.result is not Result.REFUSED:
            with contextlib.suppress(*LOST):
                client.terminate()
        client.close()
        return operation.result is Result.OK

    def look_up(self) -> None:
        """Ask every node whether it knows the users whose announcement was confirmed."""
        announced = [each.user for each in self.history.of(Kind.ANNOUNCE) if each.result is Result.OK]
        for user in announced:
            for number, node in self.nodes.items():
                with self.history.operation(Kind.LOOKUP, number, user) as operation:
                    found = node.command("check_account", user=user.partition("@")[0], host=HOST) == 0
                    operation.result = Result.OK if found else Result.REFUSED

    def _mint(self, node: int, user: str) -> Used | None:
        number = next(self._numbers)
        bare = f"{user}@{HOST}"
        with self.history.operation(Kind.MINT, node, bare, number) as operation:
            reply = self._post(operation, "/credentials", jid=bare)
        if operation.result is not Result.OK or reply is None:
            return None
        return Used(number, bare, str(reply.json()["password"]), operation.ended)

    def _post(self, operation: Operation, path: str, **fields: object) -> Reply | None:
        try:
            reply = self.nodes[operation.node].post(path, **fields)
        except LOST as error:
            operation.detail = type(error).__name__
            self._over.wait(ERROR_PAUSE)
            return None
        operation.result = Result.OK if reply.status == 200 else Result.REFUSED
        if reply.status != 200:
            operation.detail = f"{reply.status} {reply.json().get('detail', '')}"[:160]
            self._over.wait(ERROR_PAUSE)
        return reply
