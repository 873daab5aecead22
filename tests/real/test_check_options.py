"""Faults in ``ejabberd.yml``: each is named, its cure followed to the letter, and gone."""

import tomllib

import pytest
from private_ejabberd import version

from tests.doctor import cures
from tests.real.checked import CheckedSite
from warmside.doctor import examine
from warmside.doctor.context import Options

HOST = "example.org"
BOTH = ("example.net", HOST)
SECOND = ("  - example.org\n", "  - example.org\n  - example.net\n")


def test_sound(site: CheckedSite) -> None:
    """A set-up from the samples has no finding."""
    assert site.findings() == []
    assert site.report()["unseen"] == []


def test_file_of_the_running_ejabberd(site: CheckedSite) -> None:
    """Without ``--ejabberd`` the file is that of the ejabberd that runs warmside with this configuration."""
    prepared = examine.prepare(Options(site.toml, offline=True))
    assert prepared.ejabberd is not None and prepared.ejabberd.path == site.yml
    assert prepared.ejabberd_process is not None and prepared.ejabberd_process.pid == site.server.ejabberd.pid
    assert sorted(each.pid for each in prepared.warmsides) == sorted(site.server.programs())


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("auth-method", "auth_method: [external]", "auth_method: [internal]"),
        ("auth-method", "auth_method: [external]", "auth_method:\n  - internal\n  - ldap"),
        ("auth-method", "auth_method: [external]", ""),
        ("auth-cache", "auth_use_cache: false", "auth_use_cache: true"),
        ("auth-cache", "auth_use_cache: false", ""),
        ("auth-cache", "auth_use_cache: false", "use_cache: true"),
        ("anonymous", "auth_method: [external]", "auth_method: [external, anonymous]\nanonymous_protocol: both"),
        ("mod-register", "  mod_roster: {}", "  mod_roster: {}\n  mod_register:\n    ip_access: none\n    welcome: x"),
        ("mod-auth-fast", "  mod_roster: {}", "  mod_auth_fast: {}\n  mod_roster: {}"),
        ("no-offline", "  mod_offline: {}", ""),
        ("no-mod-bosh", "  mod_bosh: {}", ""),
        ("fail2ban", "  mod_fail2ban:\n    access: trusted_network", "  mod_fail2ban: {}"),
        ("fail2ban", "    access: trusted_network", "    access: unknown_rule\n    c2s_max_auth_failures: 5"),
        ("fail2ban", "    allow: loopback", "    allow: nobody"),
        ("fail2ban", "    allow: loopback", "    deny: loopback\n    allow: all"),
        ("fail2ban", "      - 127.0.0.0/8\n", ""),
        ("ping-kills", "  mod_ping: {}", "  mod_ping:\n    send_pings: true\n    timeout_action: kill"),
        ("program", "extauth_program", "#"),
    ],
)
def test_of_a_host(site: CheckedSite, name: str, old: str, new: str) -> None:
    """Options and modules of the only host."""
    site.change(site.yml, (old, new))
    site.cured(name, host=HOST)


@pytest.mark.parametrize(
    ("old", "new"), [("extauth_pool_size: 2", ""), ("extauth_pool_name: warmside", "")], ids=["size", "name"]
)
def test_pool(site: CheckedSite, old: str, new: str) -> None:
    """A pool per host, and a size that depends on the machine."""
    site.change(site.yml, SECOND, (old, new))
    site.cured("pool")


def test_one_host_needs_no_pool_name(site: CheckedSite) -> None:
    """A single pool may have its default name."""
    site.change(site.yml, ("extauth_pool_name: warmside", ""))
    assert site.names() == []


def test_the_same_cure_for_two_hosts(site: CheckedSite) -> None:
    """Each host has its finding; following the cures of both changes the file once."""
    gone = [("auth_use_cache: false", ""), ("auth_method: [external]", ""), ("  mod_offline: {}\n", "")]
    site.change(site.yml, SECOND, *gone)
    found = site.findings()
    names = ["auth-method", "auth-cache", "no-offline"]
    assert [(each["name"], each["host"]) for each in found] == [(name, h) for name in names for h in BOTH]
    for each in found:
        cures.apply(each["cure"])
    assert site.findings() == []
    assert [site.yml.read_text().count(text) for text in ("auth_use_cache:", "auth_method:", "mod_offline")] == [
        1,
        1,
        1,
    ]


@pytest.mark.parametrize("mode", ["host_config", "append_host_config"])
def test_host_config(site: CheckedSite, mode: str) -> None:
    """An option that differs for one host is corrected there."""
    wrong = f"{mode}:\n  example.net:\n    modules:\n      mod_register: {{}}\n"
    if mode == "host_config":
        wrong += "      mod_offline: {}\n      mod_bosh: {}\n"
    site.change(site.yml, SECOND, ("listen:\n", wrong + "listen:\n"))
    site.cured("mod-register", host="example.net")


