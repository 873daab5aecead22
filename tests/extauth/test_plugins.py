"""Authorities that others have written."""

from pathlib import Path
from typing import Any

import pytest

import twisted.plugins
from warmside.extauth.authorities import Answer, Authority
from warmside.extauth.plugins import NoSuchAuthority, find_maker, make_authority


class Mine(Authority):
    """Says yes to one password."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor

    def auth(self, user: str, host: str, password: bytes) -> Answer:
        return password == b"sesame"


class Half:
    """Is no authority."""

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
    (tmp_path / "somebodys_plugin.py").write_text(PLUGIN)
    monkeypatch.setattr(twisted.plugins, "__path__", [*twisted.plugins.__path__, str(tmp_path)])
    assert isinstance(make_authority(find_maker("mine"), None), Mine)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nonsense", "no plugin and no Python object"),
        ("no.such.module", "no plugin and no Python object"),
        (f"{__name__}.PLUGIN", "can't be called"),
    ],
)
def test_what_is_not_there_is_named(name: str, why: str) -> None:
    with pytest.raises(NoSuchAuthority, match=why):
        find_maker(name)


def test_what_can_not_be_made_says_why_in_one_line() -> None:
    with pytest.raises(NoSuchAuthority, match="no database") as wrong:
        make_authority(find_maker(f"{__name__}.broken"), None)
    assert "secret" not in str(wrong.value)
    with pytest.raises(NoSuchAuthority, match="it has no isuser, setpass"):
        make_authority(find_maker(f"{__name__}.Half"), None)
