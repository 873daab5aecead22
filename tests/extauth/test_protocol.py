"""The extauth protocol: every frame gets one response, in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from tests.extauth.support import frame
from tests.support import logging
from warmside.extauth.authorities import Answer, Authority, AuthorityUnavailable, IAuthority
from warmside.extauth.frames import ACCEPTED, REJECTED
from warmside.extauth.handlers import AuthorityAdapter, RequestHandler
from warmside.extauth.protocol import RESPONSE_TIMEOUT, ExtauthProtocol
from warmside.extauth.request import ExtauthRequest, MalformedRequest
from warmside.store.interface import StoreError


class Recorder(Authority):
    """Accepts the password ``pass:word`` and records the calls. User ``later`` gets a Deferred."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, bytes]] = []
        self.pending: list[Deferred[bool]] = []

    def auth(self, user: str, host: str, password: bytes) -> Answer:
        self.calls.append((user, host, password))
        if user == "later":
            self.pending.append(Deferred())
            return self.pending[-1]
        if user == "broken":
            raise StoreError("the store failed")
        return password == b"pass:word"


def connected(authority: IAuthority) -> tuple[ExtauthProtocol, StringTransport]:
    handler = AuthorityAdapter(authority)
    protocol = ExtauthProtocol(lambda: handler)
    transport = StringTransport()
    protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
    return protocol, transport


def responses(*payloads: bytes, authority: IAuthority | None = None) -> list[bytes]:
    protocol, transport = connected(authority or Recorder())
    protocol.dataReceived(b"".join(map(frame, payloads)))
    value = transport.value()
    return [value[at : at + 4] for at in range(0, len(value), 4)]


def test_a_password_may_hold_colons() -> None:
    assert responses(b"auth:juliet:example.org:pass:word", b"auth:juliet:example.org:pass") == [ACCEPTED, REJECTED]


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
def test_any_other_frame_is_rejected_and_the_next_request_answered(payload: bytes) -> None:
    assert responses(payload, b"auth:juliet:example.org:pass:word") == [REJECTED, ACCEPTED]


def test_a_password_need_not_be_utf_8() -> None:
    recorder = Recorder()
    assert responses(b"auth:juliet:example.org:\xff:\xfe", authority=recorder) == [REJECTED]
    assert recorder.calls == [("juliet", "example.org", b"\xff:\xfe")]


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 7))
def test_frames_cut_anywhere_get_one_response_each(payloads: list[bytes], size: int) -> None:
    protocol, transport = connected(Recorder())
    stream = b"".join(map(frame, [*payloads, b"auth:juliet:example.org:pass:word"]))
    for at in range(0, len(stream), size):
        protocol.dataReceived(stream[at : at + size])
    assert len(transport.value()) == 4 * (len(payloads) + 1)
    assert transport.value().endswith(ACCEPTED)


def test_responses_wait_for_an_earlier_one() -> None:
    recorder = Recorder()
    protocol, transport = connected(recorder)
    protocol.dataReceived(frame(b"auth:later:example.org:x") + frame(b"auth:juliet:example.org:pass:word"))
    protocol.dataReceived(frame(b"auth:juliet:example.org:wrong"))
    assert transport.value() == b""
    recorder.pending[0].callback(False)
    assert transport.value() == REJECTED + ACCEPTED + REJECTED


def test_half_a_frame_delays_no_response() -> None:
    protocol, transport = connected(Recorder())
    protocol.dataReceived(frame(b"auth:juliet:example.org:pass:word") + b"\x00")
    assert transport.value() == ACCEPTED


def test_reading_stops_while_too_much_is_buffered() -> None:
    recorder = Recorder()
    protocol, transport = connected(recorder)
    protocol.dataReceived(frame(b"auth:later:example.org:x"))
    request = frame(b"auth:juliet:example.org:pass:word")
    count = 300_000 // len(request)
    protocol.dataReceived(request * count)
    assert transport.producerState == "paused"
    recorder.pending[0].callback(True)
    assert transport.producerState == "producing"
    assert transport.value() == ACCEPTED * (count + 1)


def test_a_failing_authority_rejects_and_the_log_has_no_password() -> None:
    with logging() as logged:
        recorder = Recorder()
        protocol, transport = connected(recorder)
        protocol.dataReceived(frame(b"auth:broken:example.org:geheim") + frame(b"auth:later:example.org:geheim"))
        recorder.pending[0].errback(ValueError("unforeseen"))
        protocol.dataReceived(frame(b"auth:juliet:example.org:pass:word"))
    assert transport.value() == REJECTED + REJECTED + ACCEPTED
    assert any("the store failed" in line for line in logged)
    assert not any("geheim" in line for line in logged)


