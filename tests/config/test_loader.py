"""The configuration file: its defaults, and errors in a file."""

from pathlib import Path

import pytest

from tests.certificates import certificate
from warmside.config.endpoints import is_loopback, read_network
from warmside.config.loader import ConfigError, load
from warmside.config.settings import Config
from warmside.config.urls import split_unix

ADMINS = '[admins]\nfile = "/etc/warmside/admins"\n'


def read(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "warmside.toml"
    path.write_text(text)
    return load(path)


def test_every_key_but_the_admins_has_a_default(tmp_path: Path) -> None:
    config = read(tmp_path, ADMINS)
    assert config.http.listen == ("tcp:5281:interface=127.0.0.1",)
    assert config.bosh.url == "http://127.0.0.1:5282/bosh"
    assert (config.bosh.timeout, config.bosh.connections) == (10, 8)
    assert (config.passwords.store, config.passwords.lifetime) == ("sqlite", 30)
    assert config.extauth.users == "known"
    assert config.policy.allows("juliet@example.org", "example.org")
    assert not config.policy.allows("admin@example.org", "example.org")
    assert (config.log.file, config.log.format, config.insecure) == (None, "text", False)


def test_the_sample_shows_the_defaults(tmp_path: Path) -> None:
    sample = (Path(__file__).parents[2] / "etc/warmside.toml").read_text()
    lines = [line[2:] if line.startswith("# ") and " = " in line else line for line in sample.splitlines()]
    optional = ("ca_file", "public_url", "users_file", 'file = "/var/log', 'url = "http://127.0.0.1:5283', "program =",
                'url = "https://example.org/extauth"', "secret_file", "authority", 'listen = "unix:', 'hosts = ["',
                'url = "redis:', "password_file", "prefix",
                'users = ["*@example.org"]', 'protected = ["support@*"]')  # fmt: skip
    tables = ('[host."example.net"]', '[admin."webapp"]')
    kept = [line for line in lines if not line.startswith(optional) and not any(table in line for table in tables)]
    shown, default = read(tmp_path, "\n".join(kept)), read(tmp_path, ADMINS)
    assert shown == default


def test_host_inherits_the_common_settings(tmp_path: Path) -> None:
    text = ADMINS + '[bosh]\ntimeout = 3\n[host."Example.ORG"]\nurl = "https://bosh.example.org/"\n'
    config = read(tmp_path, text)
    assert config.bosh_for("example.org").url == "https://bosh.example.org/"
    assert config.bosh_for("example.org").timeout == 3
    assert config.bosh_for("example.net") == config.bosh


def test_a_policy_narrows_hosts_and_users(tmp_path: Path) -> None:
    text = ADMINS + '[policy]\nhosts = ["Example.org"]\nusers = ["*@example.org"]\nprotected = ["boss@*"]\n'
    policy = read(tmp_path, text).policy
    assert policy.allows("juliet@example.org", "example.org")
    assert not policy.allows("juliet@example.net", "example.net")
    assert not policy.allows("boss@example.org", "example.org")
    assert policy.allows("admin@example.org", "example.org")


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("", "admins.file", "hash-password"),
        (ADMINS + "[htp]\n", "htp", "did you mean http?"),
        (ADMINS + "[http]\nlistn = 1\n", "http.listn = 1", "did you mean http.listen?"),
        (ADMINS + '[http]\nlisten = "5281"\n', 'http.listen = "5281"', "tcp:5281:interface"),
        (ADMINS + '[http]\nlisten = "tcp:99999:interface=127.0.0.1"\n', "http.listen", "port 99999 is not from"),
        (ADMINS + '[http]\nlisten = "tcp:5281"\n', 'http.listen = "tcp:5281"', "insecure = true"),
        (ADMINS + '[http]\nlisten = "tcp:5281:interface=0.0.0.0"\n', "http.listen", "plain http"),
        (ADMINS + "[http]\nlisten = []\n", "http.listen = []", "endpoint string"),
        (ADMINS + "[http]\nlisten = [1]\n", "http.listen = [1]", "list of strings"),
        (ADMINS + "http = 1\n", "admins.http = 1", "unknown key"),
        ("http = 1\n" + ADMINS, "http = 1", "write [http]"),
        (ADMINS + '[bosh]\nurl = "ftp://x/"\n', 'bosh.url = "ftp://x/"', "http://127.0.0.1:5282/bosh"),
        (ADMINS + '[bosh]\nurl = "http://[x/"\n', "bosh.url", "connection manager"),
        (ADMINS + '[bosh]\nurl = "http://a..b/"\n', "bosh.url", "connection manager"),
        (ADMINS + '[bosh]\nurl = "http://[fe80::1%25eth0]/"\n', "bosh.url", "connection manager"),
        (ADMINS + '[bosh]\nurl = "https://ejabberd_1/bosh"\n', "bosh.url", "another name of this host"),
        (ADMINS + '[extauth]\nurl = "https://web_1/x"\n', "extauth.url", "another name of this host"),
        (ADMINS + '[bosh]\nurl = "http://example.org/"\n', "bosh.url", "use https"),
        (ADMINS + '[bosh]\nurl = "http+unix:///run/bosh"\n', "bosh.url", "http+unix:///run/ejabberd/bosh.sock:/bosh"),
        (ADMINS + '[bosh]\nurl = "http+unix://run/a.sock:/bosh"\n', "bosh.url", "socket's path"),
        (ADMINS + '[bosh]\nurl = "http+unix:///run/a.sock:bosh"\n', "bosh.url", "socket's path"),
        (ADMINS + f'[bosh]\nurl = "http+unix:///{"a" * 107}.sock:/bosh"\n', "bosh.url", "at most 107 bytes"),
        (ADMINS + '[bosh]\nca_file = "/no/such/file"\n', "bosh.ca_file", "No such file"),
        (ADMINS + '[bosh]\nca_file = "relative"\n', "bosh.ca_file", "absolute"),
        (ADMINS + "[bosh]\ntimeout = 0\n", "bosh.timeout = 0", "from 0.1 to 300"),
        (ADMINS + "[bosh]\ntimeout = true\n", "bosh.timeout = true", "number"),
        (ADMINS + "[bosh]\nconnections = 0\n", "bosh.connections = 0", "from 1 to 1000"),
        (ADMINS + '[passwords]\nstore = "mysql"\n', 'passwords.store = "mysql"', "sqlite:///PATH"),
        (ADMINS + '[passwords]\nlifetime = "30"\n', 'passwords.lifetime = "30"', "number"),
        (ADMINS + '[extauth]\nusers = "all"\n', 'extauth.users = "all"', '"known", "none", "any"'),
        (ADMINS + '[policy]\nhosts = ["a b"]\n', 'policy.hosts = "a b"', "domain name"),
        (ADMINS + '[policy]\nusers = ["juliet"]\n', 'policy.users = "juliet"', "LOCAL@HOST"),
        (ADMINS + '[log]\nformat = "xml"\n', 'log.format = "xml"', '"text", "json"'),
        (ADMINS + '[host."a b"]\ntimeout = 1\n', 'host."a b"', "domain name"),
        (ADMINS + '[host."example.org"]\nspeed = 1\n', "host.example.org.speed", "unknown key"),
        ("insecure = 1\n" + ADMINS, "insecure = 1", "true or false"),
        (ADMINS + '[extauth]\nprogram = "/bin/x"\n', 'extauth.program = "/bin/x"', "not an executable file"),
        (ADMINS + '[extauth]\nca_file = "/x"\n', "extauth.ca_file", "can't be read"),
        (ADMINS + '[extauth]\nprogram = "cat"\n', "extauth.program", "absolute path"),
        (ADMINS + "[extauth]\nprogram = '/bin/cat \"x'\n", "extauth.program", "not a command line"),
        (ADMINS + "[extauth]\nprogram_copies = 0\n", "extauth.program_copies = 0", "from 1 to 100"),
        (ADMINS + '[extauth]\nprogram = "/bin/cat"\nurl = "http://127.0.0.1/"\n', "extauth.url", "program is set, too"),
        (ADMINS + '[extauth]\nurl = "http://example.org/x"\n', "extauth.url", "plain http"),
        (ADMINS + '[extauth]\nurl = "http://u:p@127.0.0.1/x"\n', "extauth.url = ", "user name or password"),
        (ADMINS + '[extauth]\nsecret_file = "/x"\n', "extauth.secret_file", "extauth.url, which is not set"),
        (
            ADMINS + '[extauth]\nlisten = "tcp:5283"\n',
            'extauth.listen = "tcp:5283"',
            "other machines must not reach it",
        ),
        (ADMINS + '[extauth]\nlisten = "systemd:domain=INET:index=0"\n', "extauth.listen", "systemd:domain=UNIX"),
        (ADMINS + '[extauth]\nlisten = ["ssl:1:interface=127.0.0.1"]\n', "extauth.listen", "unix:PATH"),
        ("insecure = true\n" + ADMINS + '[extauth]\nlisten = "tcp:1"\n', "extauth.listen", "other machines must not"),
        (
            ADMINS + '[http]\ntrusted_proxies = ["example.org"]\n',
            'http.trusted_proxies = "example.org"',
            "IP addresses",
        ),
        (ADMINS + 'accounts = ["boss@example.org/x"]\n', 'admins.accounts = "boss@example.org/x"', "bare JIDs"),
        ('[admins]\naccounts = ["a@b"]\n[admin."c@b"]\n', 'admin."c@b"', "not one of admins.accounts"),
        (ADMINS + '[admin."web"]\nhots = []\n', "admin.web.hots", "did you mean admin.web.hosts?"),
        ("[admins\n", "not TOML", "line 1"),
    ],
)
def test_error_in_a_file_names_the_key(tmp_path: Path, text: str, key: str, hint: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        read(tmp_path, text)
    message = str(wrong.value)
    assert message.startswith(f"{tmp_path}/warmside.toml: ")
    assert key in message
    assert hint in message
    assert "\n" not in message


def test_admin_policy_narrows_and_never_widens(tmp_path: Path) -> None:
    text = ADMINS + 'accounts = ["Boss@example.org"]\n[policy]\nhosts = ["example.org", "example.net"]\n'
    text += '[admin."web"]\nhosts = ["example.org", "example.com"]\nusers = ["*@example.*"]\nprotected = ["romeo@*"]\n'
    text += '[admin."BOSS@example.org"]\nhosts = ["example.net"]\n'
    config = read(tmp_path, text)
    assert config.allows("web", "juliet@example.org", "example.org")
    assert not config.allows("web", "juliet@example.net", "example.net")
    assert not config.allows("web", "juliet@example.com", "example.com")
    assert not config.allows("web", "romeo@example.org", "example.org")
    assert not config.allows("web", "admin@example.org", "example.org")
    assert config.allows("other", "romeo@example.org", "example.org")
    assert config.allows("boss@example.org", "juliet@example.net", "example.net")
    assert not config.allows("boss@example.org", "juliet@example.org", "example.org")
    assert not config.allows("other", "boss@example.org", "example.org")


def test_the_managers_are_those_of_the_hosts_that_may_be_warmed(tmp_path: Path) -> None:
    hosts = '[host."example.net"]\nurl = "http://127.0.0.1:1/"\n[host."example.org"]\nurl = "http://127.0.0.1:2/"\n'
    urls = [manager.url for manager in read(tmp_path, ADMINS + hosts).managers()]
    assert urls == ["http://127.0.0.1:5282/bosh", "http://127.0.0.1:1/", "http://127.0.0.1:2/"]
    only = read(tmp_path, ADMINS + '[policy]\nhosts = ["example.org"]\n' + hosts).managers()
    assert [manager.url for manager in only] == ["http://127.0.0.1:2/"]


def test_hosts_that_share_a_url_share_its_authority(tmp_path: Path) -> None:
    own, _ = certificate(tmp_path)
    with pytest.raises(ConfigError, match="the same url with another ca_file") as wrong:
        read(tmp_path, ADMINS + f'[host."example.net"]\nca_file = "{own}"\n')
    assert 'host."example.net".ca_file' in str(wrong.value)
    other = '[bosh]\nurl = "https://127.0.0.1/"\n[host."example.net"]\nurl = "https://127.0.0.1:1/"\n'
    other += f'ca_file = "{own}"\n'
    assert len(read(tmp_path, ADMINS + other).managers()) == 2


def test_a_program_is_split_into_words_as_a_shell_would(tmp_path: Path) -> None:
    program = read(tmp_path, ADMINS + "[extauth]\nprogram = '/bin/cat \"a b\" c'\n").extauth.program
    assert program == ("/bin/cat", "a b", "c")


def test_relays_may_listen_on_sockets_of_this_machine(tmp_path: Path) -> None:
    listen = '["unix:/run/warmside/x.sock", "tcp:5283:interface=127.0.0.1", "systemd:domain=UNIX:index=0"]'
    assert len(read(tmp_path, ADMINS + f"[extauth]\nlisten = {listen}\n").extauth.listen) == 3


def test_unsupported_store_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"shared\.url") as wrong:
        read(tmp_path, ADMINS + '[passwords]\nstore = "redis://:geheim@localhost"\n')
    assert "geheim" not in str(wrong.value)


