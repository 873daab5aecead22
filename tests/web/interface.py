"""A client of the HTTP interface, over the real resource tree without a network."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from ipaddress import ip_network
from typing import Any

from treq.testing import StubTreq
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.web.test.requesthelper import DummyRequest
from zope.interface import implementer

from tests.support import logging, now
from warmside.config.settings import Policy
from warmside.jids import JID, Pattern, PreparedJID
from warmside.otp import OneTimePassword
from warmside.sessions.accounts import UserAccounts
from warmside.sessions.model import WarmRequest, WarmSession
from warmside.sessions.passwords import OneTimePasswords, Stores
from warmside.store.ends import SQLiteEnds
from warmside.store.interface import KnownUsers
from warmside.store.sqlite import SQLiteKnownUsers, SQLiteStore
from warmside.store.verdicts import SQLiteVerdicts
from warmside.web.admins import AdminRealm
from warmside.web.audited import Access
from warmside.web.authenticator import AdminAuthenticator
from warmside.web.hashing import Overloaded
from warmside.web.resources import resource_tree

SESSION = WarmSession(
    jid="juliet@example.org/a<b",
    sid="s&id",
    rid=4711,
    wait=60,
    hold=1,
    requests=2,
    inactivity=30,
    attach_within=30,
    polling=None,
    maxpause=120,
    ver="1.6",
    bosh_url=None,
)
POLICY = Policy(frozenset(), (Pattern.parse("*"),), (Pattern.parse("admin@*"),))
AUTH = ("web", "secret")
MINTED = OneTimePassword.mint()
LIFETIME = 30


def allows(admin: str, bare: str, host: str) -> bool:
    return POLICY.allows(bare, host)


class FakeWarmer:
    """Returns a session or a one-time password, fails, or never returns.

    :ivar outcome: a session, an exception, or ``None`` for a login that never ends.
    """

    def __init__(self) -> None:
        self.outcome: Any = SESSION
        self.requests: list[WarmRequest] = []
        self.cancelled = 0
        self.host: str | None = None
        self.minted_for: list[str] = []
        self.ended: list[WarmSession] = []
        self.revoked: list[OneTimePassword] = []

    def warm(self, request: WarmRequest) -> "Deferred[WarmSession]":
        self.requests.append(request)
        if self.outcome is None:
            return Deferred(lambda _: self._cancel())
        return fail(self.outcome) if isinstance(self.outcome, Exception) else succeed(self.outcome)

    def mint(self, jid: JID, began: float) -> "Deferred[OneTimePassword]":
        self.minted_for.append(jid.full())
        return fail(self.outcome) if isinstance(self.outcome, Exception) else succeed(MINTED)

    def served(self, jid: JID) -> JID:
        return jid if self.host is None else PreparedJID(jid.user, self.host, jid.resource)

    def revoke_later(self, minted: OneTimePassword) -> None:
        self.revoked.append(minted)

    def end_later(self, session: WarmSession) -> None:
        self.ended.append(session)

    def _cancel(self) -> None:
        self.cancelled += 1


class FakeEnder:
    """Returns ended sessions, fails, or never returns.

    :ivar outcome: a list of full JIDs, an exception, or ``None`` for a call that never ends.
    """

    def __init__(self) -> None:
        self.outcome: Any = ["juliet@example.org/a"]
        self.asked: list[str] = []
        self.cancelled = 0

    def end(self, jid: JID) -> "Deferred[list[str]]":
        self.asked.append(jid.full())
        if self.outcome is None:
            return Deferred(lambda _: self._cancel())
        return fail(self.outcome) if isinstance(self.outcome, Exception) else succeed(self.outcome)

    def _cancel(self) -> None:
        self.cancelled += 1


@implementer(ICredentialsChecker)
class FakeChecker:
    """Accepts one admin, without bcrypt."""

    credentialInterfaces = (IUsernamePassword,)

    def requestAvatarId(self, credentials: Any) -> "Deferred[bytes | tuple[()]]":
        if credentials.username == b"busy":
            raise Overloaded
        if (credentials.username, credentials.password) != (b"web", b"secret"):
            raise UnauthorizedLogin
        name: bytes | tuple[()] = b"web"
        return succeed(name)


class FakeMetrics:
    """Records the outcomes that are counted."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def warmed(self, outcome: str, seconds: float) -> None:
        self.outcomes.append(outcome)

    handed_out = ended = announced = removed = warmed

    def text(self) -> bytes:
        return b"warmside_x 1\n"


