"""Third-party authorities."""

import inspect
from pathlib import Path
from typing import Any

import pytest

import twisted.plugins
from tests.extauth.support import OPERATIONS, request
from warmside.extauth.authorities import Answer, Authority, IAuthority
from warmside.extauth.handlers import AuthorityAdapter
from warmside.extauth.plugins import METHODS, NoSuchAuthority, find_maker, make_authority
from warmside.extauth.request import WITH_SECRET


class Mine(Authority):
    """Accepts one password."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor

    def auth(self, user: str, host: str, password: bytes) -> Answer:
        return password == b"sesame"


class DuckTyped:
    """Has the methods of an authority and derives from nothing."""

    def __init__(self, reactor: Any) -> None:
        pass

    def auth(self, user: str, host: str, password: bytes) -> bool:
        return password == b"sesame"

    def isuser(self, user: str, host: str) -> bool:
        return user == "juliet"

    setpass = tryregister = removeuser3 = certauth = auth
    removeuser = isuser

    def close(self) -> None:
        pass


class Half:
    """Has one method of an authority."""

    def __init__(self, reactor: Any) -> None:
        pass

    def auth(self) -> None:
        pass


def broken(reactor: Any) -> Authority:
    raise ValueError("no database\nsecret")


PLUGIN = """
from zope.interface import implementer
from twisted.plugin import IPlugin
from tests.extauth.test_plugins import Mine
from warmside.extauth.plugins import IAuthorityMaker

@implementer(IPlugin, IAuthorityMaker)
class Maker:
    name = "mine"

    def makeAuthority(self, reactor):
        return Mine(reactor)

maker = Maker()
"""


def test_an_authority_is_found_by_its_dotted_name() -> None:
    made = make_authority(find_maker(f"{__name__}.Mine"), "reactor")
    assert isinstance(made, Mine) and made.reactor == "reactor"


def test_an_authority_is_found_as_a_twisted_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "third_party_plugin.py").write_text(PLUGIN)
    monkeypatch.setattr(twisted.plugins, "__path__", [*twisted.plugins.__path__, str(tmp_path)])
    assert isinstance(make_authority(find_maker("mine"), None), Mine)


def test_an_authority_rejects_what_it_does_not_override() -> None:
    handler = AuthorityAdapter(make_authority(find_maker(f"{__name__}.Mine"), None))
    accepted = [operation for operation in OPERATIONS if handler.answer(request(operation, b"sesame")) is not False]
    assert accepted == ["auth"]
    assert handler.close() is None


def test_an_authority_need_not_derive_from_the_base_class() -> None:
    handler = AuthorityAdapter(make_authority(find_maker(f"{__name__}.DuckTyped"), None))
    assert all(handler.answer(request(operation, b"sesame")) for operation in OPERATIONS)
    assert not handler.answer(request("certauth", b"wrong"))
    assert handler.close() is None


def test_the_interface_has_a_method_for_each_operation() -> None:
    assert (*OPERATIONS, "close") == METHODS
    for operation in OPERATIONS:
        arguments = inspect.signature(getattr(IAuthority, operation)).parameters
        assert len(arguments) == (4 if operation in WITH_SECRET else 3), operation


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nonsense", "no plugin and no Python object"),
        ("no.such.module", "no plugin and no Python object"),
        (f"{__name__}.PLUGIN", "can't be called"),
    ],
)
def test_an_authority_that_does_not_exist_is_named(name: str, reason: str) -> None:
    with pytest.raises(NoSuchAuthority, match=reason):
        find_maker(name)


def test_a_failure_to_make_an_authority_is_explained_in_one_line() -> None:
    with pytest.raises(NoSuchAuthority, match="no database") as failed:
        make_authority(find_maker(f"{__name__}.broken"), None)
    assert "secret" not in str(failed.value)
    with pytest.raises(NoSuchAuthority, match="the authority has no isuser, setpass"):
        make_authority(find_maker(f"{__name__}.Half"), None)
