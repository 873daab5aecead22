"""The imports between packages follow docs/ARCHITECTURE.md, and the command that prints them finds faults."""

from pathlib import Path

import pytest

from tests.imports import faults, imported_units, imports, levels, long_files, main


def test_the_package_follows_the_layers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0, capsys.readouterr().err
    assert "imports between them" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("graph", "fault"),
    [
        ({"store": {"web"}, "web": set()}, "store imports web: import upwards"),
        ({"jids": {"otp"}, "otp": set()}, "jids imports otp: import upwards"),
        ({"web": {"bosh"}, "bosh": set()}, "web imports bosh: not allowed"),
        ({"store": {"bosh"}, "bosh": set()}, "store imports bosh: not allowed"),
        ({"config": {"otp"}, "otp": set()}, "config imports otp: not allowed"),
        ({"__main__": {"app"}, "app": set()}, "__main__ imports app: only cli and service may"),
        ({"throttle": {"sessions"}, "sessions": {"throttle"}}, "cycle: "),
        ({"helpers": set()}, "helpers: unknown"),
    ],
)
def test_an_import_against_the_rules_is_a_fault(graph: dict[str, set[str]], fault: str) -> None:
    assert [found for found in faults(graph) if found.startswith(fault)]


def test_every_kind_of_import_counts() -> None:
    units = {"app", "jids", "web", "warmside"}
    assert imported_units("import warmside.app.logs", units) == {"app"}
    assert imported_units("from warmside import jids, __version__", units) == {"jids", "warmside"}
    assert imported_units("def f():\n    from warmside.web.site import Site", units) == {"web"}
    assert imported_units("if TYPE_CHECKING:\n    import warmside.jids", units) == {"jids"}
    assert imported_units("import warmsideother, twisted.web", units) == set()
    with pytest.raises(ValueError, match="line 1: relative import"):
        imported_units("from . import jids", units)


def test_a_level_is_the_longest_chain_of_imports() -> None:
    graph: dict[str, set[str]] = {"web": {"store", "jids"}, "store": {"config"}, "config": {"jids"}, "jids": set()}
    assert levels(graph) == {"jids": 0, "config": 1, "store": 2, "web": 3}


def test_a_tree_with_a_fault_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "warmside/store").mkdir(parents=True)
    (tmp_path / "warmside/__init__.py").write_text("")
    (tmp_path / "warmside/cli.py").write_text("x = 1\n" * 301)
    (tmp_path / "warmside/store/users.py").write_text("from warmside import cli\n")
    assert imports(tmp_path) == {"warmside": set(), "cli": set(), "store": {"cli"}}
    assert long_files(tmp_path) == ["warmside/cli.py: 301 lines"]
    assert main(tmp_path) == 1
    assert capsys.readouterr().err.splitlines() == [
        "store imports cli: import upwards",
        "warmside/cli.py: 301 lines; at most 300 are allowed",
    ]
