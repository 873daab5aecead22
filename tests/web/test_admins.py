"""The admins file, the directory of admins, and bcrypt's thread."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.admins import HASH, Threads
from warmside.config.reloading import FileRefused, ReloadingFile
from warmside.web.admins import AdminDirectory, read_admins
from warmside.web.hashing import Bcrypt


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "admins"
    path.write_text(f"# the web application\n\nweb:{HASH}\n  two words:{HASH}  \n")
    return path


@pytest.fixture
def bcrypt_pool() -> Iterator[Bcrypt]:
    pool = Bcrypt(Threads())
    yield pool
    pool.close()


def test_file_has_names_and_hashes(path: Path) -> None:
    assert read_admins(path) == {"web": HASH.encode(), "two words": HASH.encode()}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "has no admin"),
        ("# only a comment\n", "has no admin"),
        ("web\n", "line 1: expected NAME:HASH"),
        (f"web:{HASH}\nweb:{HASH}\n", "line 2: the name is in an earlier line"),
        ("web:plaintext\n", "line 1: expected NAME:HASH"),
        ("web:$apr1$xxxxxxxx$yyyyyyyyyyyyyyyyyyyyyy\n", "line 1"),
        (f":{HASH}\n", "line 1"),
        ("web:" + HASH.replace("$04$", "$31$") + "\n", "cost 4 to 16"),
    ],
)
def test_invalid_file_is_refused_with_its_line_and_without_its_content(path: Path, content: str, reason: str) -> None:
    path.write_text(content)
    with pytest.raises(FileRefused, match=reason) as refused:
        read_admins(path)
    assert "plaintext" not in str(refused.value)


@pytest.mark.parametrize("mode", [0o602, 0o620])
def test_file_that_others_may_write_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(FileRefused, match="chmod go-w"):
        read_admins(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="No such file"):
        read_admins(tmp_path / "none")


def test_changed_file_is_read_again_and_an_invalid_one_is_ignored(path: Path) -> None:
    admins = ReloadingFile(path, read_admins)
    assert set(admins.content) == {"web", "two words"}
    path.write_text(f"new:{HASH}\n")
    assert set(admins.content) == {"new"}
    path.write_text("broken")
    assert set(admins.content) == {"new"}
    path.unlink()
    assert set(admins.content) == {"new"}
    path.write_text(f"back:{HASH}\n")
    assert set(admins.content) == {"back"}


@pytest.mark.parametrize("name", ["boss@example.org", "Boss@EXAMPLE.org"])
def test_name_in_file_and_accounts_is_refused(path: Path, name: str) -> None:
    path.write_text(f"{name}:{HASH}\n")
    with pytest.raises(FileRefused, match=r"line 1: the name is in admins\.accounts as well"):
        read_admins(path, {"boss@example.org"})


def test_directory_knows_the_names_of_file_and_accounts(path: Path) -> None:
    of_file = AdminDirectory(ReloadingFile(path, read_admins))
    assert of_file.knows("web") and not of_file.knows("secret")
    of_accounts = AdminDirectory(None, ("boss@example.org",))
    assert of_accounts.knows("boss@example.org") and of_accounts.knows("Boss@EXAMPLE.org")
    assert not of_accounts.knows("web")


def test_bcrypt_runs_at_a_lower_priority(bcrypt_pool: Bcrypt) -> None:
    priorities: list[int] = []
    bcrypt_pool._executor.submit(lambda: priorities.append(os.getpriority(os.PRIO_PROCESS, 0))).result()
    # On Linux, 0 means the calling thread.
    assert priorities[0] > os.getpriority(os.PRIO_PROCESS, 0)


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "admins"
    path.write_text(f"\ufeffweb:{HASH}\n")
    path.chmod(0o600)
    assert list(read_admins(path)) == ["web"]


@pytest.mark.parametrize("name", ["web ", "web\u200b", "\ufeffweb", "w\0eb"])
def test_a_name_with_an_invisible_character_is_rejected(tmp_path: Path, name: str) -> None:
    path = tmp_path / "admins"
    path.write_text(f"first:{HASH}\n{name}:{HASH}\n")
    path.chmod(0o600)
    with pytest.raises(FileRefused, match="line 2: the name ends with space"):
        read_admins(path)