def test_both_spellings_of_a_host_are_one_host(tmp_path: Path) -> None:
    text = ADMINS + '[policy]\nhosts = ["xn--bcher-kva.example"]\n[host."XN--BCHER-KVA.example"]\ntimeout = 3\n'
    config = read(tmp_path, text)
    assert config.bosh_for("bücher.example").timeout == 3
    assert config.allows("web", "juliet@bücher.example", "bücher.example")
    with pytest.raises(ConfigError, match="configured twice, in another spelling"):
        read(tmp_path, text + '[host."bücher.example"]\ntimeout = 3\n')


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: can't be read: No such file"):
        load(tmp_path / "none.toml")


def test_insecure_allows_plain_http(tmp_path: Path) -> None:
    text = "insecure = true\n" + ADMINS + '[http]\nlisten = "tcp:5281"\n[bosh]\nurl = "http://example.org/"\n'
    assert read(tmp_path, text).insecure


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::/0", "::/0"),
    ],
)
def test_a_trusted_proxy_that_is_written_as_ipv6_may_be_an_ipv4_network(text: str, network: str) -> None:
    assert str(read_network(text)) == network


def test_ipv4_loopback_that_is_written_as_ipv6_is_loopback() -> None:
    assert is_loopback("::ffff:127.0.0.1") and not is_loopback("::ffff:192.0.2.1")