def test_only_true_accepts() -> None:
    class Odd(Authority):
        def auth(self, user: str, host: str, password: bytes) -> Answer:
            return 1  # type: ignore[return-value]

    assert responses(b"auth:juliet:example.org:x", authority=Odd()) == [REJECTED]


def test_a_request_is_rejected_before_ejabberd_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, recorder = Clock(), Recorder()
    monkeypatch.setattr("warmside.extauth.protocol.call_later", clock.callLater)
    protocol, transport = connected(recorder)
    protocol.dataReceived(frame(b"auth:later:example.org:x") + frame(b"auth:juliet:example.org:pass:word"))
    clock.advance(RESPONSE_TIMEOUT - 1)
    assert transport.value() == b""
    clock.advance(1)
    assert transport.value() == REJECTED + ACCEPTED
    recorder.pending[0].callback(True)
    assert transport.value() == REJECTED + ACCEPTED
    assert RESPONSE_TIMEOUT < 30


def test_an_unavailable_authority_rejects_and_is_not_logged_again() -> None:
    class Down(Authority):
        def auth(self, user: str, host: str, password: bytes) -> Answer:
            raise AuthorityUnavailable

        def isuser(self, user: str, host: str) -> Answer:
            return fail(AuthorityUnavailable())

    with logging() as logged:
        assert responses(b"auth:juliet:example.org:x", b"isuser:juliet:example.org", authority=Down()) == [
            REJECTED,
            REJECTED,
        ]
    assert logged == []


def test_without_a_handler_the_stream_is_closed_without_a_response() -> None:
    protocol = ExtauthProtocol(lambda: None)
    transport = StringTransport()
    protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
    protocol.dataReceived(frame(b"auth:juliet:example.org:x") * 2)
    assert transport.value() == b"" and transport.disconnecting


def test_a_request_that_is_pending_at_the_end_is_left_to_another_process() -> None:
    recorder = Recorder()
    handlers: list[RequestHandler | None] = [AuthorityAdapter(recorder)]
    protocol = ExtauthProtocol(lambda: handlers[0])
    transport = StringTransport()
    protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
    protocol.dataReceived(frame(b"auth:later:example.org:x"))
    handlers[0] = None
    protocol.finish()
    assert not transport.disconnecting
    recorder.pending[0].errback(AuthorityUnavailable())
    assert transport.value() == b"" and transport.disconnecting


def test_each_response_is_counted_after_it_is_written() -> None:
    counted: list[tuple[str, bool]] = []

    def count(request: ExtauthRequest | None, accepted: bool) -> None:
        assert transport.value() == ACCEPTED + REJECTED + REJECTED, "ejabberd waits for the response only"
        counted.append((request.operation if request else "", accepted))

    protocol, transport = ExtauthProtocol(lambda: AuthorityAdapter(Recorder()), count=count), StringTransport()
    protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
    payloads = (b"auth:juliet:example.org:pass:word", b"isuser:juliet:example.org", b"nonsense")
    protocol.dataReceived(b"".join(map(frame, payloads)))
    assert counted == [("auth", True), ("isuser", False), ("", False)]


def test_no_password_is_shown() -> None:
    assert "geheim" not in repr(ExtauthRequest.parse(b"auth:juliet:example.org:geheim"))
    with pytest.raises(MalformedRequest) as malformed:
        ExtauthRequest.parse(b"geheim:juliet:example.org:geheim")
    assert "geheim" not in str(malformed.value)


class Ends:
    """Records how a stream ends."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.recorder = Recorder()
        self.protocol = ExtauthProtocol(
            lambda: AuthorityAdapter(self.recorder),
            lambda: self.events.append("ended"),
            lambda: self.events.append("closed"),
        )
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)  # type: ignore[no-untyped-call]


def test_the_last_request_gets_a_response_after_the_end_of_input() -> None:
    ends = Ends()
    ends.protocol.dataReceived(frame(b"auth:later:example.org:x") + frame(b"auth:juliet:example.org:pass:word"))
    ends.protocol.readConnectionLost()
    assert ends.events == ["ended"] and not ends.transport.disconnecting
    ends.recorder.pending[0].callback(True)
    assert ends.transport.value() == ACCEPTED + ACCEPTED
    assert ends.transport.disconnecting
    ends.protocol.connectionLost()
    assert ends.events == ["ended", "closed"]


@pytest.mark.parametrize("order", ["wr", "rw", "w", "wrc", "rwc", "c"])
def test_a_stream_ends_once_in_any_order_of_events(order: str) -> None:
    ends = Ends()
    for end in order:
        if end == "w":
            ends.protocol.writeConnectionLost()
        elif end == "r":
            ends.protocol.readConnectionLost()
        else:
            ends.protocol.connectionLost()
    assert ends.events == ["ended", "closed"]
