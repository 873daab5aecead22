"""One-time passwords: each is valid once, for one JID, for its lifetime."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from tests.store.backends import Backend
from tests.store.worker import ChildWorker, LocalWorker
from warmside.otp import OneTimePassword, has_prefix
from warmside.store.interface import RevocationStatus, StoreError

JULIET, ROMEO = "juliet@example.org", "romeo@example.org"


class Passwords:
    """A store of one-time passwords whose methods return results, and its clock."""

    def __init__(self, backend: Backend) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self._result = backend.result
        self._store = backend.passwords(self.clock.seconds)

    def mint(self, bare: str = JULIET, lifetime: float = 30) -> OneTimePassword:
        password: OneTimePassword = self._result(self._store.mint(bare, lifetime))
        return password

    def redeem(self, password: OneTimePassword, bare: str = JULIET) -> bool:
        redeemed: bool = self._result(self._store.redeem(bare, password.text.encode()))
        return redeemed

    def revoke(self, password: OneTimePassword) -> RevocationStatus:
        status: RevocationStatus = self._result(self._store.revoke(password))
        return status

    def revoke_all(self, bare: str) -> int:
        return int(self._result(self._store.revoke_all(bare)))

    def sweep(self) -> int:
        return int(self._result(self._store.sweep()))

    def close(self) -> None:
        self._result(self._store.close())


@pytest.fixture
def store(backend: Backend) -> Passwords:
    return Passwords(backend)


def test_a_password_has_256_bits_after_its_prefix_and_no_colon(store: Passwords) -> None:
    passwords = {store.mint().text for _ in range(100)}
    assert len(passwords) == 100
    assert all(re.fullmatch(r"warmside-otp-[A-Za-z0-9_-]{43}", password) for password in passwords)
    assert has_prefix(passwords.pop().encode())


def test_the_repr_of_a_password_does_not_contain_it(store: Passwords) -> None:
    password = store.mint()
    assert password.text not in repr(password) and password.text not in str(password)


def test_a_password_is_redeemed_once(store: Passwords) -> None:
    password = store.mint()
    assert store.redeem(password)
    assert not store.redeem(password)


def test_another_jid_neither_redeems_nor_consumes_a_password(store: Passwords) -> None:
    password = store.mint()
    assert not store.redeem(password, ROMEO)
    assert store.redeem(password)


def test_a_password_expires_after_its_lifetime(store: Passwords) -> None:
    first, second = store.mint(lifetime=30), store.mint(lifetime=30)
    store.clock.advance(29)
    assert store.redeem(first)
    store.clock.advance(1)
    assert not store.redeem(second)


def test_revoking_returns_the_status_of_the_password(store: Passwords) -> None:
    unasked, asked, redeemed = store.mint(), store.mint(), store.mint()
    store.redeem(asked, ROMEO)
    store.redeem(redeemed)
    assert store.revoke(unasked) is RevocationStatus.UNASKED
    assert store.revoke(asked) is RevocationStatus.ASKED
    assert store.revoke(redeemed) is RevocationStatus.GONE
    assert not store.redeem(unasked)


def test_all_passwords_of_one_user_are_revoked_and_no_others(store: Passwords) -> None:
    juliets, romeos = [store.mint(), store.mint()], store.mint(ROMEO)
    assert store.revoke_all(JULIET) == 2
    assert not any(store.redeem(password) for password in juliets)
    assert store.redeem(romeos, ROMEO)


def test_expired_passwords_are_removed(store: Passwords, backend: Backend) -> None:
    store.mint(lifetime=10)
    valid = store.mint(lifetime=11)
    store.clock.advance(10)
    assert store.sweep() == (0 if backend.expires_itself else 1)
    assert store.redeem(valid)


def test_a_closed_store_raises_store_error(store: Passwords, backend: Backend) -> None:
    password = store.mint()
    store.close()
    calls: list[Callable[[], object]] = [
        store.mint,
        lambda: store.redeem(password),
        lambda: store.revoke(password),
        lambda: store.revoke_all(JULIET),
    ]
    if not backend.expires_itself:
        calls.append(store.sweep)
    for call in calls:
        with pytest.raises(StoreError) as raised:
            call()
        assert password.text not in str(raised.value)


def test_connections_share_passwords(shared_backend: Backend) -> None:
    first, second = Passwords(shared_backend), Passwords(shared_backend)
    password = first.mint()
    assert [second.redeem(password), first.redeem(password)] == [True, False]


def test_two_processes_that_redeem_at_the_same_time_succeed_once(
    shared_backend: Backend, child: ChildWorker, tmp_path: Path
) -> None:
    here = LocalWorker()
    here.open(shared_backend)
    child.open(shared_backend)
    texts = [here.mint(0, JULIET, 30) for _ in range(1000)]
    steps = tmp_path / "steps"
    steps.write_bytes(bytes(2 * len(texts)))
    child_result = child.start_redeem_in_lockstep(0, JULIET, texts, str(steps), 1)
    redeemed_here = here.redeem_in_lockstep(0, JULIET, texts, str(steps), 0)
    redeemed_there = child_result()
    redeemed_later = [here.redeem(0, JULIET, text) for text in texts]  # True if both found the store locked
    assert {sum(each) for each in zip(redeemed_here, redeemed_there, redeemed_later, strict=True)} == {1}
    child.close()
    here.close()


def test_passwords_survive_the_kill_of_the_process_that_created_them(shared_backend: Backend) -> None:
    killed, here = ChildWorker(), LocalWorker()
    killed.open(shared_backend)
    texts = [killed.mint(0, JULIET, 30) for _ in range(20)]
    assert killed.redeem(0, JULIET, texts[0])
    killed.kill()
    here.open(shared_backend)
    assert [here.redeem(0, JULIET, text) for text in texts] == [False] + [True] * 19
    here.close()
