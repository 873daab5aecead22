"""Log in over a BOSH session (XEP-0206; RFC 6120, 6 and 7) without I/O.

The login reads the session's one stream of elements, never one particular response: timing decides which response
carries which element. It sends at most as many requests at once as it has connections. It is done only when no
request is outstanding.
"""

import secrets

from twisted.words.xish.domish import Element

from warmside.bosh import sasl
from warmside.bosh.body import NS_SASL, NS_STREAMS, Arrived, Body
from warmside.bosh.errors import UNDEFINED, InvalidResponse, NotAuthenticated, NotBound, Refused, WrongJID, ended
from warmside.bosh.session import Request, Session, condition_in, stream_error
from warmside.jids import JID, InvalidJID, PreparedJID, prepare

NS_CLIENT = "jabber:client"
NS_BIND = "urn:ietf:params:xml:ns:xmpp-bind"
NS_PING = "urn:xmpp:ping"

MAX_PING_BARRIERS = 3
"""Maximum ping requests that one login sends to free a held request."""

WRONG_CREDENTIALS = frozenset({"not-authorized", "account-disabled", "credentials-expired"})
"""SASL failures whose cause is the credentials; all others have their cause at the server."""


def new_stanza_id() -> str:
    """Return an unpredictable stanza id, so that no other user can send a response before the server does."""
    return "warmside-" + secrets.token_hex(8)


