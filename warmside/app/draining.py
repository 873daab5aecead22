"""Respond to the requests that are on their way when the service stops listening."""

from typing import Any

from twisted.internet.task import deferLater

from warmside.web.site import BoundedSite

KEPT_REQUEST_TIMEOUT = 0.1
"""Seconds after the end of listening for a request that is on its way on a kept connection."""
FIRST_REQUEST_TIMEOUT = 1.0
"""Seconds after the end of listening for the first request on a new connection."""
POLL_INTERVAL = 0.01
"""Seconds between looks at the connections that are left."""


async def finish_requests(reactor: Any, site: BoundedSite, within: float) -> None:
    """Respond to the requests that have arrived or are on their way, and let each response be written.

    :param within: seconds after which connections are left to be cut.
    """
    since = reactor.seconds()
    await deferLater(reactor, min(KEPT_REQUEST_TIMEOUT, within))
    site.stop()
    while (waited := reactor.seconds() - since) < within:
        patient = waited < FIRST_REQUEST_TIMEOUT
        if not any(not each.rejected and (patient or not each.awaited) for each in site.channels):
            return
        await deferLater(reactor, POLL_INTERVAL)
