"""Admit admins' requests, and reject requests that pages of other sites sent."""

from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.web.guard import BasicCredentialFactory
from twisted.web.server import Request

from warmside.web.admins import AddressedPassword, Admin, IAdmin
from warmside.web.client_address import Networks
from warmside.web.endpoint import Call
from warmside.web.hashing import MAX_PASSWORD, Overloaded
from warmside.web.headers import request_header
from warmside.web.problems import Problem

CHALLENGE = 'Basic realm="warmside", charset="UTF-8"'
REJECTED = "name or password of an admin is missing or wrong, or ejabberd did not check the password in time"
TOO_LONG = (
    f"admins.file accepts no password of more than {MAX_PASSWORD} bytes, because bcrypt ignores the rest: "
    "make a line with a shorter one by `warmside hash-password NAME`"
)
PORTS = {"http": 80, "https": 443}
"""Default port of each scheme that an origin may have."""


class AdminAuthenticator:
    """Admits requests of admins only.

    :param portal: Cred's portal of admins.
    :param knows: returns True if an admin has this name; no other name is logged.
    :param trusted: networks of proxies whose ``X-Forwarded-For`` is trusted.
    """

    def __init__(self, portal: Portal, knows: Callable[[str], bool], trusted: Networks = ()) -> None:
        self._portal = portal
        self._knows = knows
        self._trusted = trusted
        self._basic = BasicCredentialFactory(b"warmside")

    def address(self, call: Call) -> str:
        """Return the IP address that a failure of this call is counted for."""
        return call.address(self._trusted)

    async def admit(self, call: Call) -> str:
        """Return the name of the admin that sent the request.

        :raises Problem: 403 for a foreign origin, 401 for wrong credentials, 503 if too many passwords wait.
        :raises TooManyFailures: too many wrong credentials.
        """
        refuse_foreign(call.request)
        detail = REJECTED
        scheme, _, encoded = (call.header("Authorization") or "").partition(" ")
        try:
            if scheme.lower() != "basic":
                raise LoginFailed
            given = self._basic.decode(encoded.strip().encode("latin-1"), call.request)
            name = given.username.decode("utf-8", "replace")
            call.admin = name if self._knows(name) else None
            if len(given.password) > MAX_PASSWORD:
                detail = f"{REJECTED}; {TOO_LONG}"
            credentials = AddressedPassword(given.username, given.password, self.address(call))
            _, admin, _ = await self._portal.login(credentials, None, IAdmin)
        except (UnauthorizedLogin, LoginFailed):
            raise Problem("unauthorized", detail, headers={"WWW-Authenticate": CHALLENGE}) from None
        except Overloaded:
            raise Problem("busy", "too many passwords wait to be checked") from None
        call.admin = cast(Admin, admin).name
        return call.admin


def refuse_foreign(request: Request) -> None:
    """Reject a request that a page of another site sent.

    No page can set ``Sec-Fetch-Site``. Its value ``same-origin`` is therefore a sufficient proof, also behind a proxy
    that sends a ``Host`` of its own.

    :raises Problem: 403.
    """
    site = request_header(request, "Sec-Fetch-Site")
    if site == "cross-site" or (site != "same-origin" and _is_foreign(request)):
        raise Problem(
            "foreign-origin",
            "a page of another site must not send requests here. If the page was this server's own form, let the "
            "reverse proxy pass on the browser's Host",
        )


def _is_foreign(request: Request) -> bool:
    origin = request_header(request, "Origin")
    if origin is None:
        return False
    try:
        parts = urlsplit(origin)
        default = PORTS.get(parts.scheme)
        host = urlsplit("//" + (request_header(request, "Host") or ""))
        return default is None or (parts.hostname, parts.port or default) != (host.hostname, host.port or default)
    except ValueError:
        return True
