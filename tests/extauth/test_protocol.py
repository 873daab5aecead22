"""The extauth protocol: every frame gets one answer, in order, whatever is in it."""

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from tests.support import logging
from warmside.extauth.authorities import Answer, Authority, AuthorityUnavailable, IAuthority
from warmside.extauth.frames import NO, YES
from warmside.extauth.protocol import ANSWER_TIME, ExtauthProtocol
from warmside.extauth.request import ExtauthRequest, MalformedRequest
from warmside.extauth.server import ExtauthFactory
from warmside.store.interface import StoreError


class Recorder(Authority):
    """Says yes to the password ``pass:word``, and remembers what it was asked; ``later`` answers slowly."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        self.pending: list[Deferred[bool]] = []

    def auth(self, user: str, host: str, password: bytes) -> Answer:
        self.asked.append((user, host, password))
        if user == "later":
            self.pending.append(Deferred())
            return self.pending[-1]
        if user == "broken":
            raise StoreError("the store failed")
        return password == b"pass:word"


def frame(payload: bytes) -> bytes:
    return pack("!H", len(payload)) + payload


def connected(authority: IAuthority) -> tuple[ExtauthProtocol, StringTransport]:
    protocol = ExtauthProtocol(lambda: authority)
    transport = StringTransport()
    protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
    return protocol, transport


def answers(*payloads: bytes, authority: IAuthority | None = None) -> list[bytes]:
    protocol, transport = connected(authority or Recorder())
    protocol.dataReceived(b"".join(map(frame, payloads)))
    value = transport.value()
    return [value[at : at + 4] for at in range(0, len(value), 4)]


def test_a_password_may_hold_colons() -> None:
    assert answers(b"auth:juliet:example.org:pass:word", b"auth:juliet:example.org:pass") == [YES, NO]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b":",
        b"auth",
        b"auth:juliet",
        b"auth:juliet:example.org",
        b"auth::example.org:pass:word",
        b"auth:juliet::pass:word",
        b"auth:\xff\xfe:example.org:pass:word",
        b"isuser:juliet",
        b"isuser:juliet:example.org:more",
        b"setpass:juliet:example.org:pass:word",
        b"tryregister:juliet:example.org:pass:word",
        b"removeuser:juliet:example.org",
        b"removeuser3:juliet:example.org:pass:word",
        b"certauth:juliet:example.org:CERT",
        b"selfdestruct:juliet:example.org",
        b"AUTH:juliet:example.org:pass:word",
        b"\0" * 65535,
        b"auth:juliet:example.org:" + b"x" * 65000,
    ],
)
def test_what_grants_nothing_is_refused_and_the_next_question_answered(payload: bytes) -> None:
    assert answers(payload, b"auth:juliet:example.org:pass:word") == [NO, YES]


def test_a_password_need_not_be_utf_8() -> None:
    recorder = Recorder()
    assert answers(b"auth:juliet:example.org:\xff:\xfe", authority=recorder) == [NO]
    assert recorder.asked == [("juliet", "example.org", b"\xff:\xfe")]


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 7))
def test_frames_cut_anywhere_are_answered_one_for_one(payloads: list[bytes], size: int) -> None:
    protocol, transport = connected(Recorder())
    stream = b"".join(map(frame, [*payloads, b"auth:juliet:example.org:pass:word"]))
    for at in range(0, len(stream), size):
        protocol.dataReceived(stream[at : at + size])
    assert len(transport.value()) == 4 * (len(payloads) + 1)
    assert transport.value().endswith(YES)


def test_a_slow_answer_keeps_its_place() -> None:
    recorder = Recorder()
    protocol, transport = connected(recorder)
    protocol.dataReceived(frame(b"auth:later:example.org:x") + frame(b"auth:juliet:example.org:pass:word"))
    protocol.dataReceived(frame(b"auth:juliet:example.org:wrong"))
    assert transport.value() == b""
    recorder.pending[0].callback(False)
    assert transport.value() == NO + YES + NO


def test_half_a_frame_holds_nothing_back() -> None:
    protocol, transport = connected(Recorder())
    protocol.dataReceived(frame(b"auth:juliet:example.org:pass:word") + b"\x00")
    assert transport.value() == YES


def test_reading_stops_while_too_much_waits() -> None:
    recorder = Recorder()
    protocol, transport = connected(recorder)
    protocol.dataReceived(frame(b"auth:later:example.org:x"))
    question = frame(b"auth:juliet:example.org:pass:word")
    count = 300_000 // len(question)
    protocol.dataReceived(question * count)
    assert transport.producerState == "paused"
    recorder.pending[0].callback(True)
    assert transport.producerState == "producing"
    assert transport.value() == YES * (count + 1)


def test_a_failure_of_an_authority_is_a_refusal_and_logged_without_the_password() -> None:
    with logging() as logged:
        recorder = Recorder()
        protocol, transport = connected(recorder)
        protocol.dataReceived(frame(b"auth:broken:example.org:geheim") + frame(b"auth:later:example.org:geheim"))
        recorder.pending[0].errback(ValueError("unforeseen"))
        protocol.dataReceived(frame(b"auth:juliet:example.org:pass:word"))
    assert transport.value() == NO + NO + YES
    assert any("the store failed" in line for line in logged)
    assert not any("geheim" in line for line in logged)


def test_only_true_is_yes() -> None:
    class Odd(Authority):
        def auth(self, user: str, host: str, password: bytes) -> Answer:
            return 1  # type: ignore[return-value]

    assert answers(b"auth:juliet:example.org:x", authority=Odd()) == [NO]


def test_an_answer_that_never_comes_is_a_no_before_ejabberd_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, recorder = Clock(), Recorder()
    monkeypatch.setattr("warmside.extauth.protocol.call_later", clock.callLater)
    protocol, transport = connected(recorder)
    protocol.dataReceived(frame(b"auth:later:example.org:x") + frame(b"auth:juliet:example.org:pass:word"))
    clock.advance(ANSWER_TIME - 1)
    assert transport.value() == b""
    clock.advance(1)
    assert transport.value() == NO + YES
    recorder.pending[0].callback(True)
    assert transport.value() == NO + YES
    assert ANSWER_TIME < 30


def test_an_authority_that_is_down_means_no_and_is_not_logged_again() -> None:
    class Down(Authority):
        def auth(self, user: str, host: str, password: bytes) -> Answer:
            raise AuthorityUnavailable

        def isuser(self, user: str, host: str) -> Answer:
            return fail(AuthorityUnavailable())

    with logging() as logged:
        assert answers(b"auth:juliet:example.org:x", b"isuser:juliet:example.org", authority=Down()) == [NO, NO]
    assert logged == []


def test_without_an_authority_nothing_is_answered_and_the_stream_is_closed() -> None:
    protocol = ExtauthProtocol(lambda: None)
    transport = StringTransport()
    protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
    protocol.dataReceived(frame(b"auth:juliet:example.org:x") * 2)
    assert transport.value() == b"" and transport.disconnecting


def test_a_question_under_way_when_all_is_over_is_left_to_another_process() -> None:
    recorder = Recorder()
    authorities: list[IAuthority | None] = [recorder]
    protocol = ExtauthProtocol(lambda: authorities[0])
    transport = StringTransport()
    protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
    protocol.dataReceived(frame(b"auth:later:example.org:x"))
    authorities[0] = None
    protocol.finish()
    assert not transport.disconnecting
    recorder.pending[0].errback(AuthorityUnavailable())
    assert transport.value() == b"" and transport.disconnecting


def test_a_daemon_that_ends_refuses_no_question_that_a_relay_can_ask_again() -> None:
    recorder = Recorder()
    factory = ExtauthFactory(recorder, only_asking=False, count=lambda question, yes: None, changed=lambda: None)
    protocol, transport = factory.buildProtocol(None), StringTransport()
    assert protocol is not None
    protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
    protocol.write = transport.write
    protocol.dataReceived(frame(b"auth:later:example.org:x"))
    factory.finish()
    recorder.pending[0].errback(AuthorityUnavailable())
    assert transport.value() == b"" and transport.disconnecting


def test_each_answer_is_counted_when_it_is_written() -> None:
    counted: list[tuple[str, bool]] = []

    def count(question: ExtauthRequest | None, yes: bool) -> None:
        assert transport.value() == YES + NO + NO, "ejabberd waits for its answer first"
        counted.append((question.operation if question else "", yes))

    protocol, transport = ExtauthProtocol(Recorder, count=count), StringTransport()
    protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
    payloads = (b"auth:juliet:example.org:pass:word", b"isuser:juliet:example.org", b"nonsense")
    protocol.dataReceived(b"".join(map(frame, payloads)))
    assert counted == [("auth", True), ("isuser", False), ("", False)]


def test_a_question_shows_no_password() -> None:
    assert "geheim" not in repr(ExtauthRequest.parse(b"auth:juliet:example.org:geheim"))
    with pytest.raises(MalformedRequest) as malformed:
        ExtauthRequest.parse(b"geheim:juliet:example.org:geheim")
    assert "geheim" not in str(malformed.value)


class Ends:
    """Notes how a stream ends."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.recorder = Recorder()
        self.protocol = ExtauthProtocol(
            lambda: self.recorder, lambda: self.said.append("ended"), lambda: self.said.append("lost")
        )
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)  # type: ignore[no-untyped-call]


def test_at_the_end_of_questions_the_last_one_is_still_answered() -> None:
    ends = Ends()
    ends.protocol.dataReceived(frame(b"auth:later:example.org:x") + frame(b"auth:juliet:example.org:pass:word"))
    ends.protocol.readConnectionLost()
    assert ends.said == ["ended"] and not ends.transport.disconnecting
    ends.recorder.pending[0].callback(True)
    assert ends.transport.value() == YES + YES
    assert ends.transport.disconnecting
    ends.protocol.connectionLost()
    assert ends.said == ["ended", "lost"]


@pytest.mark.parametrize("order", ["wr", "rw", "w", "wrc", "rwc", "c"])
def test_however_the_stream_ends_it_ends_once(order: str) -> None:
    ends = Ends()
    for end in order:
        if end == "w":
            ends.protocol.writeConnectionLost()
        elif end == "r":
            ends.protocol.readConnectionLost()
        else:
            ends.protocol.connectionLost()
    assert ends.said == ["ended", "lost"]