def test_macro(site: CheckedSite) -> None:
    """A macro is replaced, as a whole value and inside a text."""
    macros = "define_macro:\n  CACHE: true\n  METHODS: [external]\n  SIZE: 2\n"
    pairs = (("auth_use_cache: false", "auth_use_cache: CACHE"), ("auth_method: [external]", "auth_method: METHODS"))
    site.change(site.yml, ("loglevel: info", macros), *pairs, ("pool_size: 2", "pool_size: SIZE"))
    site.cured("auth-cache", host=HOST)


def test_included_file(site: CheckedSite) -> None:
    """An included file counts, and is corrected where the fault is."""
    other = site.yml.with_name("other.yml")
    other.write_text("auth_use_cache: true\nmodules:\n  mod_register: {}\n")
    include = f"include_config_file:\n  {other}:\n    disallow: [auth_use_cache]\n"
    site.change(site.yml, ("loglevel: info", include))
    assert site.cured("mod-register", host=HOST)["says"].startswith(f"{other}:3:")


def test_missing_included_file_is_unseen(site: CheckedSite) -> None:
    """What may be in a file that is missing is not guessed."""
    site.change(site.yml, ("loglevel: info", "include_config_file: /nowhere/x.yml"), ("auth_use_cache: false", ""))
    report = site.report()
    assert "auth-cache" not in [each["name"] for each in report["findings"]]
    assert any("/nowhere/x.yml can't be read" in each for each in report["unseen"])


def test_handler(site: CheckedSite) -> None:
    """No listener at the port of bosh.url, or one without the handler."""
    port = site.server.bosh
    site.change(site.yml, (f"port: {port}", "port: 5999"))
    site.cured("no-handler")
    site.restore()
    site.change(site.yml, ("      /bosh: mod_bosh", "      /ws: ejabberd_http_ws"))
    site.cured("no-handler")
    site.restore()
    site.change(site.yml, ("    request_handlers:\n      /bosh: mod_bosh\n", ""))
    site.cured("no-handler")


PUBLIC = ('    ip: "127.0.0.1"\n    module: ejabberd_c2s', "    module: ejabberd_c2s")


def test_starttls(site: CheckedSite) -> None:
    """A public c2s listener needs TLS; one on loopback does not."""
    site.change(site.yml, ("    starttls_required: true\n", ""))
    assert site.names() == []
    site.change(site.yml, PUBLIC)
    site.cured("starttls")
    site.restore()
    site.change(site.yml, PUBLIC, ("starttls_required: true", "starttls: true"))
    site.cured("starttls")


def test_oversized_passwords(site: CheckedSite) -> None:
    """A public listener needs a limit; one on loopback does not."""
    site.change(site.yml, ("    max_stanza_size: 65000\n", ""))
    assert site.names() == []
    site.change(site.yml, PUBLIC)
    site.cured("oversized-passwords")
    site.restore()
    site.change(site.yml, PUBLIC, ("max_stanza_size: 65000", "max_stanza_size: 262144"))
    site.cured("oversized-passwords")
    site.restore()
    web = (
        "  - port: 5443\n    module: ejabberd_http\n    tls: true\n    request_handlers:\n      /ws: ejabberd_http_ws\n"
    )
    site.change(site.yml, ("listen:\n", "listen:\n" + web))
    assert site.names() == []
    site.change(site.yml, ("    max_stanza_size: 65000\n", ""))
    site.cured("oversized-passwords")


def test_admin_unprotected(site: CheckedSite) -> None:
    """Accounts of ejabberd's acl admin must be protected."""
    site.change(
        site.yml, ("acl:\n", "acl:\n  admin:\n    user:\n      - boss@example.org\n      - chief\n      - admin\n")
    )
    found = site.findings()
    assert [(each["name"], each["host"]) for each in found] == [("admin-unprotected", HOST)] * 2
    assert [jid for each in found for jid in ("boss@", "chief@", "admin@") if f" {jid}" in each["says"]] == [
        "boss@",
        "chief@",
    ]
    for each in found:
        cures.apply(each["cure"])
    assert site.findings() == []
    protected = tomllib.loads(site.toml.read_text())["policy"]["protected"]
    assert {"admin@*", "boss@example.org", "chief@example.org"} <= set(protected)
    site.restore()
    site.change(site.toml, ("[policy]\n", ""))
    site.change(site.yml, ("acl:\n", "acl:\n  admin:\n    user: boss@example.org\n"))
    site.cured("admin-unprotected", host=HOST)


def test_unknown_host(site: CheckedSite) -> None:
    """A host that only warmside knows."""
    site.change(site.toml, ("[policy]\n", '[policy]\nhosts = ["example.org", "example.com"]\n'))
    site.cured("unknown-host", host="example.com")
    site.restore()
    site.change(site.toml, ("[log]\n", '[host."example.com"]\ntimeout = 5\n[log]\n'))
    site.cured("unknown-host", host="example.com")


def test_old_version(site: CheckedSite) -> None:
    """The version is that of the running process; before 26.07 it is a warning."""
    running = version().partition("-")[0]
    found = [each for each in site.report()["findings"] if each["name"] == "old-ejabberd"]
    assert len(found) == (1 if running < "26.07" else 0)
    assert all(f"ejabberd {running} has" in each["says"] and each["severity"] == "warning" for each in found)
