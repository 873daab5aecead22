"""Private interfaces of Twisted's HTTP server: each test names the one that a new release has changed."""

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.http import HTTPChannel, Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from warmside.compat.httpserver import InMemoryRequest, ObservableHTTPChannel

HEAD = b"POST /x?a=b HTTP/1.1\r\nHost: x\r\n"


class Page(Resource):
    """Collects the requests, and replies to none."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.requests: list[Any] = []

    def render(self, request: Any) -> int:
        self.requests.append(request)
        return NOT_DONE_YET


class RecordingChannel(ObservableHTTPChannel):
    """Records the hooks that are called; all return False from the one in ``rejecting`` on."""

    max_header_size = 1000

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Any] = []
        self.rejecting = ""
        self.rejected = False

    def header_line_received(self, line: bytes) -> bool:
        self.events.append(("line", line))
        return self.accepts("line")

    def header_received(self, length: int | None) -> bool:
        self.events.append(("header", length))
        return self.accepts("header")

    def body_received(self) -> bool:
        self.events.append("body")
        return self.accepts("body")

    def malformed_received(self) -> None:
        self.events.append("malformed")
        self.rejected = True

    def accepts(self, hook: str) -> bool:
        self.rejected = self.rejected or hook == self.rejecting
        return not self.rejected

    def lineLengthExceeded(self, line: bytes) -> None:
        self.events.append("line too long")


class Connection:
    """A client's end of a connection in memory."""

    def __init__(self) -> None:
        self.page = Page()
        self.clock = Clock()
        site: Any = Site(self.page, requestFactory=InMemoryRequest, reactor=self.clock, timeout=None)
        site.protocol = RecordingChannel
        self.transport = StringTransport()
        self.channel: Any = site.buildProtocol(None)
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> list[Any]:
        """Send bytes; return the events since the last call."""
        self.channel.dataReceived(data)
        events, self.channel.events = self.channel.events, []
        return list(events)


@pytest.fixture
def connection() -> Connection:
    return Connection()


def test_all_overridden_methods_exist() -> None:
    for base, names in (
        (HTTPChannel, ("_respondToBadRequestAndDisconnect", "lineReceived", "lineLengthExceeded")),
        (HTTPChannel, ("allHeadersReceived", "allContentReceived")),
        (Request, ("gotLength", "handleContentChunk", "requestReceived", "process", "startedWriting")),
    ):
        for name in names:
            assert hasattr(base, name), f"{base.__name__}.{name} is gone"
    for name in ("requests", "_handlingRequest", "length", "persistent"):
        assert hasattr(HTTPChannel(), name), f"HTTPChannel.{name} is gone"


def test_a_request_is_reported_step_by_step(connection: Connection) -> None:
    channel = connection.channel
    assert channel.current_request is None and not channel.is_processing
    assert connection.send(HEAD) == [("line", HEAD.split(b"\r\n")[0]), ("line", b"Host: x")], (
        "HTTPChannel.lineReceived has changed"
    )
    assert channel.current_request is not None, "HTTPChannel.requests has changed"
    assert connection.send(b"Content-Length: 4\r\n\r\n")[1:] == [("line", b""), ("header", 4)], (
        "HTTPChannel.allHeadersReceived or HTTPChannel.length has changed"
    )
    assert not channel.is_processing
    assert connection.send(b"abcd") == ["body"], "HTTPChannel.allContentReceived has changed"
    assert channel.is_processing, "HTTPChannel._handlingRequest has changed"
    (request,) = connection.page.requests
    assert channel.current_request is request, "HTTPChannel.requests has changed"
    request.finish()
    assert channel.current_request is None and not channel.is_processing, "HTTPChannel.requestDone has changed"


def test_the_length_of_a_chunked_body_is_none(connection: Connection) -> None:
    events = connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    assert events[-1] == ("header", None), "HTTPChannel.length has changed"


@pytest.mark.parametrize("hook", ["line", "header", "body"])
def test_a_rejected_request_is_not_processed(connection: Connection, hook: str) -> None:
    connection.channel.rejecting = hook
    events = connection.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n")
    assert not connection.page.requests and not connection.channel.is_processing, f"HTTPChannel ignores {events}"
    assert b"100 Continue" not in connection.transport.value() or hook == "body"
    assert (connection.channel.current_request is None) == (hook == "line"), "HTTPChannel.lineReceived has changed"


@pytest.mark.parametrize(
    "data", [b"nonsense\r\n\r\n", HEAD + b"no colon\r\n\r\n", HEAD + b"Content-Length: -1\r\n\r\n"]
)
def test_malformed_requests_are_reported_and_not_answered(connection: Connection, data: bytes) -> None:
    assert "malformed" in connection.send(data), "HTTPChannel._respondToBadRequestAndDisconnect has changed"
    assert connection.transport.value() == b"" and not connection.transport.disconnecting


def test_a_line_over_the_maximum_is_reported(connection: Connection) -> None:
    assert connection.send(HEAD + b"X: " + b"x" * 2000)[-1] == "line too long", "HTTPChannel.MAX_LENGTH has changed"


@pytest.mark.parametrize("header", [b"X: " + b"x" * 900 + b"\r\n", b"X:\r\n" * 250])
def test_twisteds_own_limits_are_not_reached_first(connection: Connection, header: bytes) -> None:
    events = connection.send(HEAD + header + b"Content-Length: 0\r\n\r\n")
    assert "malformed" not in events, "HTTPChannel.maxHeaders or HTTPChannel.totalHeadersSize has changed"
    assert events[-1] == "body"


@pytest.mark.parametrize("started", [False, True])
def test_a_connection_closes_after_the_request_that_is_the_last(connection: Connection, started: bool) -> None:
    connection.send(HEAD + b"Content-Length: 0\r\n\r\n")
    (request,) = connection.page.requests
    if started:
        request.write(b"x")
    connection.channel.close_after(request)
    assert not connection.transport.disconnecting
    request.finish()
    assert connection.transport.disconnecting, "HTTPChannel.persistent has changed"
    announced = b"Connection: close" in connection.transport.value()
    assert announced is not started, "Request.startedWriting has changed"


def test_calls_are_scheduled_on_the_reactor_of_the_site(connection: Connection) -> None:
    calls: list[int] = []
    connection.channel.call_later(5, calls.append, 1)
    connection.clock.advance(5)
    assert calls == [1], "HTTPFactory.buildProtocol no longer sets HTTPChannel.callLater"


def test_a_body_stays_in_memory_and_its_form_is_not_parsed(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", None)  # Twisted's calls fail
    body = b"a=" + b"b" * 200_000
    form = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n" % len(body)
    connection.send(HEAD + form + body)
    (request,) = connection.page.requests
    assert request.content.read() == body, "Request.gotLength or Request.handleContentChunk has changed"
    assert (request.method, request.uri, request.path) == (b"POST", b"/x?a=b", b"/x")
    assert request.args == {}, "Request.requestReceived has changed"


def test_a_request_rejects_parts_of_its_body_and_changes_its_target(connection: Connection) -> None:
    class Request(InMemoryRequest):
        def accept_chunk(self, data: bytes) -> bool:
            return data != b"reject"

        def prepare_target(self, target: bytes) -> bytes:
            return b"/y" + target[2:]

    connection.channel.requestFactory = Request
    chunks = b"6\r\nreject\r\n", b"6\r\naccept\r\n", b"0\r\n\r\n"
    connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for chunk in chunks:
        connection.send(chunk)
    (request,) = connection.page.requests
    assert (request.content.read(), request.path) == (b"accept", b"/y")
