"""The HTTP interface as callers see it, over a real resource tree without a network."""

import json
import re
import xml.etree.ElementTree as ET
from io import BytesIO
from ipaddress import ip_network
from typing import Any

import pytest
from treq.testing import StubTreq
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.web.test.requesthelper import DummyRequest
from zope.interface import implementer

from tests.support import logging, now
from warmside.bosh import errors
from warmside.config.settings import Policy
from warmside.jids import JID, Pattern
from warmside.otp import OneTimePassword
from warmside.sessions.model import WarmRequest, WarmSession
from warmside.sessions.replayprobe import OneTimeRefused, UnsafeHost
from warmside.store.interface import RevocationStatus, StoreError
from warmside.throttle.limits import TooManyFailures
from warmside.web.admins import AdminRealm
from warmside.web.authenticator import AdminAuthenticator
from warmside.web.endpoint import Root
from warmside.web.hashing import Overloaded
from warmside.web.resources import CredentialsEndpoint, HealthEndpoint, MetricsEndpoint, ReadyEndpoint, WarmEndpoint

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


def allows(admin: str, bare: str, host: str) -> bool:
    return POLICY.allows(bare, host)


class FakeWarmer:
    """Gives a session, or fails, or never answers."""

    def __init__(self) -> None:
        self.outcome: Any = SESSION
        self.wishes: list[WarmRequest] = []
        self.cancelled = 0
        self.minted_for: list[str] = []
        self.revoked: list[OneTimePassword] = []

    def warm(self, warm_request: WarmRequest) -> "Deferred[WarmSession]":
        self.wishes.append(warm_request)
        if self.outcome is None:
            return Deferred(lambda _: self._cancel())
        if isinstance(self.outcome, Exception):
            failed: Deferred[WarmSession] = Deferred()
            failed.errback(self.outcome)
            return failed
        return succeed(self.outcome)

    def mint(self, jid: JID) -> "Deferred[OneTimePassword]":
        self.minted_for.append(jid.full())
        if isinstance(self.outcome, Exception):
            return fail(self.outcome)
        return succeed(MINTED)

    def revoke_later(self, minted: OneTimePassword) -> None:
        self.revoked.append(minted)

    def _cancel(self) -> None:
        self.cancelled += 1


@implementer(ICredentialsChecker)
class FakeChecker:
    """One admin, without bcrypt."""

    credentialInterfaces = (IUsernamePassword,)

    def requestAvatarId(self, credentials: Any) -> "Deferred[bytes | tuple[()]]":
        if credentials.username == b"busy":
            raise Overloaded
        if (credentials.username, credentials.password) != (b"web", b"secret"):
            raise UnauthorizedLogin
        name: bytes | tuple[()] = b"web"
        return succeed(name)


class Interface:
    """A client of the interface."""

    def __init__(self) -> None:
        self.warmer = FakeWarmer()
        self.told: list[str] = []
        self.parts = {"store": "ok", "connection_manager": "ok"}
        guard = AdminAuthenticator(
            Portal(AdminRealm(), [FakeChecker()]), lambda name: name == "web", [ip_network("192.0.2.0/24")]
        )
        warmer: Any = self.warmer
        self.root = Root(
            {
                b"warm": WarmEndpoint(guard, allows, warmer, self.tell),
                b"credentials": CredentialsEndpoint(guard, allows, warmer, 30, self.tell),
                b"health": HealthEndpoint(),
                b"ready": ReadyEndpoint(self.look),
                b"metrics": MetricsEndpoint(lambda: b"warmside_x 1\n", "text/plain; version=0.0.4"),
            }
        )
        self.treq: Any = StubTreq(self.root)  # type: ignore[no-untyped-call]

    def tell(self, outcome: str, seconds: float) -> None:
        self.told.append(outcome)

    async def look(self) -> dict[str, str]:
        return self.parts

    def request(self, method: str, path: str, **options: Any) -> Any:
        options.setdefault("auth", AUTH)
        response = now(self.treq.request(method, "http://127.0.0.1:5281" + path, **options))
        response.text_now = now(response.text())
        return response

    def warm(self, accept: str = "application/json", headers: dict[str, str] | None = None, **options: Any) -> Any:
        if "json" not in options:
            options.setdefault("data", {"jid": "juliet@example.org"})
        return self.request("POST", "/warm", headers={"Accept": accept, **(headers or {})}, **options)


@pytest.fixture
def interface() -> Interface:
    return Interface()


def header(response: Any, name: str) -> str | None:
    values = response.headers.getRawHeaders(name)
    return values[0] if values else None


