"""Known users that machines share on a real Redis."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.redisserver import RedisServer, running_server
from tests.store.nodes import Node, Spinner, running_spinner
from tests.support import logging
from warmside.store import followusers
from warmside.store.followusers import RedisUsers
from warmside.store.interface import StoreError
from warmside.store.redisclient import RedisUnavailable
from warmside.store.sqlite import SQLiteKnownUsers
from warmside.store.usersfile import Progress, Reply, SharedUsersFile

JULIET, ROMEO, NURSE = "juliet@example.org", "romeo@b\xfccher.example", "nurse@example.org"
MANY = [f"user{number}@example.org" for number in range(1000)]
USERS, STATE = "warmside:1:users", "warmside:1:users-state"
Machines = Callable[[str], Node]


server = pytest.fixture(scope="module")(running_server)


spinner = pytest.fixture(running_spinner)


@pytest.fixture
def machine(server: RedisServer, spinner: Spinner, tmp_path: Path) -> Iterator[Machines]:
    """Start a process on the machine of this name."""
    server.command("FLUSHALL")
    nodes: list[Node] = []

    def start(name: str) -> Node:
        (tmp_path / name).mkdir(mode=0o700, exist_ok=True)
        nodes.append(Node(spinner, server, tmp_path / name / "users.sqlite"))
        return nodes[-1]

    yield start
    for node in nodes:
        node.stop()


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> "dict[SharedUsersFile, list[Reply]]":
    """Record what each process reads from Redis."""
    read = RedisUsers.read
    found: dict[SharedUsersFile, list[Reply]] = {}

    async def record(users: RedisUsers, progress: Progress) -> Reply:
        found.setdefault(users._file, []).append(await read(users, progress))
        return found[users._file][-1]

    monkeypatch.setattr(RedisUsers, "read", record)
    return found


def known(node: Node, *jids: str) -> list[bool]:
    """Return which users exist at a machine."""
    return [node.users.exists(jid) for jid in jids]


def test_a_message_brings_announcements_and_removals_to_every_machine(
    machine: Machines, spinner: Spinner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Well within the second that is allowed: no machine looks without a message here."""
    monkeypatch.setattr(followusers, "POLL_INTERVAL", 3600)
    one, two = machine("one"), machine("two")
    assert one.announce(JULIET, ROMEO, JULIET) == 2
    assert known(one, JULIET, ROMEO, NURSE) == [True, True, False]
    spinner.until(lambda: known(two, JULIET, ROMEO) == [True, True])
    assert two.announce(ROMEO, NURSE) == 1 and two.announce() == 0
    assert two.forget(JULIET, ROMEO) and not two.forget(JULIET)
    spinner.until(lambda: known(one, JULIET, ROMEO, NURSE) == [False, False, True])


def test_a_change_whose_message_is_lost_is_found(machine: Machines, spinner: Spinner, server: RedisServer) -> None:
    assert followusers.POLL_INTERVAL <= 0.5, "within a second, with the time that a reading takes"
    one, two = machine("one"), machine("two")
    one.announce(NURSE)
    spinner.until(lambda: known(two, NURSE) == [True])
    server.command("ZADD", USERS, int(server.command("ZSCORE", USERS, NURSE)) + 2, JULIET)
    spinner.until(lambda: known(one, JULIET) == known(two, JULIET) == [True])


def test_a_user_who_logs_in_is_known_everywhere(
    machine: Machines, spinner: Spinner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followusers, "POLL_INTERVAL", 3600)
    one, two = machine("one"), machine("two")
    one.users.remember(JULIET)
    assert known(one, JULIET) == [True], "without a round trip"
    spinner.until(lambda: known(two, JULIET) == [True])
    assert two.forget(JULIET)
    spinner.until(lambda: known(one, JULIET) == [False])
    two.users.remember(JULIET)
    spinner.until(lambda: known(one, JULIET) == [True])


