"""A store of one-time passwords, used from two processes, compared with a model of it."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.store.backends import Backend
from tests.store.worker import ChildWorker, LocalWorker, Worker
from warmside.store.interface import RevocationStatus, StoreError

JIDS = ("juliet@example.org", "romeo@example.org")
WORKERS = st.integers(0, 2)
"""Numbers of connections: two of this process, one of the child process."""
PAIRS = st.permutations(range(3)).map(lambda order: (order[0], order[1]))
STEPS = st.integers(1, 3)
Pair = tuple[int, int]
Result = TypeVar("Result")


@dataclass(eq=False)
class Password:
    """A password of the model. ``expires`` is in seconds."""

    text: str
    jid: str
    expires: int
    redeemed: bool = False
    revoked: bool = False
    rejected: bool = False
    """True if an attempt with another JID was rejected."""


class PasswordStoreMachine(RuleBasedStateMachine):
    """Random commands, through random connections, with a clock that only a rule advances.

    A valid password is redeemed exactly once; an expired, redeemed or revoked one never.
    """

    passwords: Bundle[Password] = Bundle("passwords")

    def __init__(self, backend: Backend, child: ChildWorker) -> None:
        super().__init__()
        self._backend = backend
        self._workers: tuple[Worker, ...] = (LocalWorker(), LocalWorker(), child)
        self._minted: list[Password] = []
        self._time = 1000
        for worker in self._workers:
            worker.open(backend)

    @rule(target=passwords, worker=WORKERS, jid=st.sampled_from(JIDS), lifetime=st.integers(1, 3))
    def mint(self, worker: int, jid: str, lifetime: int) -> Password:
        """Create a password."""
        text = self._workers[worker].mint(self._time, jid, lifetime)
        self._minted.append(Password(text, jid, self._time + lifetime))
        return self._minted[-1]

    @rule(password=passwords, worker=WORKERS)
    def redeem(self, password: Password, worker: int) -> None:
        """Redeem with the right JID."""
        redeemed = self._workers[worker].redeem(self._time, password.jid, password.text)
        assert redeemed is self._is_valid(password)
        password.redeemed |= redeemed

    @rule(password=passwords, worker=WORKERS)
    def redeem_with_another_jid(self, password: Password, worker: int) -> None:
        """An attempt with another JID is rejected and does not consume the password: `redeem` follows at times."""
        other = JIDS[password.jid == JIDS[0]]
        assert not self._workers[worker].redeem(self._time, other, password.text)
        password.rejected |= self._is_valid(password)

    @rule(password=passwords, workers=PAIRS, step=STEPS)
    def redeem_at_the_same_time(self, password: Password, workers: Pair, step: int) -> None:
        """Redeem through one connection between two steps of another one: one of them succeeds."""
        first, second = workers
        valid = self._is_valid(password)
        redeemed, others = self._redeem_and_interrupt(
            first, password, step, lambda: self._workers[second].redeem(self._time, password.jid, password.text)
        )
        assert [redeemed, *others].count(True) == int(valid)
        password.redeemed |= valid

    @rule(password=passwords, workers=PAIRS, step=STEPS)
    def revoke_at_the_same_time(self, password: Password, workers: Pair, step: int) -> None:
        """Revoke through one connection between two steps of another one that redeems: only the first succeeds."""
        first, second = workers
        valid = self._is_valid(password)
        redeemed, statuses = self._redeem_and_interrupt(
            first, password, step, lambda: self._workers[second].revoke(self._time, password.text)
        )
        assert valid or not redeemed
        assert not redeemed or all(status == RevocationStatus.GONE.value for status in statuses)
        assert redeemed or statuses or not valid
        password.redeemed |= redeemed
        password.revoked |= bool(statuses)

    @rule(password=passwords, worker=WORKERS)
    def revoke(self, password: Password, worker: int) -> None:
        """Revoke; the status is that of the model, except for expired passwords, which a store may have removed."""
        status = self._workers[worker].revoke(self._time, password.text)
        if self._is_valid(password):
            expected = RevocationStatus.ASKED if password.rejected else RevocationStatus.UNASKED
            assert status == expected.value
        elif password.redeemed or password.revoked:
            assert status == RevocationStatus.GONE.value
        password.revoked = True

    @rule(jid=st.sampled_from(JIDS), worker=WORKERS)
    def revoke_all(self, jid: str, worker: int) -> None:
        """Revoke a JID's passwords; a store may count expired ones."""
        stored = [each for each in self._minted if each.jid == jid and not each.redeemed and not each.revoked]
        valid = sum(map(self._is_valid, stored))
        assert valid <= self._workers[worker].revoke_all(self._time, jid) <= len(stored)
        for password in stored:
            password.revoked = True

    @rule(seconds=st.integers(1, 2))
    def advance_clock(self, seconds: int) -> None:
        """Let passwords expire."""
        self._time += seconds

    @rule(worker=WORKERS)
    def sweep(self, worker: int) -> None:
        """Remove expired passwords, and no others: `redeem` follows at times."""
        expired = sum(each.expires <= self._time and not each.redeemed for each in self._minted)
        assert 0 <= self._workers[worker].sweep(self._time) <= expired

    @rule(worker=WORKERS)
    def reopen(self, worker: int) -> None:
        """Close one connection and open it again."""
        self._workers[worker].open(self._backend)

    @rule()
    def restart(self) -> None:
        """Close all connections before the first one is opened again."""
        self.teardown()
        for worker in self._workers:
            worker.open(self._backend)

    def teardown(self) -> None:
        """Close all connections."""
        for worker in self._workers:
            worker.close()

    def _is_valid(self, password: Password) -> bool:
        return not password.redeemed and not password.revoked and self._time < password.expires

    def _redeem_and_interrupt(
        self, worker: int, password: Password, step: int, call: Callable[[], Result]
    ) -> tuple[bool, list[Result]]:
        """Redeem, and call a function before a step. Return both results; the list is empty without such a step."""
        results: list[Result] = []

        def meanwhile() -> None:
            with suppress(StoreError):  # the interrupted step may hold a lock
                results.append(call())

        redeemed = self._workers[worker].redeem_with_pause(self._time, password.jid, password.text, step, meanwhile)
        return redeemed, results


def test_the_store_behaves_like_its_model(shared_backend: Backend, child: ChildWorker) -> None:
    class Machine(PasswordStoreMachine):
        def __init__(self) -> None:
            super().__init__(shared_backend.fresh(), child)

    examples = 40 if shared_backend.kind == "redis" else 80  # its connections take time
    run_state_machine_as_test(Machine, settings=settings(max_examples=examples, stateful_step_count=40))
