"""A site with a simulated connection manager, for random requests. See test_request_fuzz.py."""

import json
from dataclasses import dataclass
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import StringTransport
from twisted.web.http_headers import Headers

from tests.app.configfuzz import QuietReactor
from tests.sessions.fakemanager import FakeManager, body
from tests.support import work_at_once
from tests.web.interface import FakeMetrics, allows
from warmside.bosh.body import decode
from warmside.bosh.runner import Runtime
from warmside.bosh.transport import ConnectionManager, Response
from warmside.config.settings import Bosh
from warmside.jids import prepare
from warmside.sessions.accounts import UserAccounts
from warmside.sessions.ending import SessionEnder
from warmside.sessions.hosts import BoshHost
from warmside.sessions.passwords import OneTimePasswords, Stores
from warmside.sessions.warmer import Warmer
from warmside.store.accepted import AcceptedPasswords
from warmside.store.ends import SQLiteEnds
from warmside.store.sqlite import SQLiteFailureCounters, SQLiteKnownUsers, SQLiteStore
from warmside.store.verdicts import SQLiteVerdicts
from warmside.throttle.throttle import Throttle
from warmside.web.admins import AdminDirectory, AdminRealm
from warmside.web.audited import Access
from warmside.web.authenticator import AdminAuthenticator
from warmside.web.checker import AdminChecker
from warmside.web.negotiate import PROBLEM_JSON
from warmside.web.problems import PROBLEMS
from warmside.web.resources import resource_tree
from warmside.web.site import BoundedSite

STATUSES = {200, *PROBLEMS.values()} - {500}
"""Statuses that a request may lead to."""
ADMIN = "webapp"
MAX_SECONDS = 400
"""Seconds of simulated time within which every request has to be answered."""


class Unexpected(AssertionError):
    """The reply to a request is none of those that the interface describes."""


class DirectManager(ConnectionManager):
    """A connection manager that `FakeManager` answers for at once, without a network."""

    def __init__(self, clock: QuietReactor, store: SQLiteStore) -> None:
        super().__init__(clock, "http://127.0.0.1/bosh", 8)
        self.fake = FakeManager(store)

    def post(self, body: bytes, headers: Headers) -> "Deferred[Response]":
        """See `ConnectionManager.post`."""
        return succeed(Response(200, self._answer(body)))

    def _answer(self, sent: bytes) -> bytes:
        received = decode(sent)
        sid = received.attributes.get("sid", "")
        kind = self.fake._kind(received, sid)
        if kind not in ("create", "terminate") and sid not in self.fake.alive:
            return body(attributes="type='terminate' condition='item-not-found'")
        self.fake.seen.append(kind)
        if kind == "other" and any(element.name == "iq" for element in received.elements):
            results = [each for each in received.elements if each.name == "iq"]
            return body("".join(f"<iq xmlns='jabber:client' type='result' id='{each['id']}'/>" for each in results))
        return self.fake._response(kind, received, sid).replace(b" inactivity=", b" maxpause='120' inactivity=")


class InstantHashes:
    """Accepts one password for every hash, without bcrypt."""

    check_time = 0.0

    def check(
        self, password: bytes, hashed: bytes, *, slowed: bool = False, address: str | None = None
    ) -> "Deferred[bool]":
        """See `Bcrypt.check`."""
        return succeed(password == b"right")


class World:
    """A site with the real resources, throttle, stores and logins. Its time passes only in `send`."""

    def __init__(self) -> None:
        self.clock = QuietReactor()
        store = SQLiteStore(None)
        throttle = Throttle(self.clock, SQLiteFailureCounters(None), AcceptedPasswords(None))
        host = BoshHost(Bosh("http://127.0.0.1/bosh", None, None, 10.0, 8), DirectManager(self.clock, store))
        runtime = Runtime(self.clock, work_at_once)
        passwords = OneTimePasswords(store, 30)
        stores = Stores(passwords, passwords, SQLiteVerdicts(None), SQLiteEnds(None))
        users = SQLiteKnownUsers(None)
        self.warmer = Warmer(runtime, lambda _: host, stores, throttle, users.remember)
        file: Any = type("File", (), {"content": {ADMIN: b"hash"}})()
        directory = AdminDirectory(file, frozenset({"boss@example.org"}))
        hashes: Any = InstantHashes()
        checker = AdminChecker(
            directory, throttle, hashes, lambda name, password: self.warmer.check_password(prepare(name), password)
        )
        metrics: Any = FakeMetrics()
        access = Access(AdminAuthenticator(Portal(AdminRealm(), [checker]), directory.knows), allows)
        ender = SessionEnder(self.warmer, stores)
        accounts = UserAccounts(self.clock, users, stores, ender)
        root = resource_tree(access, self.warmer, ender, accounts, 30, metrics, self._check_parts)
        self.site = BoundedSite(root, self.clock)

    async def _check_parts(self) -> dict[str, str]:
        return {"store": "ok"}

    def send(self, data: bytes) -> bytes:
        """Send the bytes of a request on a new connection; return all bytes of the reply."""
        transport: Any = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.7", 1024))
        channel = self.site.buildProtocol(IPv4Address("TCP", "192.0.2.7", 1024))
        channel.makeConnection(transport)
        channel.dataReceived(data)
        waited = 0.0
        while not _final(transport.value()) and not transport.disconnecting and waited < MAX_SECONDS:
            self.clock.advance(0.25)
            waited += 0.25
        return _final(transport.value())


def _final(data: bytes) -> bytes:
    """Return the bytes of a connection after ``100 Continue``."""
    return data.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")


@dataclass(frozen=True)
class Reply:
    """The parts of a reply that are checked."""

    status: int
    headers: dict[str, str]
    body: bytes


def parse(data: bytes) -> Reply:
    """Parse the first reply in the bytes of a connection.

    :raises Unexpected: there is none.
    """
    head, separator, rest = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    if not separator or not lines[0].startswith("HTTP/1."):
        raise Unexpected(f"not a reply: {data[:200]!r}")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return Reply(int(lines[0].split(" ")[1]), headers, rest[: int(headers.get("content-length", "0"))])


def check(data: bytes) -> int:
    """Return the status of a reply.

    :raises Unexpected: the status, a header or the problem is none that the interface describes.
    """
    reply = parse(data)
    if reply.status not in STATUSES:
        raise Unexpected(f"status {reply.status}: {data[:1000]!r}")
    for name in ("cache-control", "x-content-type-options", "referrer-policy", "x-request-id", "content-length"):
        if name not in reply.headers:
            raise Unexpected(f"no {name}: {data[:500]!r}")
    if reply.status in (429, 503, 504) and not reply.headers.get("retry-after", "").isdigit():
        raise Unexpected(f"no Retry-After: {data[:500]!r}")
    if reply.headers["content-type"] == PROBLEM_JSON and reply.body:
        problem = json.loads(reply.body)
        name = problem["type"].removeprefix("urn:warmside:")
        if PROBLEMS.get(name) != reply.status or problem["status"] != reply.status:
            raise Unexpected(f"problem {problem!r} with status {reply.status}")
    elif reply.status >= 400 and reply.headers["content-type"] not in (
        "text/html; charset=utf-8", "application/xhtml+xml", "text/plain; charset=utf-8", PROBLEM_JSON,
    ):  # fmt: skip
        raise Unexpected(f"an error of type {reply.headers['content-type']}")
    return reply.status
