"""Find out whether warmside's own address is banned."""

from typing import Any

from warmside.bosh.errors import Banned, Terminated
from warmside.bosh.runner import terminate
from warmside.bosh.session import Parameters, Session
from warmside.bosh.transport import ConnectionLease

MAX_CREATIONS = 3
"""Maximum session creations of one examination."""


async def is_banned(reactor: Any, lease: ConnectionLease, host: str, seconds: float) -> bool | None:
    """Return True if a session can't be created because of a ban; ``None`` if it is not known. Raises nothing.

    The session is ended at once. A creation that the manager loses is retried: ejabberd sometimes removes the session
    before it can return the reason.

    :param seconds: timeout for each request.
    """
    for _ in range(MAX_CREATIONS):
        session = Session(Parameters(host))
        try:
            await _create(reactor, lease, session, seconds)
        except Banned:
            return True
        except Terminated as error:
            if error.condition == "item-not-found":
                continue
            return None
        except Exception:
            return None
        await terminate(reactor, lease, session, seconds)
        return False
    return None


async def _create(reactor: Any, lease: ConnectionLease, session: Session, seconds: float) -> None:
    """Create a session.

    :raises BoshError: the manager has rejected it.
    """
    creation = session.create()
    posted = lease.post(creation.body)
    timer = reactor.callLater(seconds, posted.cancel)
    try:
        response = await posted
        session.receive(creation.rid, response.status, response.body)
    finally:
        if timer.active():
            timer.cancel()
