"""Authorities that others have written: found as a Twisted plugin, or by a dotted name."""

from collections.abc import Callable
from typing import Any

from twisted.plugin import getPlugins
from twisted.python.reflect import namedAny
from zope.interface import Attribute, Interface

from warmside.extauth.authorities import IAuthority

METHODS = ("auth", "isuser", "setpass", "tryregister", "removeuser", "removeuser3", "certauth", "close")


class NoSuchAuthority(Exception):
    """There is no authority of this name, or it can't be made. The message says why."""


class IAuthorityMaker(Interface):
    """A Twisted plugin (in ``twisted/plugins/``) that makes an authority."""

    name = Attribute("What ``extauth.authority`` says to choose it.")

    def makeAuthority(reactor: Any) -> IAuthority:
        """Make the authority, once for each process."""


def find_maker(name: str) -> Callable[[Any], IAuthority]:
    """What makes the authority of this name, when it is called with the reactor.

    :param name: that of an `IAuthorityMaker` plugin, or the dotted name of a Python object.
    :raises NoSuchAuthority: there is none.
    """
    for plugin in getPlugins(IAuthorityMaker):
        if plugin.name == name:
            return plugin.makeAuthority
    try:
        found: Any = namedAny(name)
    except Exception as error:  # whatever a module raises while it is imported
        raise NoSuchAuthority(f"there is no plugin and no Python object of this name ({_kind(error)})") from None
    if not callable(found):
        raise NoSuchAuthority("it can't be called to make an authority")
    return found  # type: ignore[no-any-return]


def make_authority(make: Callable[[Any], IAuthority], reactor: Any) -> IAuthority:
    """Make an authority.

    :raises NoSuchAuthority: that failed, or what was made is none.
    """
    try:
        authority = make(reactor)
    except Exception as error:
        raise NoSuchAuthority(f"it could not be made ({_kind(error)})") from None
    missing = [method for method in METHODS if not callable(getattr(authority, method, None))]
    if missing:
        raise NoSuchAuthority(f"it has no {', '.join(missing)}: see warmside.extauth.authorities.IAuthority")
    return authority


def _kind(error: Exception) -> str:
    """An error in a few words; the first line alone, since its text is not ours."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