class Interface:
    """A client of the interface.

    :ivar parts: the states that ``/ready`` finds.
    """

    def __init__(self) -> None:
        self.warmer = FakeWarmer()
        self.ender = FakeEnder()
        self.metrics = FakeMetrics()
        self.parts = {"store": "ok", "connection_manager": "ok"}
        authenticator = AdminAuthenticator(
            Portal(AdminRealm(), [FakeChecker()]), lambda name: name == "web", [ip_network("192.0.2.0/24")]
        )
        warmer: Any = self.warmer
        ender: Any = self.ender
        metrics: Any = self.metrics
        self.users: KnownUsers = SQLiteKnownUsers(None)
        self.passwords = SQLiteStore(None)
        self._ends = SQLiteEnds(None)
        passwords = OneTimePasswords(self.passwords, LIFETIME)
        stores = Stores(passwords, passwords, SQLiteVerdicts(None), self._ends)
        accounts = UserAccounts(Clock(), self.users, stores, ender)
        self.root = resource_tree(
            Access(authenticator, allows), warmer, ender, accounts, LIFETIME, metrics, self.check_parts
        )
        self.treq: Any = StubTreq(self.root)  # type: ignore[no-untyped-call]

    async def check_parts(self) -> dict[str, str]:
        return self.parts

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Send a request as the admin; return the response, with its text in ``body``."""
        options.setdefault("auth", AUTH)
        response = now(self.treq.request(method, "http://127.0.0.1:5281" + path, **options))
        response.body = now(response.text())
        return response

    def warm(self, accept: str = "application/json", headers: dict[str, str] | None = None, **options: Any) -> Any:
        """Send a ``POST /warm``; by default the fields are a valid JID."""
        if "json" not in options:
            options.setdefault("data", {"jid": "juliet@example.org"})
        return self.request("POST", "/warm", headers={"Accept": accept, **(headers or {})}, **options)

    def credentials(self, accept: str = "application/json", **options: Any) -> Any:
        """Send a ``POST /credentials``; by default the fields are a valid JID."""
        options.setdefault("data", {"jid": "Juliet@Example.org/balcony"})
        return self.request("POST", "/credentials", headers={"Accept": accept}, **options)

    def end(self, accept: str = "application/json", **options: Any) -> Any:
        """Send a ``POST /end``; by default the fields are a valid JID."""
        options.setdefault("data", {"jid": "Juliet@Example.org"})
        return self.request("POST", "/end", headers={"Accept": accept}, **options)

    def start_endless_warm(self) -> Any:
        """Start a ``POST /warm`` that never ends; return the request."""
        self.warmer.outcome = None
        request: Any = DummyRequest([])
        request.method, request.uri, request.path = b"POST", b"/warm", b"/warm"
        request.requestHeaders.setRawHeaders("Authorization", ["Basic d2ViOnNlY3JldA=="])
        request.requestHeaders.setRawHeaders("Content-Type", ["application/x-www-form-urlencoded"])
        request.content = BytesIO(b"jid=juliet%40example.org")
        root: Any = self.root
        root.getChildWithDefault(b"warm", request).render(request)
        return request


def header(response: Any, name: str) -> str | None:
    """Return a header's first value; ``None`` if the header is absent."""
    values = response.headers.getRawHeaders(name)
    return values[0] if values else None


@contextmanager
def audit_lines() -> Iterator[list[str]]:
    """Collect the audit lines; the list is complete at the end of the block."""
    lines: list[str] = []
    with logging() as logged:
        yield lines
    lines += [line.partition("audit ")[2].partition(" {'")[0] for line in logged if "] audit " in line]
