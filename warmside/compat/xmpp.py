"""wokkel, and domish of twisted.words."""

import warnings

from twisted.words.xish.domish import Element, escapeToXml

# wokkel 18.0.0 (2018) is the latest release. It imports names that Twisted has deprecated since, such as
# `twisted.python.compat.unicode`. A run with `-W error` must not fail for that, so every name of wokkel that
# warmside uses is imported here. wokkel's PresenceProtocol calls such a name whenever it sends presence, so
# warmside sends presence by itself.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from wokkel.generic import Request
    from wokkel.subprotocols import StreamManager, XMPPHandler
    from wokkel.xmppim import RosterClientProtocol, RosterRequest

__all__ = [
    "Request",
    "RosterClientProtocol",
    "RosterRequest",
    "StreamManager",
    "XMPPHandler",
    "escaped_namespace",
    "is_claimed",
]


def is_claimed(element: Element) -> bool:
    """True if a handler's request awaited this element.

    Reason: `StreamManager` marks a response with an attribute ``handled`` and has no callback for the others.
    The attribute is read from ``__dict__``, because `Element` looks every other name up among its children.
    """
    return bool(element.__dict__.get("handled"))


def escaped_namespace(uri: str) -> str:
    """Return a namespace as `Element` must hold it.

    Reason: `Element.toXml` escapes texts and attributes, but writes namespaces as they are. The namespaces of a
    foreign stanza could otherwise inject elements into a reply.
    """
    escaped: str = escapeToXml(uri, 1)
    return escaped
