"""Remember how a server spells a host that is not ASCII: in Unicode, or in Punycode (``xn--…``).

ejabberd 23.01 knows a host exactly as its ejabberd.yml spells it. 26.07 turns Punycode in that file into Unicode.
"""

from cachetools import LRUCache

from warmside.jids import JID, PreparedJID, ascii_host

MAX_HOSTS = 1000
"""Hosts that are remembered; the least recently used one is dropped."""

UNKNOWN_HOST = frozenset({"host-unknown", "host-gone", "improper-addressing", "internal-server-error"})
"""Conditions of a session creation for a host that the server does not serve. ejabberd names the last one."""


class HostSpellings:
    """The spelling of each host with which a session was created."""

    def __init__(self) -> None:
        self._served: LRUCache[str, str] = LRUCache(MAX_HOSTS)

    def candidates(self, host: str) -> tuple[str, ...]:
        """Return the spellings of a prepared host to try, the likeliest first."""
        if host.isascii():
            return (host,)
        both = host, ascii_host(host)
        return both if self._served.get(host, host) == host else both[::-1]

    def learn(self, host: str, spelling: str) -> None:
        """Remember the spelling with which a session was created."""
        self._served[host] = spelling

    def is_served(self, host: str) -> bool:
        """Return True if a session was created for a prepared host, in any spelling."""
        return host in self._served

    def served(self, jid: JID) -> JID:
        """Return a prepared JID with its host as the server spells it."""
        return PreparedJID(jid.user, self.candidates(jid.host)[0], jid.resource)