def test_the_page_of_success_has_exactly_the_contracts_structure(interface: Interface) -> None:
    response = interface.warm("*/*")
    assert response.code == 200
    assert header(response, "Content-Type") == "text/html; charset=utf-8"
    expected = (
        '<dl class="binding"><dt class="jid">JID</dt><dd class="jid">juliet@example.org/a&lt;b</dd>'
        '<dt class="sid">SID</dt><dd class="sid">s&amp;id</dd><dt class="rid">RID</dt><dd class="rid">4711</dd></dl>'
    )
    assert expected in response.text_now
    assert response.text_now.startswith("<!DOCTYPE html PUBLIC")
    page = ET.fromstring(response.text_now)
    xhtml = "{http://www.w3.org/1999/xhtml}"
    assert page.findtext(f"{xhtml}head/{xhtml}title") == "Success" == page.findtext(f".//{xhtml}p")
    policy = "default-src 'none'; form-action 'self'; frame-ancestors 'none'"
    assert header(response, "Content-Security-Policy") == policy


def test_xhtml_is_served_as_such_where_html_is_not_accepted(interface: Interface) -> None:
    assert header(interface.warm("application/xhtml+xml"), "Content-Type") == "application/xhtml+xml"


def test_json_has_the_contracts_members(interface: Interface) -> None:
    response = interface.warm("application/json")
    assert header(response, "Content-Type") == "application/json"
    assert json.loads(response.text_now) == {
        "jid": "juliet@example.org/a<b",
        "sid": "s&id",
        "rid": 4711,
        "wait": 60,
        "hold": 1,
        "requests": 2,
        "inactivity": 30,
        "attach_within": 30,
        "polling": None,
        "maxpause": 120,
        "ver": "1.6",
        "bosh_url": None,
        "stanzas": [],
    }


def test_text_is_three_lines(interface: Interface) -> None:
    response = interface.warm("text/plain")
    assert header(response, "Content-Type") == "text/plain; charset=utf-8"
    assert response.text_now == "juliet@example.org/a<b\ns&id\n4711\n"


def test_every_reply_carries_its_headers(interface: Interface) -> None:
    replies = [
        interface.warm(),
        interface.request("GET", "/health"),
        interface.request("GET", "/nowhere"),
        interface.warm(auth=None),
        interface.request("GET", "/warm"),
    ]
    for response in replies:
        assert header(response, "Cache-Control") == "no-store"
        assert header(response, "X-Content-Type-Options") == "nosniff"
        assert header(response, "Referrer-Policy") == "no-referrer"
        assert re.fullmatch(r"[0-9a-f]{32}", header(response, "X-Request-ID") or "")
        assert not [name for name, _ in response.headers.getAllRawHeaders() if name.lower().startswith(b"access-")]


def test_a_request_id_is_kept_if_it_is_harmless(interface: Interface) -> None:
    assert header(interface.warm(headers={"X-Request-ID": "a.B-3_x"}), "X-Request-ID") == "a.B-3_x"
    for odd in ("", "a b", "x" * 65, "é"):
        assert header(interface.warm(headers={"X-Request-ID": odd}), "X-Request-ID") != odd


@pytest.mark.parametrize("auth", [None, ("web", "wrong"), ("nobody", "secret"), ("", "")])
def test_who_is_no_admin_gets_401(interface: Interface, auth: tuple[str, str] | None) -> None:
    for response in (interface.warm(auth=auth), interface.request("GET", "/warm", auth=auth)):
        assert response.code == 401
        assert header(response, "WWW-Authenticate") == 'Basic realm="warmside", charset="UTF-8"'
    assert not interface.warmer.wishes


@pytest.mark.parametrize("name", ["Accept", "X-Request-ID", "Origin", "Authorization", "Content-Type"])
def test_bytes_that_are_no_text_in_a_header_are_no_failure(interface: Interface, name: str) -> None:
    response = interface.warm(headers={name: b"\xff"})  # type: ignore[dict-item]
    assert response.code in (200, 401, 403, 406, 415)
    assert header(response, "Cache-Control") == "no-store"


@pytest.mark.parametrize("value", ["Basic", "Basic !!!", "Bearer x", "Basic d2Vi", "Basic " + "x" * 1000, "é"])
def test_an_odd_authorization_header_gets_401(interface: Interface, value: str) -> None:
    assert interface.warm(auth=None, headers={"Authorization": value}).code == 401


