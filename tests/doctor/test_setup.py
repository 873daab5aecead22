"""``warmside setup``: what it plans, writes, refuses and undoes."""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.doctor.setups import LINE, STOCK, SetUp, this_user
from warmside.config.loader import load
from warmside.doctor import processes, setup, survey
from warmside.doctor.ejabberd import load as load_ejabberd
from warmside.doctor.ymledit import Refused


@pytest.fixture(autouse=True)
def _as_this_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "account_named", this_user)


def changed(tmp_path: Path, *pairs: tuple[str, str]) -> SetUp:
    """Return a set-up whose ejabberd.yml is the stock one with replacements."""
    text = STOCK
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return SetUp(tmp_path, text)


def test_without_apply_everything_is_shown_and_nothing_written(tmp_path: Path) -> None:
    site = SetUp(tmp_path)
    before = site.tree()
    assert site.setup(apply=False) == 0
    assert site.tree() == before
    for part in (
        f"+++ {site.config}", f"+++ {site.admins}", f"+++ {site.included}", f"+++ {site.yml}",
        f"+++ {site.places.tmpfiles}", f"# new folder {site.places.runtime}, mode 0750",
        f'+include_config_file: "{site.included}"', "+auth_method: [external]", f'+extauth_program: "{LINE}"',
    ):  # fmt: skip
        assert part in site.output, part
    assert "$2b$" not in site.output


def test_apply_gives_ejabberd_and_warmside_what_they_need(tmp_path: Path) -> None:
    site = SetUp(tmp_path)
    assert site.apply() == 0
    ejabberd = load_ejabberd(site.yml)
    assert ejabberd.names("auth_method") == ["external"]
    assert ejabberd.flag("auth_use_cache", True) is False
    assert ejabberd.options["extauth_program"].value.scalar == LINE
    assert [(each.port, each.ip) for each in ejabberd.listeners if "/bosh" in each.handlers] == [(5282, "127.0.0.1")]
    config = load(site.config)
    assert config.admins.file == site.admins
    modes = {path: oct(path.stat().st_mode & 0o777) for path in (site.config, site.admins, site.yml, site.included)}
    assert set(modes.values()) == {"0o640"}, modes
    assert oct(site.places.state.stat().st_mode & 0o777) == "0o700"
    assert "/run 0750" in site.places.tmpfiles.read_text()


def test_the_printed_password_is_that_of_the_admin(tmp_path: Path) -> None:
    import bcrypt

    site = SetUp(tmp_path)
    site.apply()
    (password,) = [line.split()[-1] for line in site.output.splitlines() if "shown only now" in line]
    name, hashed = site.admins.read_text().splitlines()[1].split(":")
    assert name == "webapp"
    assert bcrypt.checkpw(password.encode(), hashed.encode())
    assert not any(password.encode() in content for _, _, _, content in site.tree().values())


def test_a_second_run_changes_nothing_and_says_so(tmp_path: Path) -> None:
    site = SetUp(tmp_path)
    site.apply()
    before = site.tree()
    assert site.apply() == 0
    assert "Nothing to change" in site.output
    assert site.tree() == before


def test_auth_method_stays_as_it_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = SetUp(tmp_path)
    monkeypatch.setattr(survey, "internal_accounts", lambda *_, **__: (True, "a table has accounts"))
    site.apply()
    assert "auth_method: [internal, external]" in site.included.read_text()
    monkeypatch.setattr(survey, "internal_accounts", lambda *_, **__: (False, "no account"))
    site.apply()
    assert "Nothing to change" in site.output


@pytest.mark.parametrize("end", ["\n", "\r\n", ""], ids=["lf", "crlf", "no-end"])
def test_remove_restores_every_byte(tmp_path: Path, end: str) -> None:
    text = STOCK.replace("\n", "\r\n") if end == "\r\n" else STOCK.rstrip("\n") + end
    site = SetUp(tmp_path, text.replace("loglevel: info", "auth_use_cache: true"))
    before = site.tree()
    assert site.apply() == 0
    assert b'#before "warmside setup"#auth_use_cache: true' in site.yml.read_bytes()
    assert site.remove() == 0
    assert site.tree() == before
    assert site.remove() == 0
    assert site.output == "Nothing to remove."


