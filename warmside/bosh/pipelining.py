"""Remember if a connection manager processes requests that are sent before the response that they depend on.

warmside saves round trips with ``<auth/>`` in the session creation, and with a restart before ``<success/>``. punjab
drops the payload of a session creation. node-xmpp-bosh announces ``xmpp:restartlogic``, and yet loses a session that
is restarted before ``<success/>``.
"""

from collections.abc import Callable

from warmside.bosh.session import Session

AVOID_TIME = 600.0
"""Seconds for which a manager gets one request after the other, once a login with early requests has failed."""


class Pipelining:
    """Memory of one connection manager. Early requests are allowed once it has announced restart logic.

    :param seconds: returns the time.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._announced = False
        self._avoided_until: float | None = None

    @property
    def allowed(self) -> bool:
        """True if early requests may be sent."""
        if self._avoided_until is not None and self._seconds() >= self._avoided_until:
            self._avoided_until = None
        return self._announced and self._avoided_until is None

    def learn(self, session: Session) -> None:
        """Take what the manager has announced in its response to the session creation."""
        if session.created:
            self._announced = session.restart_logic

    def avoid(self) -> None:
        """Send no early requests for `AVOID_TIME`: a login with them has failed."""
        self._avoided_until = self._seconds() + AVOID_TIME