class Login:
    """One login.

    Pass responses to `receive`, and results of `work` to `worked`. Send the requests that they return, until `done`.

    :param parallel: maximum requests at once.
    :param bind: True to bind a resource; False to end the login as soon as the user is authenticated.
    :param within: timeout of the login in seconds. If the manager holds a request for a shorter time, the bind waits
        for the server's authentication instead of being sent beside the restart.
    """

    def __init__(
        self,
        session: Session,
        credentials: sasl.Credentials,
        *,
        parallel: int = 2,
        bind: bool = True,
        within: float,
    ) -> None:
        self.session = session
        self.step = "session creation"
        self.jid: JID | None = None
        """The bound JID, with its host as the server spells it."""
        self.others: list[Arrived] = []
        """Elements that belong to neither the login nor its pings, in order of arrival."""
        self.work: sasl.Work | None = None
        """Work to do outside the reactor's thread; its result must be passed to `worked`."""
        self.sent_early = False
        """True if a request was sent before the response that it depends on."""
        self._credentials = credentials
        self._parallel = parallel
        self._only_authenticate = not bind
        self._within = within
        self._exchange: sasl.Exchange | None = None
        self._to_send: list[Element] = []
        self._offered = False
        self._authenticated = False
        self._refused = False
        self._restarted = self._restarted_early = False
        self._restarted_features = False
        self._bind_sent = False
        self._bind_id, self._ping_id = new_stanza_id(), new_stanza_id()
        self._ping_barriers = 0
        self._pongs_due = 0

    @property
    def done(self) -> bool:
        """True if a resource is bound and no request is outstanding."""
        if self._only_authenticate:
            return self._authenticated
        return self.jid is not None and not self.session.outstanding and not self._pongs_due

    @property
    def lacks_features(self) -> bool:
        """True if the server has sent no stream features yet. A mod_bosh with ``prebind: true`` never does."""
        return not self._offered

    @property
    def complete(self) -> bool:
        """True if everything that was requested has been granted: a resource, or only the authentication."""
        return self._authenticated if self._only_authenticate else self.jid is not None

    @property
    def authenticated(self) -> bool:
        """True if the server has accepted the credentials."""
        return self._authenticated

    @property
    def refused(self) -> bool:
        """True if the server has rejected the credentials; any other failure says nothing about the password."""
        return self._refused

    def start(self) -> list[Request]:
        """Return the first request.

        A one-time password can only use PLAIN, so its ``<auth/>`` is in it if the session allows early requests.
        """
        if self._credentials.one_time and self.session.early:
            self.sent_early = True
            self._exchange = sasl.choose(self._credentials, {"PLAIN"})
            return [self.session.create(sasl.auth(self._exchange))]
        return [self.session.create()]

    def receive(self, rid: int, status: int, data: bytes | Body) -> list[Request]:
        """Take a response; see `Session.receive`.

        :returns: the requests to send next.
        :raises BoshError: the login failed; see `warmside.bosh.errors`.
        """
        try:
            self.session.receive(rid, status, data)
        finally:
            self._read(self.session.take())
        return self._advance()

    def worked(self, data: bytes) -> list[Request]:
        """Take the result of `work`; return the requests to send next."""
        self.work = None
        self._to_send.append(sasl.response(data))
        return self._advance()

    def _read(self, elements: list[Arrived]) -> None:
        for element in elements:
            if isinstance(element, str):
                self.others.append(element)
                continue
            match (element.uri, element.name):
                case (str(uri), "error") if uri == NS_STREAMS:
                    raise stream_error(element)
                case (str(uri), "features") if uri == NS_STREAMS and not self._restarted_features:
                    self._read_features(element)
                case (str(uri), name) if uri == NS_SASL and not self._authenticated:
                    self._read_sasl(name, element)
                case (_, "iq") if element.getAttribute("id") == self._bind_id and self.jid is None:
                    self._read_bound(element)
                case (_, "iq") if element.getAttribute("id") == self._ping_id and self._pongs_due:
                    self._pongs_due -= 1
                case _:
                    self.others.append(element)

    def _read_features(self, features: Element) -> None:
        if self._authenticated:
            self._restarted_features = True
            self.step = "resource binding"
            return
        self.step = "authentication"
        offered = {
            str(mechanism)
            for mechanisms in features.elements(NS_SASL, "mechanisms")
            for mechanism in mechanisms.elements(NS_SASL, "mechanism")
        }
        if self._exchange is None:
            self._exchange = sasl.choose(self._credentials, offered)
            self._to_send.append(sasl.auth(self._exchange))
        else:
            sasl.choose(self._credentials, offered)
        self._offered = True

    def _read_sasl(self, name: str, element: Element) -> None:
        self.step = "authentication"
        if self._exchange is None:
            raise InvalidResponse("the server sent a SASL element before the login sent <auth/>")
        if name == "challenge":
            self.work = self._exchange.challenged(sasl.content(element))
        elif name == "success":
            self._exchange.succeeded(sasl.content(element))
            self._authenticated = True
            self.step = "stream restart"
        elif name == "failure":
            condition = condition_in(element)
            self._refused = condition in WRONG_CREDENTIALS
            if self._refused:
                raise Refused("the server rejected the password", condition)
            raise ended(NotAuthenticated, "the server did not authenticate the user", condition)
        else:
            raise InvalidResponse("the server sent an unknown SASL element")

    def _read_bound(self, iq: Element) -> None:
        self.step = "resource binding"
        if iq.getAttribute("type") != "result":
            conditions = [condition_in(error) for error in iq.elements() if error.name == "error"]
            raise NotBound("the server did not bind a resource", (conditions or [UNDEFINED])[0])
        texts = [str(jid) for bind in iq.elements(NS_BIND, "bind") for jid in bind.elements(NS_BIND, "jid")]
        try:
            bound = prepare(texts[0])
        except (InvalidJID, IndexError):
            raise InvalidResponse("the server bound an invalid JID") from None
        if bound.userhost() != self._credentials.jid.userhost() or not bound.resource:
            raise WrongJID("the server bound another account than requested")
        self.jid = PreparedJID(bound.user, self.session.parameters.host, bound.resource)
        self.step = "handover"

    def _advance(self) -> list[Request]:
        """Return the requests to send now. An empty request is sent only if no other is outstanding."""
        session = self.session
        requests: list[Request] = []
        if not session.created or self.work is not None or self.done:
            return requests
        if self.jid is not None:
            if not session.outstanding:
                requests.append(session.send())
            elif not self._pongs_due and self._ping_barriers < MAX_PING_BARRIERS and self._may_send():
                requests.append(self._ping_barrier())
            return requests
        if self._to_send and self._may_send():
            requests.append(session.send(*self._to_send))
            self._to_send = []
        if not self._restarted and self._may_restart() and self._may_send():
            requests.append(session.send(restart=True))
            self._restarted = True
            self._restarted_early = not self._authenticated
            self.sent_early |= self._restarted_early
        if self._restarted and not self._bind_sent and self._may_bind() and self._may_send():
            requests.append(session.send(self._bind()))
            self._bind_sent = True
            self.sent_early |= not self._restarted_features
        if not requests and not session.outstanding:
            requests.append(session.send())
        return requests

    def _may_send(self) -> bool:
        """Return True if one more request may be outstanding.

        There is only one if the manager holds two or more, or if the session allows no early requests.
        """
        parallel = self._parallel if self.session.early and self.session.hold <= 1 else 1
        return self.session.free_requests > 0 and len(self.session.outstanding) < parallel

    def _may_restart(self) -> bool:
        """Return True if the stream may be restarted.

        The restart follows ``<success/>``. It may be sent earlier if the manager restarts streams in order: that saves
        a round trip while the server waits for its extauth program.
        """
        if self._authenticated:
            return True
        session = self.session
        if not session.early:
            return False
        in_order = session.restart_logic and session.hold == 1 and session.requests > 1 and self._parallel > 1
        return in_order and self._offered and self._credentials.one_time and not self._only_authenticate

    def _may_bind(self) -> bool:
        """Return True if the bind may be sent: beside the restart, or after the restarted stream's features.

        ejabberd may hold the restart until its extauth program has answered. If ``wait`` ends before that, and the bind
        has overtaken the restart, ejabberd answers the restart and loses the bind.
        """
        if self._authenticated:
            return self._restarted_early or self._restarted_features or bool(self.session.outstanding)
        return bool(self.session.outstanding) and self.session.wait >= self._within

    def _bind(self) -> Element:
        iq = Element((NS_CLIENT, "iq"))
        iq["type"] = "set"
        iq["id"] = self._bind_id
        bind = iq.addElement((NS_BIND, "bind"))
        if self._credentials.jid.resource:
            bind.addElement((NS_BIND, "resource"), content=self._credentials.jid.resource)
        return iq

    def _ping_barrier(self) -> Request:
        """Return a request with two pings, which make the manager answer a request that it still holds.

        Prosody answers the held request with the first pong, and this request with the second.
        """
        pings = []
        for _ in range(2):
            iq = Element((NS_CLIENT, "iq"))
            iq["type"] = "get"
            iq["id"] = self._ping_id
            iq["to"] = self.session.parameters.host
            iq.addElement((NS_PING, "ping"))
            pings.append(iq)
        self._ping_barriers += 1
        self._pongs_due += len(pings)
        return self.session.send(*pings)