@pytest.mark.parametrize(
    ("start", "fault"),
    [
        (b"#!/bin/sh\n", None),
        (b"#! /usr/bin/env python3\nprint()\n", None),
        (b"\x7fELF\x02", None),
        (b"#!/bin/sh\r\n", "its #! line ends with CR LF"),
        (b"#!/usr/bin/env python3\r\nprint()\r\n", "its #! line ends with CR LF"),
        (b"\xef\xbb\xbf#!/bin/sh\n", "byte order mark"),
        (b"#!/nowhere/python3\n", "'/nowhere/python3', which is not an executable file"),
        (b"import sys\n", "it has no #! line"),
        (b"", "it has no #! line"),
    ],
)
def test_a_program_that_the_kernel_can_not_run_is_named(tmp_path: Path, start: bytes, fault: str | None) -> None:
    script = tmp_path / "script"
    script.write_bytes(start)
    script.chmod(0o755)
    text = ADMINS + f'[extauth]\nprogram = "{script}"\n'
    if fault is None:
        assert read(tmp_path, text).extauth.program == (str(script),)
        return
    with pytest.raises(ConfigError) as wrong:
        read(tmp_path, text)
    assert f"{script} can't be run: " in str(wrong.value) and fault in str(wrong.value)


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeff" + ADMINS) == read(tmp_path, ADMINS)


def test_an_authority_for_the_web_application_needs_an_https_url(tmp_path: Path) -> None:
    own, _ = certificate(tmp_path)
    https = f'[extauth]\nurl = "https://example.org/x"\nca_file = "{own}"\n'
    assert read(tmp_path, ADMINS + https).extauth.ca_file == own
    with pytest.raises(ConfigError, match="which is not set: set url or remove ca_file"):
        read(tmp_path, ADMINS + https.replace("https://example.org", "http://127.0.0.1"))


def test_the_url_of_a_unix_socket_is_split_at_its_last_sock(tmp_path: Path) -> None:
    url = "http+unix:///run/a.sock:/b.sock:/bosh?x=1"
    assert read(tmp_path, ADMINS + f'[bosh]\nurl = "{url}"\n').bosh.url == url
    assert split_unix(url) == ("/run/a.sock:/b.sock", "http://localhost/bosh?x=1")
