"""The relay: each request gets one response, in order, whatever the daemon does."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.extauth.relayworld import World, unread
from tests.extauth.support import frame
from warmside.extauth import relay
from warmside.extauth.frames import ACCEPTED, ONE_TIME_PREFIX, REJECTED
from warmside.extauth.relay import RECONNECT_TIMEOUT, RESPONSE_TIMEOUT
from warmside.extauth.relaycommand import parse_address
from warmside.otp import PREFIX

ONE_TIME = f"auth:juliet:example.org:{PREFIX}x".encode()
ISUSER = b"isuser:a:h"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    worlds: list[World] = []
    monkeypatch.setattr(relay, "time", SimpleNamespace(monotonic=lambda: worlds[0].seconds if worlds else 0.0))
    worlds.append(World(tmp_path))
    yield worlds[0]
    worlds[0].close()


def test_requests_and_responses_are_carried_in_order(world: World) -> None:
    world.accept()
    world.send(b"auth:a:h:x", b"isuser:b:h", b"nonsense", b"")
    assert [world.request() for _ in range(4)] == [b"auth:a:h:x", b"isuser:b:h", b"nonsense", b""]
    world.respond(ACCEPTED + REJECTED)
    world.respond(REJECTED[:3])
    assert world.responses(2) == [ACCEPTED, REJECTED]
    world.respond(REJECTED[3:] + ACCEPTED)
    assert world.responses(2) == [REJECTED, ACCEPTED]


def test_frames_may_be_cut_anywhere(world: World) -> None:
    world.accept()
    for byte in frame(b"auth:a:h:" + b"x" * 300) + frame(b"isuser:b:h"):
        os.write(world.stdin, bytes([byte]))
        world.settle()
    assert world.request() == b"auth:a:h:" + b"x" * 300
    assert world.request() == b"isuser:b:h"
    for byte in ACCEPTED + REJECTED:
        world.respond(bytes([byte]))
        world.settle()
    assert world.responses(2) == [ACCEPTED, REJECTED]


def test_repeatable_requests_are_sent_again_and_others_rejected_in_order(world: World) -> None:
    world.accept()
    requests = [ISUSER, ONE_TIME, b"auth:b:h:pass", b"tryregister:c:h:p", b"setpass:d:h:p", b"removeuser:e:h"]
    world.send(*requests)
    assert [world.request() for _ in requests] == requests
    world.hang_up()
    world.accept()
    assert [world.request() for _ in range(3)] == [ISUSER, b"auth:b:h:pass", b"setpass:d:h:p"]
    assert world.no_response()
    world.respond(ACCEPTED * 3)
    assert world.responses(6) == [ACCEPTED, REJECTED] * 3


def test_a_pending_one_time_password_is_rejected_at_once_when_the_daemon_stops(world: World) -> None:
    world.accept()
    world.send(ONE_TIME)
    assert world.request() == ONE_TIME
    world.stop()
    stopped = world.seconds
    assert world.responses(1) == [REJECTED]
    assert world.seconds == stopped
    assert PREFIX.encode() == ONE_TIME_PREFIX


def test_a_response_that_came_before_the_connection_broke_is_passed_on(world: World) -> None:
    world.accept()
    world.send(ONE_TIME, ISUSER)
    world.request()
    world.respond(ACCEPTED)
    world.hang_up()
    assert world.responses(1) == [ACCEPTED]
    world.accept()
    assert world.request() == ISUSER
    world.respond(ACCEPTED)
    assert world.responses(1) == [ACCEPTED]


def test_requests_wait_for_a_daemon_that_restarts(world: World) -> None:
    world.accept()
    world.stop()
    world.settle()
    world.send(ONE_TIME, ISUSER)
    assert world.no_response()
    world.listen()
    world.accept()
    assert [world.request() for _ in range(2)] == [ONE_TIME, ISUSER]
    world.respond(ACCEPTED + REJECTED)
    assert world.responses(2) == [ACCEPTED, REJECTED]


def test_requests_are_rejected_while_the_daemon_is_down_later_ones_at_once(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.accept()
    world.stop()
    world.settle()
    stopped = world.seconds
    world.send(ISUSER)
    assert world.no_response()
    assert world.responses(1) == [REJECTED]
    assert world.seconds == pytest.approx(stopped + RECONNECT_TIMEOUT, abs=0.01)
    world.send(*[ISUSER] * 5)
    rejected = world.seconds
    assert world.responses(5) == [REJECTED] * 5
    assert world.seconds == rejected
    assert capfd.readouterr().err == "test: no connection: No such file or directory\n"


def test_a_request_reaches_a_daemon_that_has_just_started_after_a_long_outage(world: World) -> None:
    world.accept()
    world.stop()
    world.settle()
    world.send(ISUSER)
    assert world.responses(1) == [REJECTED]
    world.settle()
    world.listen()
    world.send(ONE_TIME)
    started = world.seconds
    world.accept()
    assert world.request() == ONE_TIME and world.seconds == started


def test_a_rejected_request_behind_a_late_one_is_answered_with_it(world: World) -> None:
    world.settle()
    world.stop()
    world.relay._disconnect("stopped")
    now = world.seconds = 100.0
    world.relay._down_since, world.relay._next_attempt = now, now + 1
    late, recent = frame(ISUSER), frame(b"isuser:c:h")
    world.relay._pending.extend([(late, now - 2 * RESPONSE_TIMEOUT), (None, now - 1), (recent, now)])
    world.settle()
    assert world.responses(2) == [REJECTED, REJECTED]
    assert [pending for pending, _ in world.relay._pending] == [recent]


def test_the_connection_is_closed_after_a_timeout_and_a_late_response_ignored(world: World) -> None:
    world.accept()
    world.send(ISUSER)
    world.request()
    world.seconds += RESPONSE_TIMEOUT - 1
    world.send(b"isuser:b:h")
    assert world.no_response()
    assert world.responses(1) == [REJECTED]
    with pytest.raises(OSError, match="Broken pipe"):
        world.respond(ACCEPTED)
    world.accept()
    assert world.request() == b"isuser:b:h"
    world.respond(ACCEPTED)
    assert world.responses(1) == [ACCEPTED]


def test_a_connection_that_was_closed_without_a_request_is_opened_again_by_the_next_request(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.accept()
    world.hang_up()
    world.settle()
    with pytest.raises(BlockingIOError):
        world.listener.accept()
    assert world.poll.timeout == pytest.approx(1000 * relay.REMIND_INTERVAL)
    world.seconds += 3600
    world.send(ONE_TIME)
    asked = world.seconds
    world.accept()
    assert world.request() == ONE_TIME and world.seconds == asked
    world.respond(ACCEPTED)
    assert world.responses(1) == [ACCEPTED]
    world.hang_up()
    world.settle()
    world.accept()
    assert capfd.readouterr().err == "test: the daemon closed the connection\ntest: connected\n"


def test_requests_wait_for_a_daemon_that_went_away_while_the_relay_rested(world: World) -> None:
    world.accept()
    world.hang_up()
    world.settle()
    world.stop()
    world.seconds += 3600
    world.send(ISUSER)
    assert world.no_response()
    world.listen()
    world.accept()
    assert world.request() == ISUSER


def test_a_relay_without_an_address_rejects_and_reminds_once_a_minute(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    rejecting = world.relay
    rejecting._address, rejecting._name = None, "rejecting: no address"
    for minute in range(1, 4):
        world.settle()
        world.send(ISUSER, b"", b"nonsense")
        assert world.responses(3) == [REJECTED] * 3
        world.settle()
        assert world.poll.timeout == pytest.approx(60_000)
        assert capfd.readouterr().err == "rejecting: no address\n"
        world.seconds = 60.0 * minute


@pytest.mark.parametrize("invalid", [b"\0\2\0\2", b"\0\3\0\1", b"HTTP/1.1 400", ACCEPTED + ACCEPTED])
def test_an_invalid_or_unrequested_response_is_not_passed_on(world: World, invalid: bytes) -> None:
    world.accept()
    world.send(ISUSER)
    world.request()
    world.respond(invalid)
    if invalid == ACCEPTED + ACCEPTED:
        assert world.responses(1) == [ACCEPTED]
        world.send(ISUSER)
    world.accept()
    assert world.request() == ISUSER
    world.respond(REJECTED)
    assert world.responses(1) == [REJECTED]


def test_pending_requests_get_a_response_after_the_end_of_stdin(world: World) -> None:
    world.accept()
    world.send(ISUSER, b"isuser:b:h")
    world.close_stdin()
    world.request()
    assert not world.relay._done()
    world.respond(ACCEPTED + REJECTED)
    assert world.responses(2) == [ACCEPTED, REJECTED]
    assert world.relay._done()


def test_the_relay_ends_soon_after_stdin_without_the_responses(world: World) -> None:
    world.accept()
    world.send(ISUSER)
    world.close_stdin()
    world.request()
    assert not world.relay._done()
    ended = world.seconds
    world.until(world.relay._done)
    assert world.seconds == pytest.approx(ended + relay.EXIT_TIMEOUT, abs=0.01)


def test_too_many_requests_are_left_in_the_pipe(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "MAX_PENDING", 10)
    monkeypatch.setattr(relay, "MAX_READ", 64)
    world.accept()
    requests = [b"isuser:%d:h" % number for number in range(2000)]
    world.send(*requests)
    world.settle()
    assert len(world.relay._pending) < 20 and unread(world.relay._stdin) > 10_000
    for each in requests:
        assert world.request() == each
        world.respond(ACCEPTED)
    assert world.responses(len(requests)) == [ACCEPTED] * len(requests)


@pytest.mark.parametrize(
    ("where", "address"),
    [
        ("/run/x.sock", (socket.AF_UNIX, "/run/x.sock")),
        ("unix:/run/x.sock:mode=660", (socket.AF_UNIX, "/run/x.sock")),
        ("tcp:5283", (socket.AF_INET, ("127.0.0.1", 5283))),
        ("tcp:5283:interface=127.0.0.1", (socket.AF_INET, ("127.0.0.1", 5283))),
        ("tcp:x", None),
        ("relative", None),
        ("", None),
    ],
)
def test_a_socket_is_given_as_a_path_or_as_in_extauth_listen(where: str, address: object) -> None:
    assert parse_address(where) == address
