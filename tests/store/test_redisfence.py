"""Failovers of a real Redis: no one-time password is accepted twice, although a replica lacks the last writes."""

from collections.abc import Iterator

import pytest

from tests.redisserver import RedisServer
from tests.store.redisbackend import LOOP, Client
from warmside.otp import OneTimePassword
from warmside.store import redispasswords
from warmside.store.redisclient import Script
from warmside.store.redispasswords import RedisPasswords

JULIET = "juliet@example.org"
FENCE = "found[2] ~= run or found[3] ~= replid"
SCRIPTS = {
    "fenced": redispasswords.REDEEM,
    "only by run_id": Script(redispasswords.REDEEM.text.replace(FENCE, "found[2] ~= run")),
    "unfenced": Script(redispasswords.REDEEM.text.replace(FENCE, "false")),
}
"""The script of this release, and two that show what the fence is for."""
NOWHERE = ("REPLICAOF", "127.0.0.1", "1")
"""Cuts a replica off: it keeps what it has."""


class Pair:
    """A primary, its replica, and passwords that both have."""

    def __init__(self) -> None:
        self.primary, self.replica = RedisServer().start(), RedisServer().start()
        self.replica.replicate(self.primary)
        self.fenced = 0

    def mint(self) -> dict[str, OneTimePassword]:
        """Mint a password for each of `SCRIPTS` at the primary."""
        client = Client(self.primary.path)
        passwords = {name: LOOP.result(RedisPasswords(client).mint(JULIET, 30)) for name in SCRIPTS}
        LOOP.result(client.close())
        LOOP.until(lambda: bool(self.replica.command("DBSIZE") == self.primary.command("DBSIZE")))
        return passwords

    def redeem(
        self, server: RedisServer, passwords: dict[str, OneTimePassword], monkeypatch: pytest.MonkeyPatch
    ) -> dict[str, bool]:
        """Redeem each password with its script."""
        client = Client(server.path)
        redeemed = {}
        for name, password in passwords.items():
            with monkeypatch.context() as patched:
                patched.setattr(redispasswords, "REDEEM", SCRIPTS[name])
                store = RedisPasswords(client, self._count_fenced)
                redeemed[name] = LOOP.result(store.redeem(JULIET, password.text.encode()))
        LOOP.result(client.close())
        return redeemed

    def _count_fenced(self) -> None:
        self.fenced += 1


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.primary.stop()
    pair.replica.stop()


def test_a_promoted_replica_redeems_no_password_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = pair.mint()
    pair.replica.command(*NOWHERE)
    assert all(pair.redeem(pair.primary, passwords, monkeypatch).values())
    pair.primary.kill()
    pair.replica.replicate(None)
    assert pair.redeem(pair.replica, passwords, monkeypatch) == {
        "fenced": False,
        "only by run_id": False,
        "unfenced": True,
    }
    assert pair.fenced == 2
    assert not pair.redeem(pair.replica, passwords, monkeypatch)["fenced"]
    assert pair.fenced == 2, "a password of another reign is kept"


def test_an_old_primary_that_is_promoted_again_redeems_no_password_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = pair.mint()
    run_id = pair.primary.info("server")["run_id"]
    pair.replica.replicate(None)
    assert all(pair.redeem(pair.primary, passwords, monkeypatch).values())
    pair.primary.replicate(pair.replica)
    pair.primary.replicate(None)
    assert pair.primary.info("server")["run_id"] == run_id
    assert pair.redeem(pair.primary, passwords, monkeypatch) == {
        "fenced": False,
        "only by run_id": True,
        "unfenced": True,
    }
    assert pair.fenced == 1


def test_a_password_that_was_revoked_is_not_accepted_after_a_failover(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = pair.mint()
    pair.replica.command(*NOWHERE)
    client = Client(pair.primary.path)
    assert LOOP.result(RedisPasswords(client).revoke_all(JULIET)) == len(passwords)
    LOOP.result(client.close())
    pair.replica.replicate(None)
    assert not pair.redeem(pair.replica, passwords, monkeypatch)["fenced"]


def test_passwords_that_are_minted_after_a_failover_are_valid(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.primary.kill()
    pair.replica.replicate(None)
    pair.primary, pair.replica = pair.replica, pair.primary
    client = Client(pair.primary.path)
    store = RedisPasswords(client)
    password = LOOP.result(store.mint(JULIET, 30))
    assert LOOP.result(store.redeem(JULIET, password.text.encode()))
    LOOP.result(client.close())