def test_a_document_start_and_the_comments_of_an_option_stay_in_their_places(tmp_path: Path) -> None:
    site = SetUp(tmp_path, "%YAML 1.2\n---\n" + STOCK)
    assert site.apply() == 0
    lines = site.yml.read_text().splitlines()
    assert lines[:2] == ["%YAML 1.2", "---"]
    assert lines[lines.index("loglevel: info") - 1].startswith("# A file as Debian ships it")
    site.remove()
    assert site.yml.read_text() == "%YAML 1.2\n---\n" + STOCK


def test_remove_keeps_what_was_changed_meanwhile(tmp_path: Path) -> None:
    site = SetUp(tmp_path)
    site.apply()
    site.yml.write_text(site.yml.read_text().replace("loglevel: info", "loglevel: debug"))
    with site.admins.open("a") as file:
        file.write("other:$2b$04$kyJsznY2X3rSJNsUrhJ7hO0rMy82dkH52dfbwD.zBH6cFziE94EKG\n")
    site.remove()
    assert site.yml.read_text() == STOCK.replace("loglevel: info", "loglevel: debug")
    assert f"kept {site.admins}, because it was changed" in site.output
    assert not site.config.exists()
    backup = site.yml.with_name("ejabberd.yml.before-warmside")
    assert backup.read_text() == STOCK


def test_the_backup_is_the_old_file_with_its_owner_and_mode(tmp_path: Path) -> None:
    site = SetUp(tmp_path)
    old = site.yml.stat()
    site.apply()
    backup = site.yml.with_name("ejabberd.yml.before-warmside")
    assert backup.read_text() == STOCK
    assert str(backup) in site.output
    for path in (backup, site.yml):
        new = path.stat()
        assert (new.st_mode, new.st_uid, new.st_gid) == (old.st_mode, old.st_uid, old.st_gid)


def test_options_that_are_right_stay_and_others_become_comments(tmp_path: Path) -> None:
    site = changed(
        tmp_path,
        (
            "loglevel: info",
            "auth_use_cache: false\nauth_method:\n  - internal\n  # ours\n  - ldap\nextauth_pool_size: 4",
        ),
        ('\n  - "X-OAUTH2"', ""),
    )
    assert site.apply() == 0
    included = site.included.read_text()
    assert "auth_use_cache" not in included and "extauth_pool_size" not in included
    assert "auth_method: [internal, ldap, external]" in included
    assert 'disable_sasl_mechanisms: ["digest-md5", "X-OAUTH2"]' in included
    assert '#before "warmside setup"#  - ldap\n' in site.yml.read_text()
    assert load_ejabberd(site.yml).names("auth_method") == ["internal", "ldap", "external"]


def test_the_program_that_ejabberd_ran_becomes_the_authority(tmp_path: Path) -> None:
    site = changed(
        tmp_path, ("loglevel: info", "auth_method: external\nextauth_program: /usr/bin/env python3 /opt/old.py")
    )
    assert site.apply() == 0
    assert load(site.config).extauth.program == ("/usr/bin/env", "python3", "/opt/old.py")
    assert load_ejabberd(site.yml).options["extauth_program"].value.scalar == LINE
    assert site.apply() == 0
    assert "Nothing to change" in site.output


def test_an_existing_configuration_without_the_program_is_named(tmp_path: Path) -> None:
    site = changed(tmp_path, ("loglevel: info", "auth_method: external\nextauth_program: /usr/bin/env python3 /o.py"))
    site.config.parent.mkdir()
    site.config.write_text('[admins]\naccounts = ["boss@localhost"]\n')
    with pytest.raises(Refused, match=r'warmside\.toml: add to \[extauth\]: program = "/usr/bin/env python3 /o.py"'):
        site.apply()


def test_the_listener_of_an_existing_configuration_is_added(tmp_path: Path) -> None:
    site = SetUp(tmp_path)
    site.config.parent.mkdir()
    text = '[admins]\naccounts = ["boss@localhost"]\n[bosh]\nurl = "http://127.0.0.1:7000/bosh"\n'
    site.config.write_text(text)
    assert site.apply() == 0
    assert "port: 7000" in site.included.read_text()
    assert site.config.read_text() == text and not site.admins.exists()


