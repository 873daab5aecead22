"""The reader of ``ejabberd.yml``: macros, included files, hosts and lines."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.doctor import cures
from warmside.doctor.edits import add_to, comment_out, replace, set_option
from warmside.doctor.ejabberd import YamlError, load

ROOT = Path(__file__).resolve().parents[2]


def written(folder: Path, text: str, name: str = "ejabberd.yml") -> Path:
    """Write a file and return its path."""
    path = folder / name
    path.write_text(text)
    return path


def test_host_config_replaces_and_appends(tmp_path: Path) -> None:
    """An option of ``host_config`` replaces, one of ``append_host_config`` is appended."""
    text = (
        "hosts: [a.example, B.example]\nauth_method: external\nmodules:\n  mod_x: {}\n"
        "host_config:\n  a.example:\n    auth_method: [internal]\n"
        "append_host_config:\n  b.example:\n    modules:\n      mod_y: {}\n"
    )
    read = load(written(tmp_path, text))
    assert read.hosts == ("a.example", "b.example")
    assert (read.names("auth_method", "a.example"), read.names("auth_method", "b.example")) == (
        ["internal"],
        ["external"],
    )
    assert read.module("mod_x", "b.example") and read.module("mod_y", "b.example")
    assert read.module("mod_y", "a.example") is None


def test_macros(tmp_path: Path) -> None:
    """Macros of macros and in texts are replaced; one of the environment, or a circle, is not determined."""
    text = (
        "define_macro:\n  A: B\n  B: 7\n  NAME: warm\n  C: D\n  D: C\n  ENV: 1\nhosts: [x]\n"
        'extauth_pool_size: A\nextauth_pool_name: "@NAME@side"\nauth_method: C\nauth_use_cache: ENV\n'
    )
    read = load(written(tmp_path, text), environ={"EJABBERD_MACRO_ENV": "2"})
    entry = read.entry("extauth_pool_size")
    assert entry is not None and entry.value.scalar == 7
    assert read.names("extauth_pool_name") == ["warmside"]
    assert read.is_unsure("auth_method") and read.is_unsure("auth_use_cache")
    assert read.flag("auth_use_cache", True) is None


def test_aliases_share_their_value(tmp_path: Path) -> None:
    """An anchor's value counts in each place. A merge key is not determined."""
    text = "hosts: [x]\nmodules:\n  mod_a: &a\n    access: all\n  mod_b: *a\nacl:\n  <<: {a: 1}\n"
    read = load(written(tmp_path, text))
    module = read.module("mod_b", "x")
    assert module is not None and module.value.plain() == {"access": "all"}
    assert (module.place.first, module.place.last) == (5, 5)
    assert read.is_unsure("acl")


def test_included_files(tmp_path: Path) -> None:
    """``allow_only`` and ``disallow`` choose options; a relative path needs ejabberd's folder."""
    written(tmp_path, "auth_method: [internal]\nauth_use_cache: false\nlisten:\n  - port: 1\n    module: x\n", "b.yml")
    base = "hosts: [x]\nlisten:\n  - port: 2\n    module: y\n"
    only = load(written(tmp_path, f"{base}include_config_file:\n  {tmp_path}/b.yml:\n    allow_only: [listen]\n"))
    assert [it.port for it in only.listeners] == [2, 1] and only.names("auth_method") is None and only.complete
    relative = written(tmp_path, f"{base}include_config_file: [b.yml]\n")
    assert load(relative, folder=tmp_path).names("auth_method") == ["internal"]
    unsure = load(relative)
    assert not unsure.complete and "b.yml" in unsure.unsure[0] and unsure.is_unsure("auth_method")
    assert unsure.flag("auth_use_cache", True) is None and only.flag("auth_use_cache", True) is True
    circle = load(written(tmp_path, f"{base}include_config_file: {tmp_path}/ejabberd.yml\n"))
    assert "twice" in circle.unsure[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hosts: [x\n", ":2: not YAML"),
        ("- a\n", "expected options"),
        ("hosts: [x]\nauth_use_cache: true\nauth_use_cache: false\n", ":3: duplicate option auth_use_cache"),
        ("hosts: [x]\nmodules:\n  mod_a: {}\nmodules:\n  mod_a: {}\n", ":5: duplicate option mod_a"),
        ("a: " + "[" * 300 + "]" * 300, "not YAML"),
        ("a: \x00", "not YAML"),
    ],
    ids=["syntax", "list", "option", "module", "deep", "nul"],
)
def test_unusable(tmp_path: Path, text: str, says: str) -> None:
    """What ejabberd does not start with is an error that names the line."""
    with pytest.raises(YamlError, match=says):
        load(written(tmp_path, text))


def test_many_aliases(tmp_path: Path) -> None:
    """A file whose aliases stand for billions of values is read as fast as a short one."""
    lines = ["hosts: [x]", "a0: &a0 [1, 1]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    with pytest.raises(YamlError, match="too many"):
        load(written(tmp_path, "\n".join(lines)))


@settings(max_examples=25)
@given(st.data())
def test_random_changes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A damaged file is read, or rejected with an error that names it."""
    text = (ROOT / "etc/ejabberd.yml").read_text()
    start = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.integers(0, 40))
    path = tmp_path_factory.getbasetemp() / "damaged.yml"
    path.write_text(text[:start] + data.draw(st.text(max_size=8)) + text[start + length :], errors="ignore")
    fault = ""
    try:
        assert load(path).path == path
    except YamlError as error:
        fault = str(error)
    assert not fault or "damaged.yml" in fault


def test_commands_change_the_lines_that_they_name(tmp_path: Path) -> None:
    """Commands find their line by its text, also behind other changes, and by its number if the text is there twice."""
    text = "hosts:\n  - it's [a]*.$/x\nmodules:\n  mod_a:\n    x: 1\n  mod_b: {}\nacl:\n  mod_b: {}\n"
    path = written(tmp_path, text)
    read = load(path)
    modules, hosts = read.entry("modules"), read.entry("hosts")
    assert modules is not None and hosts is not None
    first, second = modules.value.items
    commands = [
        replace(hosts.value.items[0].place, ["- b"]),
        comment_out(second.place),
        add_to(modules, ["mod_c: {}"]),
        replace(first.place, ["mod_a: {}", "mod_z: {}"]),
    ]
    assert all(command.startswith("$ ") for command in commands)
    for command in commands:
        cures.apply(command)
    assert path.read_text() == (
        "hosts:\n  - b\nmodules:\n  mod_c: {}\n  mod_a: {}\n  mod_z: {}\n#  mod_b: {}\nacl:\n  mod_b: {}\n"
    )


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """A command changes the file that a symbolic link names."""
    real = written(tmp_path, "hosts: [x]\nauth_use_cache: true\n", "real.yml")
    link = tmp_path / "link.yml"
    link.symlink_to(real)
    cures.apply(set_option(load(link), "auth_use_cache", "false", "x"))
    assert link.is_symlink() and "auth_use_cache: false" in real.read_text()


def test_a_value_that_shares_its_line_is_left_to_the_operator(tmp_path: Path) -> None:
    """No command changes a line that holds more than the value."""
    read = load(written(tmp_path, "{hosts: [x], auth_use_cache: true}\n"))
    cure = set_option(read, "auth_use_cache", "false", "x")
    assert "$ " not in cure and "ejabberd.yml:1, set auth_use_cache: false" in cure
