"""Known users on three machines and one Redis, compared with a model that has neither pages nor cursors."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.redisserver import RedisServer
from tests.store.nodes import Node, Spinner
from warmside.store import followusers

JIDS = [f"user{number}@example.org" for number in range(7)]
MACHINES = 3
NODES = st.integers(0, MACHINES)
"""Numbers of processes: one on each machine, and a second one on the first machine."""
USERS = st.sampled_from(JIDS)
Users = dict[str, tuple[int, bool]]
"""The number of the last change of each user, and True if the user exists."""
NEVER = (0, False)


class Knowledge:
    """What one machine knows. ``pending`` has the number of the change that it knew of when a user logged in."""

    def __init__(self) -> None:
        self.users: Users = {}
        self.pending: dict[str, int] = {}

    def exists(self, jid: str) -> bool:
        """Return True if the user exists here."""
        return jid in self.pending or self.users.get(jid, NEVER)[1]

    def exchange(self, shared: Users, numbers: Iterator[int]) -> None:
        """Connect to Redis."""
        for jid, known in self.pending.items():
            if shared.get(jid, NEVER)[0] <= known:
                shared[jid] = (next(numbers), True)
        self.pending.clear()
        for jid in JIDS:
            newest = max(shared.get(jid, NEVER), self.users.get(jid, NEVER))
            if newest != NEVER:
                shared[jid] = self.users[jid] = newest


class SharedUsersMachine(RuleBasedStateMachine):
    """Random changes, while machines lose the connection and Redis loses what it has."""

    def __init__(self, spinner: Spinner, server: RedisServer, folder: Path) -> None:
        super().__init__()
        self._spinner = spinner
        self._server = server
        self._folder = folder
        self._prefix = f"{folder.name}:"
        files = [folder / f"{number}.sqlite" for number in [*range(MACHINES), 0]]
        self._nodes = [Node(spinner, server, file, self._prefix) for file in files]
        self._machines = [Knowledge() for _ in range(MACHINES)]
        self._numbers = itertools.count(1)
        self._shared: Users = {}
        self._saved: tuple[Users, list[Any]] = ({}, [None, None])

    @rule(node=NODES, jids=st.lists(USERS, max_size=5))
    def announce(self, node: int, jids: list[str]) -> None:
        """Announce users."""
        if self._online(node):
            new = {jid for jid in jids if not self._shared.get(jid, NEVER)[1]}
            assert self._nodes[node].announce(*jids) == len(new)
            self._shared |= {jid: (next(self._numbers), True) for jid in jids}
            self._settle()

    @rule(node=NODES, jid=USERS)
    def forget(self, node: int, jid: str) -> None:
        """Remove a user."""
        if self._online(node):
            assert self._nodes[node].forget(jid) is self._shared.get(jid, NEVER)[1]
            self._shared[jid] = (next(self._numbers), False)
            self._settle()

    @rule(node=NODES, jid=USERS)
    def log_in(self, node: int, jid: str) -> None:
        """A user logs in at a machine, which may be cut off."""
        machine = self._machine(node)
        if not machine.exists(jid):
            machine.pending[jid] = machine.users.get(jid, NEVER)[0]
        self._nodes[node].users.remember(jid)
        self._settle()

    @rule(number=st.integers(0, MACHINES - 1))
    def cut_off(self, number: int) -> None:
        """A machine loses the connection."""
        for node in self._on_machine(number):
            self._nodes[node].cut()

    @rule(number=st.integers(0, MACHINES - 1))
    def connect(self, number: int) -> None:
        """A machine gets the connection back."""
        for node in self._on_machine(number):
            self._nodes[node].connect()
        self._settle()

    @rule(node=NODES)
    def restart(self, node: int) -> None:
        """A process is started again."""
        online = self._nodes[node].online
        self._nodes[node].stop()
        self._nodes[node].start(connected=online)
        self._settle()

    @rule()
    def flush(self) -> None:
        """Redis loses all."""
        self._server.command("DEL", *self._keys())
        self._shared = {}
        self._settle()

    @rule()
    def save(self) -> None:
        """A replica, or a file, has what Redis has now."""
        self._saved = (dict(self._shared), [self._server.command("DUMP", key) for key in self._keys()])

    @rule()
    def fail_over(self) -> None:
        """Redis is what was saved, and is another instance."""
        shared, dumps = self._saved
        steps: list[tuple[Any, ...]] = [("MULTI",), ("DEL", *self._keys())]
        pairs = zip(self._keys(), dumps, strict=True)
        steps += [("RESTORE", key, 0, dump) for key, dump in pairs if dump is not None]
        results = self._server.replies(*steps, ("DEBUG", "CHANGE-REPL-ID"), ("EXEC",))
        assert not any(isinstance(result, Exception) for result in [*results, *results[-1]]), results
        self._shared = dict(shared)
        self._settle()

    @rule(node=NODES, jid=USERS, removed=st.booleans())
    def lose_a_write(self, node: int, jid: str, removed: bool) -> None:
        """Redis fails over to a replica that lacks the last write."""
        self.save()
        if removed:
            self.forget(node, jid)
        else:
            self.announce(node, [jid])
        self.fail_over()

    def teardown(self) -> None:
        """Connect all: every machine knows the same users. Then nothing is left to do."""
        for number in range(MACHINES):
            self.connect(number)
        assert all(machine.users == self._shared for machine in self._machines)
        for node in self._nodes:
            node.stop()
        shutil.rmtree(self._folder)

    def _keys(self) -> list[str]:
        return [f"{self._prefix}1:users", f"{self._prefix}1:users-state"]

    def _on_machine(self, number: int) -> list[int]:
        return [number, MACHINES] if number == 0 else [number]

    def _machine(self, node: int) -> Knowledge:
        return self._machines[node % MACHINES]

    def _online(self, node: int) -> bool:
        return self._nodes[node].online

    def _settle(self) -> None:
        """Let the machines that are connected exchange what they have, and compare each process with the model."""
        for _ in range(2):
            for number, machine in enumerate(self._machines):
                if self._online(number):
                    machine.exchange(self._shared, self._numbers)
        self._spinner.until(lambda: all(self._agrees(node) for node in range(MACHINES + 1)))

    def _agrees(self, number: int) -> bool:
        node, machine = self._nodes[number], self._machine(number)
        if any(node.users.exists(jid) is not machine.exists(jid) for jid in JIDS):
            return False
        return not node.online or not (node.file.pending(1) or self._behind(node))

    def _behind(self, node: Node) -> bool:
        """Return True if Redis and the file differ, or the machine has more to do."""
        rows = self._server.command("ZRANGE", self._keys()[0], 0, -1, "WITHSCORES")
        stored = dict(zip((jid.decode() for jid in rows[::2]), map(int, rows[1::2]), strict=True))
        state = self._server.command("HGET", self._keys()[1], "epoch")
        progress = node.file.progress()
        known = {jid: score for jid, score, _ in node.file.portion("", len(JIDS) + 1)}
        return progress.unfinished or state is None or state.decode() != progress.epoch or known != stored


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    server = RedisServer("--enable-debug-command", "yes").start()
    yield server
    server.stop()


def test_machines_agree_with_the_model(server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followusers, "PAGE", 2)
    monkeypatch.setattr(followusers, "POLL_INTERVAL", 0.01)  # no message comes when Redis has lost its content
    spinner = Spinner()
    folders = (tmp_path / f"run{number}" for number in itertools.count())

    class Machine(SharedUsersMachine):
        """A new folder for each run."""

        def __init__(self) -> None:
            folder = next(folders)
            folder.mkdir(mode=0o700)
            super().__init__(spinner, server, folder)

    try:
        # An example that fails waits for its time limit, so none is made shorter.
        limits = settings(max_examples=25, stateful_step_count=25, phases=[Phase.generate])
        run_state_machine_as_test(Machine, settings=limits)
    finally:
        spinner.close()