def test_a_machine_that_was_cut_off_reads_only_what_has_changed(
    machine: Machines, spinner: Spinner, pages: dict[SharedUsersFile, list[Reply]]
) -> None:
    one, two = machine("one"), machine("two")
    one.announce(*MANY)
    spinner.until(lambda: all(known(two, *MANY)) and not two.file.progress().unfinished)
    two.cut()
    one.announce(JULIET, NURSE)
    one.forget(MANY[7])
    two.connect()
    spinner.until(lambda: known(two, JULIET, NURSE, MANY[7]) == [True, True, False])
    assert sum(len(reply.page) + len(reply.again) for reply in pages[two.file]) == 3


def test_nothing_is_done_while_redis_is_away(machine: Machines) -> None:
    one = machine("one")
    one.announce(JULIET)
    one.cut()
    for change in (one.announce, one.forget):
        with pytest.raises(RedisUnavailable, match="away"):
            change(JULIET, NURSE)
    assert known(one, JULIET, NURSE) == [True, False]


def test_logins_while_redis_is_away_are_announced_later_also_after_a_restart(
    machine: Machines, spinner: Spinner
) -> None:
    one, two = machine("one"), machine("two")
    two.announce(ROMEO)
    spinner.until(lambda: known(one, ROMEO) == [True])
    one.cut()
    for jid in (JULIET, NURSE, ROMEO):
        one.users.remember(jid)
    two.announce(NURSE)
    two.forget(NURSE)
    one.stop()
    one.start()
    spinner.until(lambda: known(two, JULIET) == [True])
    spinner.until(lambda: known(one, NURSE) == [False])
    assert known(one, JULIET, ROMEO) == [True, True], "the removal that machine one did not know of is newer"
    one.users.remember(NURSE)
    spinner.until(lambda: known(two, NURSE) == [True])


def test_a_removal_of_an_unknown_user_is_newer_than_a_login_before(machine: Machines, spinner: Spinner) -> None:
    """``DELETE /users`` of a user who logs in at the same time at another machine: the login is announced later."""
    one, two = machine("one"), machine("two")
    one.cut()
    one.users.remember(JULIET)
    assert not two.forget(JULIET)
    one.connect()
    spinner.until(lambda: known(one, JULIET) == [False])


def test_a_removal_between_reading_and_pushing_a_login_is_newer(machine: Machines, spinner: Spinner) -> None:
    one, two = machine("one"), machine("two")
    two.forget(JULIET)
    spinner.result(RedisUsers(one.client, one.file).remember([(JULIET, 0), (NURSE, 0)]))
    assert known(one, JULIET, NURSE) == [False, True]
    spinner.until(lambda: known(two, JULIET, NURSE) == [False, True])


def test_the_files_restore_a_redis_that_is_empty(machine: Machines, spinner: Spinner, server: RedisServer) -> None:
    one, two = machine("one"), machine("two")
    one.announce(*MANY)
    two.forget(*MANY[:10])
    spinner.until(lambda: not any(known(one, *MANY[:10])) and all(known(two, *MANY[10:])))
    server.command("FLUSHALL")
    spinner.until(lambda: server.command("ZCARD", USERS) == 1000)
    three = machine("three")
    spinner.until(lambda: all(known(three, *MANY[10:])) and not three.file.progress().unfinished)
    assert not any(known(three, *MANY[:10])) and len(three.file.portion("", 2000)) == 1000


def test_the_files_restore_users_that_are_deleted_in_redis(
    machine: Machines, spinner: Spinner, server: RedisServer
) -> None:
    machine("one").announce(JULIET)
    server.command("DEL", USERS)
    spinner.until(lambda: server.command("ZCARD", USERS) == 1)


def test_a_machine_reads_what_another_one_restores_before_its_cursor(machine: Machines, spinner: Spinner) -> None:
    """Machine two has read a newer change before machine one brings an older one back."""
    one, two = machine("one"), machine("two")
    one.cut()
    two.announce(JULIET)
    spinner.until(lambda: two.file.progress().cursor > 0)
    one.file.apply([(NURSE, 20), (ROMEO, 23)])
    SQLiteKnownUsers(one.path).close()  # all is exchanged again
    one.connect()
    spinner.until(lambda: known(two, NURSE) == [True] and len(two.file.portion("", 9)) == 3)
    assert known(two, JULIET, NURSE, ROMEO) == [True, True, False]


