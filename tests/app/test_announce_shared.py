"""``warmside announce`` with ``shared.url``: through Redis, to all machines."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.test_announce import JULIET, Place
from tests.redisserver import RedisServer, running_server
from tests.store.nodes import Node, Spinner

JIDS = [f"user{number}@example.org" for number in range(2500)]


server = pytest.fixture(scope="module")(running_server)


@pytest.fixture
def place(tmp_path: Path, server: RedisServer) -> Place:
    server.command("FLUSHALL")
    place = Place(tmp_path)
    place.write(f'[shared]\nurl = "redis+unix://{server.path}"\n')
    return place


@pytest.fixture
def other(tmp_path: Path, server: RedisServer) -> Iterator[tuple[Node, Spinner]]:
    """Return another machine, and the reactor that it needs."""
    spinner = Spinner()
    (tmp_path / "other").mkdir(mode=0o700)
    node = Node(spinner, server, tmp_path / "other" / "users.sqlite")
    yield node, spinner
    node.stop()
    spinner.close()


def blocks_interrupts(status: Path) -> bool:
    """Return True if a thread blocks SIGINT."""
    blocked = re.search(r"SigBlk:\s*(\w+)", status.read_text())
    assert blocked is not None
    return bool(int(blocked[1], 16) >> (signal.SIGINT - 1) & 1)


def test_users_are_announced_to_all_machines(place: Place, other: tuple[Node, Spinner]) -> None:
    node, spinner = other
    assert node.announce(JIDS[0]) == 1
    status, output, errors = place.run("\n".join(JIDS))
    assert (status, output, errors) == (0, f"2500 users announced, 2499 of them new, in {place.file} and Redis\n", "")
    assert all(place.known(JIDS))
    spinner.until(lambda: node.users.exists(JIDS[-1]))
    assert all(map(node.users.exists, JIDS))


def test_redis_that_is_away_is_named_and_nothing_is_done(place: Place) -> None:
    place.write('[shared]\nurl = "redis+unix:///nonexistent/redis.sock"\n')
    status, output, errors = place.run(JULIET)
    assert (status, output) == (1, "") and len(errors.splitlines()) == 1
    assert "Redis can't be used: away: " in errors and "0 users announced" in errors
    assert place.known([JULIET]) == [False]


def test_an_interrupt_while_lines_are_read_ends_the_command(place: Place, other: tuple[Node, Spinner]) -> None:
    node, spinner = other
    process = place.start()
    process.stdin.write("".join(f"{jid}\n" for jid in JIDS[:1500]).encode())
    process.stdin.flush()
    spinner.until(lambda: node.users.exists(JIDS[999]))
    threads = {int(task.name): task / "status" for task in Path(f"/proc/{process.pid}/task").iterdir()}
    spinner.until(lambda: not blocks_interrupts(threads[process.pid]))
    others = [blocks_interrupts(status) for thread, status in threads.items() if thread != process.pid]
    assert others and all(others), "an interrupt reaches the thread that reads lines"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and output == b""
    assert errors.decode() == (
        "warmside: interrupted. 1000 users announced, 1000 of them new; run the command again to announce all\n"
    )


def test_another_authority_on_users_is_named(place: Place) -> None:
    place.write('[extauth]\nusers = "any"\n[shared]\nurl = "redis+unix:///nonexistent/redis.sock"\n')
    status, output, errors = place.run(JULIET)
    assert (status, output) == (2, "") and "extauth.users" in errors


def test_a_password_file_that_is_missing_is_named(place: Place, server: RedisServer) -> None:
    place.write(f'[shared]\nurl = "redis+unix://{server.path}"\npassword_file = "/nonexistent/password"\n')
    status, output, errors = place.run(JULIET)
    assert (status, output) == (2, "") and "shared.password_file" in errors and len(errors.splitlines()) == 1


def test_a_file_that_cannot_be_opened_is_named(place: Place, server: RedisServer) -> None:
    place.write(f'[extauth]\nusers_file = "/nonexistent/x"\n[shared]\nurl = "redis+unix://{server.path}"\n')
    status, output, errors = place.run(JULIET)
    assert (status, output) == (1, "") and "extauth.users_file" in errors and len(errors.splitlines()) == 1
