"""The sdist has every file of the repository; the wheel has the package, the plugin and the samples."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = "from setuptools import build_meta; print(build_meta.build_{kind}({folder!r}))"
GENERATED = ("PKG-INFO", "setup.cfg", "warmside.egg-info/")


def tracked() -> set[str]:
    """Return the paths that git tracks and that exist."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git repository: the list of files to compare with is missing")
    return {path for path in done.stdout.split("\0") if path and (ROOT / path).exists()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout without untracked files."""
    folder = tmp_path_factory.mktemp("source")
    for path in tracked():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, folder / path)
    return folder


def build(kind: str, source: Path, folder: Path) -> Path:
    """Build an sdist or a wheel offline, with the setuptools of this environment; warnings about setup.py fail."""
    command = [sys.executable, "-c", BUILD.format(kind=kind, folder=str(folder))]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "eprecat" not in done.stdout + done.stderr
    return folder / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unpacked wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(build("wheel", source, folder)) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def sample(wheel: Path, *arguments: str) -> bytes:
    """Return what ``warmside sample`` of the unpacked wheel prints."""
    code = f"import sys; sys.path.insert(0, {str(wheel)!r}); from warmside.cli import main; sys.exit(main())"
    command = [sys.executable, "-I", "-c", code, "sample", *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout


def test_the_sdist_has_every_file_of_the_repository(source: Path, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", source, tmp_path)) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
    packed = {member.name.partition("/")[2]: member for member in members}
    assert {path for path in packed if not path.startswith(GENERATED)} == tracked()
    for command in ("etc/quickstart", "etc/cluster"):
        assert packed[command].mode & 0o111, f"{command} is executable"


def test_the_wheel_has_the_package_the_plugin_and_the_samples(wheel: Path) -> None:
    packed = {path.relative_to(wheel).as_posix() for path in wheel.rglob("*") if path.is_file()}
    modules = {path for path in tracked() if path.startswith(("warmside/", "twisted/"))}
    samples = {f"warmside/etc/{name}" for name in sample(wheel).decode().split()}
    assert samples >= {f"warmside/etc/{name}" for name in ("ejabberd.yml", "warmside.toml", "examples/session.js")}
    assert {path for path in packed if ".dist-info/" not in path} == modules | samples


def test_the_wheel_names_its_author_and_its_license(wheel: Path) -> None:
    (metadata,) = wheel.glob("*.dist-info/METADATA")
    lines = metadata.read_text(encoding="utf-8").splitlines()
    assert "Author: warmside contributors" in lines and "License: MIT" in lines
    assert not [line for line in lines if line.startswith("Classifier: License")]
    assert list(wheel.glob("*.dist-info/licenses/LICENSE"))


def test_a_sample_of_the_wheel_is_the_file_of_the_repository(wheel: Path) -> None:
    for name in sample(wheel).decode().split():
        assert sample(wheel, name) == (ROOT / "etc" / name).read_bytes()