def test_too_many_passwords_to_check_get_503(interface: Interface) -> None:
    response = interface.warm(auth=("busy", "x"))
    assert response.code == 503 and header(response, "Retry-After")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:5282"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://127.0.0.1:x"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_foreign_page_is_refused(interface: Interface, headers: dict[str, str]) -> None:
    response = interface.warm(headers=headers)
    assert response.code == 403
    assert json.loads(response.text_now)["type"] == "urn:warmside:foreign-origin"
    assert not interface.warmer.wishes


def test_a_page_of_our_own_is_not_foreign(interface: Interface) -> None:
    headers = {"Origin": "http://127.0.0.1:5281", "Sec-Fetch-Site": "same-origin"}
    assert interface.warm(headers=headers).code == 200


def test_the_form_works_in_a_browser(interface: Interface) -> None:
    response = interface.request("GET", "/warm", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert response.code == 200
    page = ET.fromstring(response.text_now)
    forms = list(page.iter("{http://www.w3.org/1999/xhtml}form"))
    assert len(forms) == 2
    for form in forms:
        assert (form.get("action"), form.get("method")) == ("/warm", "post")
        inputs = [each for each in form.iter("{http://www.w3.org/1999/xhtml}input") if each.get("name")]
        fields = {each.get("name", ""): each.get("value", "x") for each in inputs} | {"jid": "juliet@example.org"}
        assert interface.warm("text/html", data=fields).code == 200
    assert [warm_request.password for warm_request in interface.warmer.wishes] == [None, "x"]


def test_the_form_is_a_page_only(interface: Interface) -> None:
    assert interface.request("GET", "/warm", headers={"Accept": "application/json"}).code == 406


def test_head_is_get_without_a_body(interface: Interface) -> None:
    response = interface.request("HEAD", "/health")
    assert response.code == 200 and response.text_now == ""


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/warm/", 404), ("GET", "/x", 404), ("PUT", "/warm", 405), ("POST", "/health", 405)],
)
def test_other_addresses_and_methods(interface: Interface, method: str, path: str, status: int) -> None:
    response = interface.request(method, path, headers={"Accept": "application/json"})
    assert response.code == status
    assert header(response, "Content-Type") == "application/problem+json"
    if status == 405:
        assert "GET" in (header(response, "Allow") or "")


def test_health_is_for_everyone(interface: Interface) -> None:
    response = interface.request("GET", "/health", auth=None)
    assert response.code == 200 and json.loads(response.text_now) == {"status": "ok"}


@pytest.mark.parametrize(
    ("options", "status", "field"),
    [
        ({"data": {"jid": "nonsense"}}, 400, "jid"),
        ({"data": {"jid": "a@b", "x": "y"}}, 400, "x"),
        ({"json": {"jid": "a@b", "wait": "x"}}, 400, "wait"),
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, None),
        ({"data": b"jid=a%40b"}, 415, None),
        ({"data": {f"f{number}": "" for number in range(33)}}, 413, None),
        ({"accept": "image/png"}, 406, None),
        ({"data": {"jid": "admin@example.org"}}, 403, None),
    ],
)
def test_a_bad_request_is_refused_in_words(
    interface: Interface, options: dict[str, Any], status: int, field: str | None
) -> None:
    response = interface.warm(**options)
    assert response.code == status
    assert not interface.warmer.wishes
    if options.get("accept") is None:
        problem = json.loads(response.text_now)
        assert (problem["status"], problem.get("field")) == (status, field)
        assert problem["type"].startswith("urn:warmside:")


def test_a_query_string_on_a_post_is_refused(interface: Interface) -> None:
    response = interface.request("POST", "/warm?jid=a@b", headers={"Accept": "application/json"}, data={})
    assert response.code == 400 and "query string" in response.text_now


def step(error: errors.BoshError) -> errors.BoshError:
    error.step = "resource binding"
    return error


REFUSED = errors.Refused("x", "not-authorized")


