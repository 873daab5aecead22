"""``/users``: announce users before their first login, and remove users."""

from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.web.resource import Resource
from twisted.web.server import Request

from warmside.jids import JID, InvalidJID, prepare, prepare_uncached
from warmside.sessions.accounts import UserAccounts
from warmside.turns import Turns
from warmside.web.audited import Access, AuditedEndpoint, Observe
from warmside.web.body import JSON, FieldError, UnsupportedType
from warmside.web.endpoint import Call, require_json
from warmside.web.problems import Problem
from warmside.web.replies import NO_CONTENT, Reply, json_reply

MAX_JIDS = 1000
"""Maximum JIDs in one call."""
BARE_JID_PATTERN = "^[^@/]+@[^@/]+$"
"""Pattern of bare JIDs for the OpenAPI description."""
JIDS_EXPECTED = f"expected an array of at most {MAX_JIDS} bare JIDs"
FULL_JID = "is a full JID: expected a bare JID, LOCAL@HOST"


class UsersEndpoint(AuditedEndpoint):
    """``/users``: announces users. Its children remove users.

    :param removed: takes the outcome and the duration of each removal.
    """

    isLeaf = False

    def __init__(self, access: Access, accounts: UserAccounts, announced: Observe, removed: Observe) -> None:
        super().__init__({b"POST": self._post}, access, announced)
        self._accounts = accounts
        self._user = UserEndpoint(access, accounts, removed)

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Return the resource of a user, for any path below."""
        return self._user

    async def _post(self, call: Call) -> Reply:
        admin = await self.admit(call)
        require_json(call)
        given = _read_jids(call)
        turns, bares = Turns(self._accounts.reactor), []
        for number, text in enumerate(given, 1):
            jid = _read_entry(number, text)
            bares.append(jid.userhost())
            try:
                self.check_policy(call, admin, jid)
            except Problem as problem:
                raise Problem(problem.name, f"entry {number}: {problem.detail}", entry=number) from None
            if turns.due:
                await turns.rest()
        call.jid = bares[0] if len(bares) == 1 else None
        call.jids = len(bares)
        added = await self._accounts.announce(bares)
        return json_reply(200, {"jids": bares, "added": added})


class UserEndpoint(AuditedEndpoint):
    """``/users/JID``: removes a user."""

    below_any_path = True

    def __init__(self, access: Access, accounts: UserAccounts, observe: Observe) -> None:
        super().__init__({b"DELETE": self._delete}, access, observe)
        self._accounts = accounts

    async def _delete(self, call: Call) -> Reply:
        admin = await self.admit(call)
        jid = _read_path(call)
        self.check_policy(call, admin, jid)
        await self._accounts.remove(jid)
        return NO_CONTENT


def _read_jids(call: Call) -> list[Any]:
    if (call.header("Content-Type") or JSON).partition(";")[0].strip().lower() != JSON:
        raise UnsupportedType(f"send the field as {JSON}, in UTF-8")
    fields = call.fields()
    for name in fields:
        if name != "jids":
            raise FieldError(name, "unknown field")
    if "jids" not in fields:
        raise FieldError("jids", f"missing: {JIDS_EXPECTED}")
    given = fields["jids"]
    if type(given) is not list:  # an object is a subclass of list here, see `read_fields`
        raise FieldError("jids", JIDS_EXPECTED)
    if len(given) > MAX_JIDS:
        raise FieldError("jids", f"has {len(given)} entries: {JIDS_EXPECTED}")
    return given


def _read_entry(number: int, text: object) -> JID:
    reason = "is no text: expected a bare JID, LOCAL@HOST"
    if isinstance(text, str):
        try:
            jid = prepare_uncached(text)
        except InvalidJID as error:
            reason = str(error)
        else:
            if jid.resource is None:
                return jid
            reason = FULL_JID
    raise Problem("field", f"jids: entry {number}: {reason}", field="jids", entry=number)


def _read_path(call: Call) -> JID:
    """Return the JID that the path names. A slash in it need not be encoded."""
    if b"?" in call.request.uri:
        raise Problem("query", "the address has a query string: encode ? of a JID as %3F")
    path = call.request.uri.split(b"/", 2)[2]
    try:
        jid = prepare(unquote_to_bytes(path).decode())
    except UnicodeDecodeError:
        raise FieldError("jid", "the path is not percent-encoded UTF-8") from None
    except InvalidJID as error:
        raise FieldError("jid", str(error)) from None
    if jid.resource is not None:
        raise FieldError("jid", FULL_JID)
    return jid
