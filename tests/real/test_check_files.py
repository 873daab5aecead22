"""Faults in files and their rights: each is named, its cure followed to the letter, and gone."""

import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from private_ejabberd import free_port

from tests.doctor import cures
from tests.real.checked import CheckedSite
from tests.real.parts import PASSWORD, WARMSIDE, exchanged, run
from warmside.doctor import examine
from warmside.doctor.context import Options
from warmside.doctor.files import permissions
from warmside.doctor.processes import Process, account_of

HOST = "example.org"
NOBODY = 65534


def line_of(site: CheckedSite) -> str:
    """Return the value of ``extauth_program``."""
    return f"{sys.executable} -I -m warmside extauth --config {site.toml}"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("# timeout = 10 ", "timeuot = 10 #", "did you mean bosh.timeout"),
        ("# timeout = 10 ", "timeout = -1 #", "bosh.timeout = -1"),
        ("# timeout = 10 ", "timeout = #", "not TOML"),
        ("# insecure = false ", "insecure = 1 #", "insecure = 1"),
        ("[passwords]\n", "[passwords]\n[passwrods]\nx = 1\n", "passwrods"),
        ("[policy]\n", '[policy]\nprotected = [\n  "a",\n  "b",\n]\n', "policy.protected"),
    ],
)
def test_config(site: CheckedSite, old: str, new: str, says: str) -> None:
    """An error in the TOML file; the default of the key corrects it."""
    site.change(site.toml, (old, new))
    assert says in site.cured("config")["says"]


def test_missing_config(site: CheckedSite, tmp_path: Path) -> None:
    """A missing file is made from the sample. The file that the program uses counts, too."""
    missing = tmp_path / "etc" / "warmside.toml"
    site.change(site.yml, (f"--config {site.toml}", f"--config {missing}"))
    found = site.findings()
    assert [each["name"] for each in found] == ["config"] and str(missing) in found[0]["says"]
    cures.apply(found[0]["cure"])
    assert site.findings() == []


def test_admins(site: CheckedSite) -> None:
    """An admins file that warmside rejects; one that is missing gets an admin."""
    site.server.admins.write_text(site.server.admins.read_text() + "webapp2:plain\n")
    found = site.cured("config")
    assert "line 2" in found["says"] and "webapp2" not in str(found)
    site.server.admins.unlink()
    found = site.cured("config")
    assert PASSWORD not in str(found)
    assert site.server.admins.read_text().startswith("webapp:$2b$")
    assert site.server.admins.stat().st_mode & 0o777 == 0o640


def test_secret(site: CheckedSite, tmp_path: Path) -> None:
    """A secret that warmside rejects. It is not shown."""
    secret = tmp_path / "secret"
    secret.write_text("two words")
    secret.chmod(0o600)
    extauth = f'[extauth]\nurl = "https://example.org/x"\nsecret_file = "{secret}"\n'
    site.change(site.toml, ("[extauth]\n", extauth))
    assert "two words" not in str(site.cured("config"))
    site.change(site.toml, ('url = "https://example.org/x"', 'url = "https://me:hidden@example.org/x"'))
    assert "hidden" not in str(site.findings())


@pytest.mark.parametrize(("part", "mode"), [("toml", 0o666), ("admins", 0o660), ("folder", 0o777), ("program", 0o777)])
def test_writable(site: CheckedSite, tmp_path: Path, part: str, mode: int) -> None:
    """Files, and folders without the sticky bit, that others may change."""
    program = tmp_path / "bin" / "warmside"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n")
    program.chmod(0o755)
    site.change(site.yml, (line_of(site), f"{program} extauth --config {site.toml}"))
    paths = {"toml": site.toml, "admins": site.server.admins, "folder": program.parent, "program": program}
    paths[part].chmod(mode)
    assert str(paths[part]) in site.cured("writable")["says"]
    paths["folder"].chmod(0o1777)
    assert site.names() == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/nowhere/python -I -m warmside extauth --config {toml}", "missing"),
        ("{folder} extauth --config {toml}", "no file"),
        ("{folder}/plain extauth --config {toml}", "not executable"),
        ("{folder}/a b/warmside extauth", "space"),
        ("{python} -I -m warmside --token secret", "subcommand"),
        ("{python} -I -m warmside --config {toml}", "subcommand"),
        ("{python} -I -m warmside relay", "socket"),
    ],
)
def test_program(site: CheckedSite, tmp_path: Path, line: str, says: str) -> None:
    """A line that can't start warmside."""
    (tmp_path / "plain").write_text("")
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "warmside").write_text("")
    new = line.format(folder=tmp_path, python=sys.executable, toml=site.toml)
    site.change(site.yml, (line_of(site), new))
    found = site.cured("program", host=HOST)
    assert says in found["says"] and "--token" not in str(found)


def test_both_forms_of_the_program(site: CheckedSite) -> None:
    """``bin/warmside extauth`` is as good as ``python -I -m warmside extauth``."""
    site.change(site.yml, (line_of(site), f"{WARMSIDE} extauth --config {site.toml}"))
    assert site.names() == []


def test_relay(site: CheckedSite, tmp_path: Path) -> None:
    """A relay's socket without a listener; with one, there is no fault."""
    path = tmp_path / "s"
    site.change(site.yml, (line_of(site), f"{WARMSIDE} relay {path}"))
    assert site.names() == ["relay"]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert site.names() == ["relay"]
        listener.listen()
        assert site.names() == []


