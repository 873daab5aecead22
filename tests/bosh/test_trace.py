"""The full history of one warm: every request and response, in order, as ejabberd 23.01 answers.

Read `TRACE` to see the protocol. The test plays its responses to warmside, and compares every request that warmside
sends with the trace. Long values are shortened; ids and the first rid are fixed for the test.
"""

import itertools
import secrets
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.bosh.lease import CLEANUP_TIMEOUT
from tests.support import now, work_at_once
from warmside.bosh.body import decode
from warmside.bosh.login import Login
from warmside.bosh.runner import MIN_ARRIVAL_TIME, LoginRunner, Runtime
from warmside.bosh.sasl import Credentials
from warmside.bosh.session import Parameters, Session
from warmside.bosh.stream import prepare_handover
from warmside.bosh.transport import Response
from warmside.jids import prepare

TRACE = """
# The session is created. A one-time password can only use PLAIN, so <auth/> is in the same request:
# base64 of "\\0juliet\\0one-time".

request 1000
  <body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'
      content='text/xml; charset=utf-8' hold='1' rid='1000' to='example.org' ver='1.6' wait='60'
      xml:lang='en' xmpp:version='1.0'>
    <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGp1bGlldABvbmUtdGltZQ==</auth>
  </body>

# ejabberd answers with the stream's features while its extauth program still checks the password.

response 1000
  <body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'
      xmlns:stream='http://etherx.jabber.org/streams' from='example.org' sid='5eaf00d' wait='60' hold='1'
      requests='2' inactivity='30' maxpause='120' polling='2' ver='1.11' xmpp:version='1.0'
      xmpp:restartlogic='true' authid='2474336620279920713' secure='true'>
    <stream:features>
      <mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>
        <mechanism>PLAIN</mechanism>
        <mechanism>X-OAUTH2</mechanism>
      </mechanisms>
    </stream:features>
  </body>

# restartlogic='true': ejabberd processes requests in order. The restart and the bind need not wait for <success/>.

request 1001
  <body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' rid='1001' sid='5eaf00d'
      to='example.org' xml:lang='en' xmpp:restart='true'/>

request 1002
  <body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' rid='1002' sid='5eaf00d'>
    <iq xmlns='jabber:client' type='set' id='warmside-0'>
      <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>
        <resource>balcony</resource>
      </bind>
    </iq>
  </body>

# The success arrives with the response to the restart. The response to the bind is empty: timing decides.

response 1001
  <body xmlns='http://jabber.org/protocol/httpbind'>
    <success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>
  </body>

response 1002
  <body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0'
      authid='3653920511522346958'/>

# An empty request fetches the rest: the restarted stream's features, and the full JID. The login is done.

request 1003
  <body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' rid='1003' sid='5eaf00d'/>

response 1003
  <body xmlns='http://jabber.org/protocol/httpbind' xmlns:stream='http://etherx.jabber.org/streams'>
    <stream:features>
      <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>
      <session xmlns='urn:ietf:params:xml:ns:xmpp-session'>
        <optional/>
      </session>
    </stream:features>
    <iq xmlns='jabber:client' type='result' id='warmside-0'>
      <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>
        <jid>juliet@example.org/balcony</jid>
      </bind>
    </iq>
  </body>

# The caller wants the roster and initial presence. The ping is a barrier: its response follows everything that the
# presence causes.

request 1004
  <body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' rid='1004' sid='5eaf00d'>
    <iq xmlns='jabber:client' type='get' id='warmside-2'>
      <query xmlns='jabber:iq:roster'/>
    </iq>
    <presence xmlns='jabber:client'>
      <priority>-1</priority>
    </presence>
    <iq xmlns='jabber:client' to='example.org' type='get' id='warmside-3'>
      <ping xmlns='urn:xmpp:ping'/>
    </iq>
  </body>

response 1004
  <body xmlns='http://jabber.org/protocol/httpbind'>
    <iq xmlns='jabber:client' type='result' id='warmside-2' from='juliet@example.org'
        to='juliet@example.org/balcony'>
      <query xmlns='jabber:iq:roster'>
        <item jid='romeo@example.org' name='Romeo' subscription='both'>
          <group>Verona</group>
        </item>
      </query>
    </iq>
  </body>

# The user's own presence is not part of the login, so it goes into the reply's "stanzas".

request 1005
  <body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' rid='1005' sid='5eaf00d'/>

response 1005
  <body xmlns='http://jabber.org/protocol/httpbind'>
    <presence xmlns='jabber:client' from='juliet@example.org/balcony' to='juliet@example.org/balcony'/>
    <iq xmlns='jabber:client' type='result' id='warmside-3' from='example.org' to='juliet@example.org/balcony'/>
  </body>

# The session must survive 60 seconds until the browser attaches. An empty request is held while the pause is sent.
# ejabberd answers the empty request, and never the pause.

request 1006
  <body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' rid='1006' sid='5eaf00d'/>

request 1007
  <body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' rid='1007' sid='5eaf00d'
      pause='60'/>

response 1006
  <body xmlns='http://jabber.org/protocol/httpbind'/>

# No request is outstanding. The browser attaches with rid 1008.
"""