@pytest.mark.parametrize(
    ("failure", "status", "name", "hint"),
    [
        (step(errors.Refused("x", "not-authorized")), 403, "password-refused", "own password"),
        (OneTimeRefused(REFUSED, RevocationStatus.UNASKED), 502, "otp-not-asked", "never asked"),
        (OneTimeRefused(REFUSED, RevocationStatus.ASKED), 502, "otp-refused", "too late"),
        (OneTimeRefused(REFUSED, RevocationStatus.GONE), 502, "otp-refused", "answer got lost"),
        (step(errors.Banned("x", "policy-violation")), 503, "banned", "mod_fail2ban"),
        (step(errors.Busy("too many")), 503, "busy", "too many"),
        (step(errors.Unreachable("refused")), 503, "unreachable", "refused"),
        (step(errors.TimedOut("too long")), 504, "timeout", "resource binding"),
        (step(errors.InvalidResponse("HTTP 404")), 502, "login-failed", "HTTP 404"),
        (step(errors.NotBound("x", "conflict")), 502, "login-failed", "conflict"),
        (step(errors.WrongJID("another account")), 502, "login-failed", "another account"),
        (UnsafeHost("example.org"), 503, "unsafe-host", "auth_use_cache: false"),
        (StoreError("disk full"), 503, "store", "disk full"),
        (ValueError("unforeseen geheim"), 500, "internal", "warmside's fault"),
    ],
)
def test_each_failure_has_its_status_and_words(
    interface: Interface, failure: Exception, status: int, name: str, hint: str
) -> None:
    interface.warmer.outcome = failure
    response = interface.warm()
    problem = json.loads(response.text_now)
    assert (response.code, problem["status"], problem["type"]) == (status, status, f"urn:warmside:{name}")
    assert hint in problem["detail"] and "geheim" not in response.text_now
    assert bool(header(response, "Retry-After")) == (status == 503)
    if isinstance(failure, errors.BoshError) and not isinstance(failure, OneTimeRefused):
        assert problem["step"] == "resource binding"


def test_errors_come_in_the_form_that_was_asked_for(interface: Interface) -> None:
    interface.warmer.outcome = errors.TimedOut("too long")
    page = interface.warm("text/html")
    root = ET.fromstring(page.text_now)
    xhtml = "{http://www.w3.org/1999/xhtml}"
    assert root.findtext(f".//{xhtml}title") == "Gateway Timeout" == root.findtext(f".//{xhtml}p")
    assert "too long" in page.text_now and header(page, "Content-Security-Policy")
    line = interface.warm("text/plain")
    assert line.text_now.startswith("504 Gateway Timeout: ") and line.text_now.count("\n") == 1


def unanswered(interface: Interface) -> Any:
    """A request for a warm session that takes for ever."""
    interface.warmer.outcome = None
    request: Any = DummyRequest([])
    request.method, request.uri, request.path = b"POST", b"/warm", b"/warm"
    request.requestHeaders.setRawHeaders("Authorization", ["Basic d2ViOnNlY3JldA=="])
    request.requestHeaders.setRawHeaders("Content-Type", ["application/x-www-form-urlencoded"])
    request.content = BytesIO(b"jid=juliet%40example.org")
    root: Any = interface.root
    root.getChildWithDefault(b"warm", request).render(request)
    return request


def test_a_caller_who_hangs_up_cancels_the_login(interface: Interface) -> None:
    request = unanswered(interface)
    assert len(interface.warmer.wishes) == 1
    request.processingFailed(Failure(ConnectionDone()))
    assert interface.warmer.cancelled == 1
    assert not request.written


def test_nothing_secret_is_logged(interface: Interface) -> None:
    with logging() as logged:
        interface.warm(data={"jid": "juliet@example.org", "password": "geheim"})
        interface.warm(auth=("web", "geheim"))
        interface.warmer.outcome = ValueError("x")
        interface.warm(data={"jid": "juliet@example.org", "password": "geheim"})
        interface.warm(auth=("geheim", "x"))
        interface.warmer.outcome = SESSION
        credentials(interface)
    assert sum("audit" in line for line in logged) == 5
    secrets = ("geheim", "s&id", "4711", MINTED.text)
    assert not any(secret in line for line in logged for secret in secrets)


def audited(interface: Interface, **options: Any) -> str:
    with logging() as logged:
        interface.warm(**options)
    events = [line.partition("audit ")[2].partition(" {'")[0] for line in logged if "] audit " in line]
    assert len(events) == 1
    return events[0]


def test_the_audit_line_says_who_asked_from_where_for_whom_and_what_came_out(interface: Interface) -> None:
    line = audited(interface, headers={"X-Request-ID": "abc.1"})
    assert line.startswith(
        'request="POST /warm" outcome="success" status=200 admin="web" from="127.0.0.1" '
        'jid="juliet@example.org/a<b" ms='
    )
    assert ' id="abc.1"' in line
    line = audited(interface, data={"jid": "Admin@example.org"})
    assert 'outcome="policy" status=403 admin="web"' in line and 'jid="admin@example.org"' in line
    line = audited(interface, auth=("web", "wrong"))
    assert 'outcome="unauthorized" status=401 admin="web"' in line and "jid=null" in line
    line = audited(interface, auth=("somebody", "wrong"))
    assert "admin=null" in line and "somebody" not in line
    assert interface.told == ["success", "policy", "unauthorized", "unauthorized"]


