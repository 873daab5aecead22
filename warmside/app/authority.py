"""Open the authority for ordinary passwords that the configuration names."""

from collections.abc import Callable
from typing import Any, NamedTuple

from warmside.app.resources import config_errors_for
from warmside.config.loader import ConfigError
from warmside.config.reloading import ReloadingFile
from warmside.config.settings import Config
from warmside.extauth.authorities import IAuthority
from warmside.extauth.check import Ask
from warmside.extauth.handlers import AuthorityAdapter, RequestHandler, UsersAuthority
from warmside.extauth.isusercache import StaleIsUserCache
from warmside.extauth.plugins import NoSuchAuthority, find_maker, make_authority
from warmside.extauth.program import ProgramAuthority
from warmside.extauth.webapp import WebAppAuthority
from warmside.store.interface import KnownUsers

AuthorityMaker = Callable[[Any], IAuthority]


def authority_maker(config: Config) -> AuthorityMaker | None:
    """Find what makes the authority that ``extauth.authority`` names.

    :raises ConfigError: there is no such plugin or object.
    """
    name = config.extauth.authority
    if name is None:
        return None
    try:
        return find_maker(name)
    except NoSuchAuthority as error:
        raise ConfigError(config.path, key="extauth.authority", shown=f'"{name}"', message=str(error)) from None


class OpenedAuthority(NamedTuple):
    """The authority for passwords that are not one-time passwords.

    :ivar ask: sends a request to it, past the cache, for ``/ready``; ``None`` if the known users are the authority.
    """

    handler: RequestHandler
    ask: Ask | None


def open_authority(
    config: Config,
    reactor: Any,
    *,
    secret: "ReloadingFile[str] | None",
    maker: AuthorityMaker | None,
    users: KnownUsers,
) -> OpenedAuthority:
    """Open the authority for passwords that are not one-time passwords.

    :raises StartError: it can't be made.
    """
    settings = config.extauth
    if settings.program is not None:
        program = ProgramAuthority(reactor, settings.program, settings.program_copies)
        return OpenedAuthority(StaleIsUserCache(program), program.answer)
    if settings.url is not None:
        application = WebAppAuthority(reactor, settings.url, secret, ca_file=settings.ca_file)
        return OpenedAuthority(StaleIsUserCache(application), application.check)
    if maker is not None:
        with config_errors_for(config, "extauth.authority", settings.authority):
            adapter = AuthorityAdapter(make_authority(maker, reactor))
        return OpenedAuthority(StaleIsUserCache(adapter), adapter.answer)
    return OpenedAuthority(UsersAuthority(users), None)