class OtherUser:
    """Files of a set-up in which no process runs, so that the account ``ejabberd`` has to read them."""

    def __init__(self, site: CheckedSite, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.site = site
        self.folder = folder
        folder.chmod(0o755)
        self.config = folder / "etc" / "warmside.toml"
        self.config.parent.mkdir(mode=0o755)
        self.admins = self.config.with_name("admins")
        self.admins.write_text(site.server.admins.read_text())
        paths = (str(site.server.admins), str(self.admins)), (f"tcp:{site.server.port}:", f"tcp:{free_port()}:")
        self.config.write_text(exchanged(site.toml.read_text(), *paths))
        self.admins.chmod(0o644)
        self.yml = folder / "ejabberd.yml"
        program = f"/usr/bin/python3 -I -m warmside extauth --config {self.config}"
        self.yml.write_text(site.yml.read_text().replace(line_of(site), program))
        for name in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY"):
            path = folder / name
            path.mkdir()
            run("chown", "ejabberd", path)
            monkeypatch.setenv(name, str(path))

    def findings(self) -> list[dict[str, str]]:
        """Return the findings."""
        return self.site.findings(config=self.config, yml=self.yml)

    def cured(self, name: str) -> str:
        """Find faults of this name alone, follow the first cure until none is left, and return the first text."""
        first = self.findings()
        assert {each["name"] for each in first} == {name}, first
        for _ in range(3):
            for finding in self.findings()[:1]:
                cures.apply(finding["cure"])
        assert self.findings() == []
        return first[0]["says"]


@pytest.fixture
def other(site: CheckedSite, monkeypatch: pytest.MonkeyPatch) -> Iterator[OtherUser]:
    """Return the files. No parent of their folder is pytest's, which other users can't search."""
    with tempfile.TemporaryDirectory(prefix="warmside-check-") as folder:
        yield OtherUser(site, Path(folder), monkeypatch)


def needs_root(other: OtherUser) -> bool:
    """True for root. Other users are told in ``unseen`` what they can't examine."""
    if os.geteuid() == 0:
        return True
    unseen = other.site.report(config=other.config, yml=other.yml)["unseen"]
    assert any("run the command as root or as ejabberd" in each for each in unseen)
    return False


def test_permissions(other: OtherUser) -> None:
    """The account ejabberd must read the files, search their folders and run the program."""
    if not needs_root(other):
        return
    assert other.findings() == []
    other.admins.chmod(0o600)
    assert "ejabberd can't read the admins" in other.cured("permissions")
    other.config.chmod(0o600)
    assert "the configuration" in other.cured("permissions")
    other.config.parent.chmod(0o700)
    assert f"search the folder {other.config.parent}" in other.cured("permissions")
    program = other.folder / "warmside"
    program.write_text("#!/usr/bin/python3\n")
    program.chmod(0o700)
    other.yml.write_text(other.yml.read_text().replace("/usr/bin/python3 -I -m warmside", str(program)))
    assert "the program" in other.cured("permissions")
    text = other.config.read_text()
    other.config.write_text(text.replace("[extauth]\n", f'[extauth]\nprogram = "{program}"\n'))
    other.yml.write_text(other.yml.read_text().replace(str(program), "/usr/bin/python3 -I -m warmside"))
    assert other.findings() == []
    program.chmod(0o754)
    assert f"the program {program}" in other.cured("permissions")
    program.chmod(0o775)
    assert str(program) in other.cured("writable")
    other.yml.chmod(0o600)
    assert "ejabberd's configuration" in other.cured("permissions")


def test_socket_that_ejabberd_may_not_connect_to(other: OtherUser) -> None:
    """The account ejabberd must be able to connect to the relay's socket."""
    path = other.folder / "s"
    line = f"/usr/bin/python3 -I -m warmside relay {path}"
    other.yml.write_text(
        re.sub("^extauth_program: .*$", f'extauth_program: "{line}"', other.yml.read_text(), flags=re.M)
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o700)
        if needs_root(other):
            assert "connect to the relay's socket" in other.cured("permissions")


def test_hidden_program(other: OtherUser) -> None:
    """A program that the mount namespace of ejabberd's process hides, as ProtectHome does."""
    context = examine.prepare(Options(other.config, other.yml, offline=True))
    context.user = context.service_user = account_of(os.geteuid())
    context.ejabberd_process = Process(1, 0, ("beam.smp",), {}, other.folder)
    found = list(permissions(context))
    assert [each.name for each in found] == ["permissions"] and "hides the folder" in found[0].says


def test_owner_that_may_write(other: OtherUser) -> None:
    """An owner that is neither root nor ejabberd may change the file."""
    if needs_root(other):
        os.chown(other.admins, NOBODY, NOBODY)
        assert "can write to" in other.cured("writable")


@pytest.mark.parametrize("name", ["RUNTIME_DIRECTORY", "STATE_DIRECTORY"])
def test_folders(other: OtherUser, name: str) -> None:
    """A folder that is missing, and one of another user."""
    if not needs_root(other):
        return
    folder = other.folder / name
    folder.rmdir()
    assert "is missing" in other.cured("folders")
    os.chown(folder, NOBODY, NOBODY)
    assert "belongs to another user" in other.cured("folders")