def test_an_audit_line_is_one_line_of_bounded_length_whatever_comes(interface: Interface) -> None:
    long = 'juliet@example.org/\u266b"\\' + "y" * 900
    line = audited(interface, json={"jid": long, "nonsense": "1"}, headers={"X-Request-ID": "a b\tc"})
    assert 'outcome="field"' in line and "jid=null" in line and 'id="a b' not in line
    interface.warmer.outcome = StoreError("x")
    line = audited(interface, json={"jid": long})
    assert line.isascii() and line.isprintable() and len(line) < 800
    assert 'jid="juliet@example.org/\\u266b\\"\\\\yyy' in line


def test_a_caller_who_hangs_up_is_in_the_audit_too(interface: Interface) -> None:
    with logging() as logged:
        unanswered(interface).processingFailed(Failure(ConnectionDone()))
    assert interface.told == ["hung-up"] and 'outcome="hung-up" status=null' in logged[0]


def test_who_a_trusted_proxy_speaks_for_is_in_the_audit(interface: Interface) -> None:
    assert 'from="127.0.0.1"' in audited(interface, headers={"X-Forwarded-For": "203.0.113.9"})


def credentials(interface: Interface, accept: str = "application/json", **options: Any) -> Any:
    options.setdefault("data", {"jid": "Juliet@Example.org/balcony"})
    return interface.request("POST", "/credentials", headers={"Accept": accept}, **options)


@pytest.mark.parametrize("accept", ["application/json", "*/*", "text/html, application/json;q=0.1", "application/*"])
def test_a_credential_is_the_jid_a_one_time_password_and_its_lifetime(interface: Interface, accept: str) -> None:
    response = credentials(interface, accept)
    assert response.code == 200 and header(response, "Content-Type") == "application/json"
    expected = {"jid": "juliet@example.org/balcony", "password": MINTED.text, "expires_in": 30}
    assert json.loads(response.text_now) == expected
    assert header(response, "Cache-Control") == "no-store"


@pytest.mark.parametrize(
    ("options", "status", "what"),
    [
        ({"accept": "text/html"}, 406, "Not Acceptable"),
        ({"accept": "application/json;q=0"}, 406, "406"),
        ({"auth": ("web", "wrong")}, 401, "unauthorized"),
        ({"data": {"jid": "admin@example.org"}}, 403, "policy"),
        ({"data": {"jid": "juliet@example.org", "wait": "5"}}, 400, '"field": "wait"'),
        ({"data": {"jid": "juliet@example.org", "password": "x"}}, 400, '"field": "password"'),
        ({"data": {}}, 400, '"field": "jid"'),
    ],
)
def test_a_credential_is_refused(interface: Interface, options: dict[str, Any], status: int, what: str) -> None:
    response = credentials(interface, **options)
    assert response.code == status and what in response.text_now
    assert interface.warmer.minted_for == []


def test_no_credential_for_an_unsafe_host(interface: Interface) -> None:
    interface.warmer.outcome = UnsafeHost("example.org")
    response = credentials(interface)
    assert response.code == 503 and "auth_use_cache: false" in response.text_now


def test_a_credential_is_only_there_to_be_posted_for(interface: Interface) -> None:
    response = interface.request("GET", "/credentials")
    assert response.code == 405 and header(response, "Allow") == "POST"


def test_too_many_failures_are_429(interface: Interface) -> None:
    interface.warmer.outcome = TooManyFailures(41.2)
    response = interface.warm()
    assert response.code == 429 and header(response, "Retry-After") == "42"
    assert json.loads(response.text_now)["type"] == "urn:warmside:too-many-failures"


def test_ready_tells_of_each_part(interface: Interface) -> None:
    response = interface.request("GET", "/ready", auth=None)
    assert response.code == 200
    assert json.loads(response.text_now) == {"status": "ready", "store": "ok", "connection_manager": "ok"}
    interface.parts["connection_manager"] = "unreachable"
    response = interface.request("GET", "/ready", auth=None)
    assert response.code == 503 and json.loads(response.text_now)["connection_manager"] == "unreachable"


def test_metrics_are_for_anyone(interface: Interface) -> None:
    response = interface.request("GET", "/metrics", auth=None)
    assert response.code == 200 and response.text_now == "warmside_x 1\n"
    assert str(header(response, "Content-Type")).startswith("text/plain; version=0.0.4")
