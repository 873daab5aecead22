"""Prepare a session for the handover to the browser: presence, roster, pause."""

from dataclasses import replace
from typing import Any

from warmside.bosh.errors import PauseTooLong
from warmside.bosh.login import Login
from warmside.bosh.runner import LoginRunner
from warmside.bosh.stream import HandoverData, prepare_handover
from warmside.sessions.model import WarmRequest, WarmSession
from warmside.turns import Turns


async def prepare(reactor: Any, request: WarmRequest, runner: LoginRunner) -> HandoverData:
    """Send presence, fetch the roster and pause the session, as requested.

    :returns: the elements that arrived meanwhile, and the seconds that the session survives unattended.
    :raises PauseTooLong: the connection manager does not keep a session unattended for so long.
    :raises BoshError: the session is over.
    """
    session = runner.session
    limit = max(session.inactivity, session.maxpause or 0) if runner.can_pause else session.inactivity
    if request.attach_within is not None and request.attach_within > limit:
        raise PauseTooLong(limit)
    data = HandoverData()
    if request.available or request.roster:
        data = await prepare_handover(
            reactor,
            session.parameters.host,
            runner.exchange,
            roster=request.roster,
            available=request.available,
        )
    if request.attach_within is not None and request.attach_within > session.inactivity:
        paused, stanzas = await runner.pause(request.attach_within)
        data.stanzas.extend(stanzas)
        return replace(data, attach_within=request.attach_within if paused else session.inactivity)
    return replace(data, attach_within=max(session.inactivity, request.attach_within or 0))


async def warm_session(reactor: Any, login: Login, data: HandoverData, public_url: str | None) -> WarmSession:
    """Return the result for a login without an outstanding request. Many stanzas are serialized in turns.

    :param public_url: URL of the connection manager as browsers see it.
    """
    session = login.session
    assert session.sid is not None and login.jid is not None and not session.outstanding
    turns = Turns(reactor)
    stanzas = []
    for element in login.others + data.stanzas:
        stanzas.append(element if isinstance(element, str) else element.toXml())
        if turns.due:
            await turns.rest()
    return WarmSession(
        jid=login.jid.full(),
        sid=session.sid,
        rid=session.next_rid,
        wait=session.wait,
        hold=session.hold,
        requests=session.requests,
        inactivity=session.inactivity,
        attach_within=data.attach_within,
        polling=session.polling,
        maxpause=session.maxpause,
        ver="{}.{}".format(*session.ver),
        bosh_url=public_url,
        stanzas=tuple(stanzas),
        left_out=session.left_out,
        roster=data.roster,
    )