def compact(xml: str | bytes) -> str:
    """Return XML in canonical form, without indentation: one element a line, attributes sorted."""
    return ET.canonicalize(xml, strip_text=True).replace("><", ">\n<")


def blocks() -> list[tuple[str, int, str]]:
    """Return the requests and responses of the trace: kind, rid, XML."""
    found = []
    for block in TRACE.split("\n\n"):
        head, _, xml = block.strip().partition("\n")
        if not head.startswith("#") and head:
            kind, rid = head.split()
            found.append((kind, int(rid), xml.strip()))
    return found


class RecordedLease:
    """Connections over which the trace's responses arrive."""

    width = 2

    def __init__(self) -> None:
        self.posted: dict[int, Deferred[Response]] = {}
        self.requests: dict[int, bytes] = {}

    def post(self, body: bytes) -> "Deferred[Response]":
        rid = int(decode(body).attributes["rid"])
        self.requests[rid] = body
        self.posted[rid] = Deferred()
        return self.posted[rid]


async def warm(runner: LoginRunner, clock: Clock) -> Any:
    await runner.log_in()
    handover = await prepare_handover(clock, "example.org", runner.exchange, roster=True, available=True)
    return handover, await runner.pause(60)


def test_the_history_of_one_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = itertools.count()
    monkeypatch.setattr(secrets, "token_hex", lambda size: str(next(numbers)))
    clock, lease = Clock(), RecordedLease()
    credentials = Credentials(prepare("juliet@example.org/balcony"), "one-time", one_time=True)
    login = Login(Session(Parameters("example.org"), first_rid=1000), credentials, within=10)
    connections: Any = lease
    runner = LoginRunner(Runtime(clock, work_at_once), connections, login, CLEANUP_TIMEOUT)
    warming = Deferred.fromCoroutine(warm(runner, clock))
    for kind, rid, xml in blocks():
        if kind == "response":
            lease.posted.pop(rid).callback(Response(200, compact(xml).encode()))
            continue
        if rid not in lease.requests:
            clock.advance(MIN_ARRIVAL_TIME)
        assert compact(lease.requests.pop(rid)) == compact(xml)
    handover, (paused, stanzas) = now(warming)
    assert not lease.requests, "the trace is complete"
    assert [contact["jid"] for contact in handover.roster] == ["romeo@example.org"]
    assert [ET.fromstring(str(text)).tag for text in handover.stanzas] == ["{jabber:client}presence"]
    assert paused and not stanzas
    assert login.jid is not None and login.jid.full() == "juliet@example.org/balcony"
    assert login.session.next_rid == 1008 and not login.session.outstanding
