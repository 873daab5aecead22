"""The runtime and state folders, and their owners and modes."""

import os
import stat
from pathlib import Path

import pytest

from warmside.config.folders import UnsafeFolder, private_file, private_folder, runtime_folder, state_folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_runtime_folder_is_that_of_the_service_manager(tmp_path: Path) -> None:
    given = {"RUNTIME_DIRECTORY": f"{tmp_path}/a:{tmp_path}/b", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert runtime_folder(given) == tmp_path / "a"
    assert mode(tmp_path / "a") == 0o750


def test_default_runtime_folder_is_in_the_users_runtime_folder(tmp_path: Path) -> None:
    assert runtime_folder({"XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path / "warmside"
    assert runtime_folder({"XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path / "warmside"


def test_last_runtime_folder_is_in_tmp_under_the_users_number() -> None:
    assert runtime_folder({}) == Path(f"/tmp/warmside-{os.geteuid()}")


def test_store_folder_has_mode_0700(tmp_path: Path) -> None:
    private = private_folder({"RUNTIME_DIRECTORY": str(tmp_path / "run")})
    assert private == tmp_path / "run" / "private"
    assert mode(private) == 0o700
    private.chmod(0o750)
    private_folder({"RUNTIME_DIRECTORY": str(tmp_path / "run")})
    assert mode(private) == 0o700


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        assert mode(runtime_folder({"RUNTIME_DIRECTORY": str(tmp_path / "run")})) == 0o750
        private_file(tmp_path / "file")
        assert mode(tmp_path / "file") == 0o600
    finally:
        os.umask(old)


def test_state_folder_is_that_of_the_service_manager_or_the_users(tmp_path: Path) -> None:
    assert state_folder({"STATE_DIRECTORY": str(tmp_path / "s")}) == tmp_path / "s"
    assert state_folder({"XDG_STATE_HOME": str(tmp_path / "x")}) == tmp_path / "x" / "warmside"
    assert mode(tmp_path / "x" / "warmside") == 0o700


def test_folder_that_others_may_write_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    with pytest.raises(UnsafeFolder, match="chmod go-w"):
        runtime_folder({"RUNTIME_DIRECTORY": str(tmp_path / "run")})


def test_folder_of_another_user_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir(mode=0o750)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(UnsafeFolder, match="belongs to another user"):
        runtime_folder({"RUNTIME_DIRECTORY": str(tmp_path / "run")})


def test_symbolic_link_is_neither_folder_nor_file(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeFolder, match="not a folder"):
        runtime_folder({"RUNTIME_DIRECTORY": str(tmp_path / "run")})
    (tmp_path / "file").symlink_to(tmp_path / "elsewhere" / "file")
    with pytest.raises(UnsafeFolder, match="is not a file"):
        private_file(tmp_path / "file")


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnsafeFolder, match="/no/such/folder"):
        runtime_folder({"RUNTIME_DIRECTORY": "/no/such/folder/run"})
