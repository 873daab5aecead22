"""The table ``[shared]``: forms of the URL, and errors that name the key and show no password."""

from pathlib import Path

import pytest

from tests.certificates import certificate
from warmside.config.loader import ConfigError, load
from warmside.config.reloading import FileRefused
from warmside.config.settings import RedisPlace, Shared
from warmside.config.shared import MAX_PASSWORD, read_password

ADMINS = '[admins]\nfile = "/etc/warmside/admins"\n[shared]\n'
SECRET = "hunter2hunter2"


def read(folder: Path, text: str, *, insecure: bool = False) -> Shared:
    """Return the table ``[shared]`` of a configuration."""
    path = folder / "warmside.toml"
    path.write_text(("insecure = true\n" if insecure else "") + ADMINS + text)
    return load(path).shared


def test_nothing_is_shared_by_default(tmp_path: Path) -> None:
    assert read(tmp_path, "") == Shared(None, None, None, None, "warmside:")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://127.0.0.1", RedisPlace("127.0.0.1", 6379, False, None, None, 0)),
        ("redis://localhost:7/3", RedisPlace("localhost", 7, False, None, None, 3)),
        ("redis://[::1]:7/", RedisPlace("::1", 7, False, None, None, 0)),
        ("rediss://Redis.example.org/12", RedisPlace("redis.example.org", 6379, True, None, None, 12)),
        ("redis+unix:///run/redis/a%20b.sock", RedisPlace("", 0, False, Path("/run/redis/a b.sock"), None, 0)),
    ],
)
def test_url_names_a_place(tmp_path: Path, url: str, place: RedisPlace) -> None:
    shared = read(tmp_path, f'url = "{url}"\nprefix = "two:"\n')
    assert (shared.url, shared.place, shared.prefix) == (url, place, "two:")


def test_url_names_a_user_whose_password_is_in_a_file(tmp_path: Path) -> None:
    authority, _ = certificate(tmp_path)
    shared = read(
        tmp_path, f'url = "rediss://warm%40side@example.org"\npassword_file = "/x"\nca_file = "{authority}"\n'
    )
    assert shared.place == RedisPlace("example.org", 6379, True, None, "warm@side", 0)
    assert (shared.password_file, shared.ca_file) == (Path("/x"), authority)


def test_plain_redis_beyond_loopback_needs_insecure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'shared.url = "redis://192.0.2.7": .*rediss:'):
        read(tmp_path, 'url = "redis://192.0.2.7"\n')
    shared = read(tmp_path, 'url = "redis://192.0.2.7"\n', insecure=True)
    assert shared.place is not None
    assert shared.place.host == "192.0.2.7"


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@127.0.0.1",
        f"redis://user:{SECRET}@127.0.0.1",
        f"rediss://user:{SECRET}@example.org/0",
        f"redis+unix://user:{SECRET}@/run/redis.sock",
        f"redis://127.0.0.1/0?password={SECRET}",
        f"redis://127.0.0.1/0#{SECRET}",
        f"redis://user:{SECRET}@127.0.0.1:port",
        f"redis://user@{SECRET}@[",
        f"http://user:{SECRET}@127.0.0.1",
    ],
)
def test_password_in_a_url_is_an_error_that_does_not_show_it(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"shared\.url = ") as wrong:
        read(tmp_path, f'url = "{url}"\n')
    assert SECRET not in str(wrong.value)


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ('url = "redis:"\n', "shared.url", "redis://"),
        ('url = "redis:///0"\n', "shared.url", "redis://"),
        ('url = "http://127.0.0.1"\n', "shared.url", "redis://"),
        ('url = "redis://127.0.0.1/x"\n', "shared.url", "redis://"),
        ('url = "redis://127.0.0.1/10000"\n', "shared.url", "redis://"),
        ('url = "redis://127.0.0.1/0/1"\n', "shared.url", "redis://"),
        ('url = "redis://127.0.0.1:0"\n', "shared.url", "redis://"),
        ('url = "redis://127.0.0.1:65536"\n', "shared.url", "redis://"),
        ('url = "redis://127.0.0.1:"\n', "shared.url", "redis://"),
        ('url = "redis://a b"\n', "shared.url", "redis://"),
        ('url = "redis://127.0.0.1\\t"\n', "shared.url", "redis://"),
        ('url = "redis://@127.0.0.1"\n', "shared.url", "redis://"),
        ('url = "redis+unix://relative"\n', "shared.url", "redis://"),
        ('url = "redis+unix:///"\n', "shared.url", "redis://"),
        ('url = "redis+unix:///%00"\n', "shared.url", "redis://"),
        (f'url = "redis+unix:///{"x" * 107}"\n', "shared.url", "107 bytes"),
        ('url = "rediss://redis_1"\n', "shared.url", "without _"),
        ('url = "redis://user@127.0.0.1"\n', "shared.url", "password_file"),
        ('url = "redis://127.0.0.1"\nprefix = "a b"\n', 'shared.prefix = "a b"', "1 to 64"),
        (f'url = "redis://127.0.0.1"\nprefix = "{"x" * 65}"\n', "shared.prefix", "1 to 64"),
        ('url = "redis://127.0.0.1"\npassword_file = "x"\n', 'shared.password_file = "x"', "absolute"),
        ('url = "rediss://127.0.0.1"\nca_file = "/no/such"\n', "shared.ca_file", "can't be read"),
        ('password_file = "/x"\n', "shared.password_file", "shared.url, which is not set"),
        ('prefix = "x"\n', "shared.prefix", "shared.url, which is not set"),
        ('url = "redis://127.0.0.1"\npasswort = "x"\n', "shared.passwort", "did you mean shared.password_file"),
    ],
)
def test_error_names_the_key_and_the_fix(tmp_path: Path, text: str, key: str, hint: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        read(tmp_path, text)
    assert key in str(wrong.value)
    assert hint in str(wrong.value)


def test_authority_without_tls_is_an_error(tmp_path: Path) -> None:
    authority, _ = certificate(tmp_path)
    with pytest.raises(ConfigError, match=r"shared.ca_file .*rediss:"):
        read(tmp_path, f'url = "redis://127.0.0.1"\nca_file = "{authority}"\n')


def test_password_is_the_only_line_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("pass word ü\n")
    assert read_password(path) == "pass word ü"
    for text in ("", "\n", "two\nlines", "x" * (MAX_PASSWORD + 1)):
        path.write_text(text)
        with pytest.raises(FileRefused):
            read_password(path)
    path.write_text("secret")
    path.chmod(0o620)
    with pytest.raises(FileRefused, match="other users can write"):
        read_password(path)


def test_password_in_a_url_is_an_error_beside_a_password_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it contains a password") as wrong:
        read(tmp_path, f'url = "rediss://user:{SECRET}@example.org"\npassword_file = "/x"\n')
    assert SECRET not in str(wrong.value)
