"""Third-party authorities, found as a Twisted plugin or by a dotted name."""

from collections.abc import Callable
from typing import Any

from twisted.plugin import getPlugins
from twisted.python.reflect import namedAny
from zope.interface import Attribute, Interface

from warmside.extauth.authorities import IAuthority

METHODS = tuple(name for name in vars(IAuthority) if not name.startswith("_"))
"""Methods that an authority must have, in the order of their definition."""
MAX_ERROR_LENGTH = 200
"""Characters of a third-party error's text that are shown."""


class NoSuchAuthority(Exception):
    """The authority can't be found or made. The message says why."""


class IAuthorityMaker(Interface):
    """Twisted plugin (in ``twisted/plugins/``) that makes an authority."""

    name = Attribute("Value of ``extauth.authority`` that selects this plugin.")

    def makeAuthority(reactor: Any) -> IAuthority:
        """Make the authority; called once in each process."""


def find_maker(name: str) -> Callable[[Any], IAuthority]:
    """Return a callable that takes the reactor and makes the authority.

    :param name: name of an `IAuthorityMaker` plugin, or dotted name of a Python object.
    :raises NoSuchAuthority: neither exists, or the object can't be called.
    """
    for plugin in getPlugins(IAuthorityMaker):
        if plugin.name == name:
            return plugin.makeAuthority
    try:
        found: Any = namedAny(name)
    except Exception as error:  # the import runs third-party code
        raise NoSuchAuthority(f"found no plugin and no Python object of this name ({_summary(error)})") from None
    if not callable(found):
        raise NoSuchAuthority("the Python object can't be called: give a class or a function that takes the reactor")
    return found  # type: ignore[no-any-return]


def make_authority(make: Callable[[Any], IAuthority], reactor: Any) -> IAuthority:
    """Make an authority.

    :raises NoSuchAuthority: ``make`` failed, or its result lacks methods of `IAuthority`.
    """
    try:
        authority = make(reactor)
    except Exception as error:
        raise NoSuchAuthority(f"making the authority failed ({_summary(error)})") from None
    missing = [method for method in METHODS if not callable(getattr(authority, method, None))]
    if missing:
        raise NoSuchAuthority(
            f"the authority has no {', '.join(missing)}: derive it from warmside.extauth.authorities.Authority"
        )
    return authority


def _summary(error: Exception) -> str:
    """Return the type and the first line of an error; more lines might hold anything."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:MAX_ERROR_LENGTH]