def test_a_used_port_is_not_taken_and_a_listener_that_fits_is_used(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    site = changed(tmp_path / "a", ("port: 5280", "port: 5282"))
    site.apply()
    assert load(site.config).bosh.url == "http://127.0.0.1:5283/bosh"
    (tmp_path / "b").mkdir()
    handler = ("/admin: ejabberd_web_admin", "/bosh: mod_bosh")
    site = changed(tmp_path / "b", ("port: 5280", "port: 7280"), ("    tls: true\n", ""), handler)
    site.apply()
    assert load(site.config).bosh.url == "http://127.0.0.1:7280/bosh"
    assert "listen" not in site.included.read_text()


def test_administrators_of_ejabberd_are_protected(tmp_path: Path) -> None:
    site = changed(tmp_path, ('       - ""\n', '       - boss@localhost\n       - chief: localhost\n       - "lord"\n'))
    site.apply()
    protected = load(site.config).policy.protected
    assert {"boss@localhost", "chief@localhost", "lord@*", "admin@*"} <= {each.text for each in protected}


REFUSED = {
    "macro": ("loglevel: info", "define_macro:\n  CACHE: true\nauth_use_cache: CACHE", "auth_use_cache is a macro"),
    "host": (
        "loglevel: info", "host_config:\n  localhost:\n    auth_method: internal", "host_config of localhost: add",
    ),
    "host-modules": (
        "loglevel: info", "host_config:\n  localhost:\n    modules:\n      mod_roster: {}", "add to modules: mod_bosh",
    ),
    "anchor": (
        "loglevel: info", "auth_use_cache: &on true\nuse_cache: *on", "anchor",
    ),
    "anonymous": ("loglevel: info", "auth_method: [external, anonymous]", "anonymous"),
    "include": ("loglevel: info", "include_config_file:\n  more.yml: {allow_only: [hosts]}", "included"),
    "duplicate": ("loglevel: info", "loglevel: info\nloglevel: debug", "duplicate option loglevel"),
    "yaml": ("loglevel: info", "loglevel: [", "not YAML"),
    "port": ("port: 5280", "port: 5281", "uses port 5281"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_not_certain_is_left_alone_and_named(tmp_path: Path, name: str) -> None:
    old, new, message = REFUSED[name]
    text = STOCK.replace("define_macro:\n  'TLS_OPTIONS':\n    - \"no_sslv3\"\n", "") if name == "macro" else STOCK
    site = SetUp(tmp_path, text.replace(old, new))
    before = site.tree()
    with pytest.raises(Refused, match=message):
        site.apply()
    assert site.tree() == before


def test_a_file_that_is_included_already_stays_included(tmp_path: Path) -> None:
    other = tmp_path / "other.yml"
    other.write_text("auth_use_cache: false\n")
    site = changed(tmp_path, ("loglevel: info", f"include_config_file: {other}"))
    assert site.apply() == 0
    assert f'include_config_file: ["{other}", "{site.included}"]' in site.yml.read_text()
    assert "auth_use_cache" not in site.included.read_text()
    other.write_text("auth_use_cache: true\n")
    with pytest.raises(Refused, match="an included file sets auth_use_cache"):
        site.apply()


def test_every_kill_leaves_each_file_old_or_new() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:  # a disk would take its time for each fsync
        command = [sys.executable, "-m", "tests.doctor.kills", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "apply: " in done.stdout and "remove: " in done.stdout


def test_a_folder_that_this_user_can_not_search_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = SetUp(tmp_path)
    parsed = argparse.Namespace(ejabberd=str(site.yml), config=str(site.config), apply=False, remove=False)
    site.yml.parent.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        assert setup.run(parsed) == 1
    finally:
        os.seteuid(user)
        site.yml.parent.chmod(0o755)
    assert capsys.readouterr().err == f"warmside setup: {site.yml}: Permission denied: run it as root\n"