def test_a_removal_that_comes_back_is_older_than_an_announcement_after_the_loss(
    machine: Machines, spinner: Spinner, server: RedisServer
) -> None:
    one, two = machine("one"), machine("two")
    one.announce(JULIET)
    spinner.until(lambda: known(two, JULIET) == [True])
    one.cut()
    two.forget(JULIET)
    two.cut()
    server.command("FLUSHALL")
    one.connect()
    spinner.until(lambda: server.command("ZCARD", USERS) == 1)
    assert one.announce(JULIET) == 0
    two.connect()
    spinner.until(lambda: known(two, JULIET) == [True])
    assert known(one, JULIET) == [True]


def test_a_machine_reads_all_if_the_events_that_it_missed_are_gone(
    machine: Machines, spinner: Spinner, server: RedisServer
) -> None:
    one, two = machine("one"), machine("two")
    one.announce(JULIET)
    spinner.until(lambda: known(two, JULIET) == [True])
    two.cut()
    server.command("ZADD", USERS, 20, NURSE)
    server.command("HSET", STATE, "events", 5000)
    two.connect()
    spinner.until(lambda: known(two, NURSE) == [True])


def test_a_new_announcement_overtakes_what_a_machine_has_to_read_again(
    machine: Machines, spinner: Spinner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followusers, "PAGE", 10)
    one = machine("one")
    one.announce(*MANY)
    two = machine("two")
    spinner.until(lambda: two.file.progress().epoch)
    one.announce(JULIET)
    spinner.until(lambda: known(two, JULIET) == [True])
    assert len(two.file.portion("", 2000)) < 1000, "it has not read all"


def test_the_users_of_a_machine_that_begins_to_share_are_announced(
    machine: Machines, spinner: Spinner, tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir(mode=0o700)
    alone = SQLiteKnownUsers(tmp_path / "one" / "users.sqlite")
    spinner.result(alone.announce([*MANY, JULIET]))
    alone.close()
    two = machine("two")
    two.announce(NURSE)
    two.forget(JULIET)
    one = machine("one")
    spinner.until(lambda: all(known(two, *MANY)) and known(one, JULIET, NURSE) == [False, True])
    assert one.file._run("SELECT count(*) FROM users WHERE score = 0") == [(0,)]


def test_two_processes_of_a_machine_share_the_work(
    machine: Machines, spinner: Spinner, monkeypatch: pytest.MonkeyPatch, pages: dict[SharedUsersFile, list[Reply]]
) -> None:
    monkeypatch.setattr(followusers, "PAGE", 20)
    one, first, second = machine("one"), machine("two"), machine("two")
    one.announce(*MANY)
    spinner.until(lambda: all(known(first, *MANY)) and all(known(second, *MANY)))
    read = [sum(len(reply.page) for reply in pages[node.file]) for node in (first, second)]
    assert 1000 <= sum(read) < 1500, read
    assert first.file.progress() == second.file.progress()


def test_a_full_redis_takes_nothing_and_machines_go_on_reading(
    machine: Machines,
    spinner: Spinner,
    server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    pages: dict[SharedUsersFile, list[Reply]],
) -> None:
    monkeypatch.setattr(followusers, "POLL_INTERVAL", 0.01)
    one, two = machine("one"), machine("two")
    one.announce(JULIET)
    with logging() as logged:
        server.command("CONFIG", "SET", "maxmemory", 1)
        try:
            with pytest.raises(StoreError, match="OOM"):
                one.announce(*MANY)
            one.users.remember(NURSE)
            spinner.until(lambda: known(two, JULIET) == [True])
            attempts = len(pages[one.file])
            spinner.until(lambda: len(pages[one.file]) > attempts + 3)
        finally:
            server.command("CONFIG", "SET", "maxmemory", 0)
        assert not any(known(one, *MANY))
        spinner.until(lambda: known(two, NURSE) == [True])
    lines = [line for line in logged if "known users are not exchanged" in line]
    assert len(lines) == 1, "once, not with each attempt"
