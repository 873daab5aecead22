"""The ``warmside`` command, in this process; tests/real/test_commands.py runs it as a process."""

import subprocess
import sys
from pathlib import Path

import pytest

from warmside.cli import main

ETC = Path(__file__).resolve().parents[1] / "etc"
COMMANDS = ("extauth", "relay", "sample", "setup", "announce", "check", "hash-password")


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["check", "a", "b"], ["sample", "a", "b"], ["--nonsense"]])
def test_bad_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(arguments)
    shown = capsys.readouterr()
    assert exited.value.code == 2
    assert shown.out == "" and shown.err.startswith("usage: warmside")


@pytest.mark.parametrize("command", [[], *([each] for each in COMMANDS)])
def test_help_exits_with_0(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main([*command, "--help"])
    assert exited.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {' '.join(['warmside', *command])}")


def test_help_lists_the_commands_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    commands = {line.split()[0] for line in lines if line.startswith("    ") and not line.startswith("     ")}
    assert commands == set(COMMANDS)


def test_sample_prints_a_file_byte_by_byte(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for name in ("warmside.toml", "ejabberd.yml", "warmside.service", "warmside.tmpfiles", "examples/session.js"):
        assert main(["sample", name]) == 0
        sys.stdout.flush()
        assert capfdbinary.readouterr().out == (ETC / name).read_bytes()


def test_sample_without_a_name_prints_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample"]) == 0
    names = capsys.readouterr().out.split()
    assert names == sorted(names)
    assert {"ejabberd.yml", "warmside.toml", "warmside.service", "warmside.tmpfiles"} <= set(names)
    assert all((ETC / name).is_file() for name in names)


@pytest.mark.parametrize("name", ["nonsense", "", "../setup.py", "quickstart", "/etc/passwd"])
def test_sample_rejects_an_unknown_name_and_lists_the_names(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", name]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"no sample {name!r}" in shown.err and "warmside.toml" in shown.err


def test_a_command_imports_only_its_own_modules() -> None:
    code = "import sys; from warmside.cli import main; main(['sample']); print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"twisted", "bcrypt", "warmside.extauth", "warmside.app"} & set(done.stdout.split())


def test_the_relay_starts_without_argparse() -> None:
    code = (
        "import sys; from warmside.cli import main\n"
        "status = main(['relay'])\n"
        "print(status, 'argparse' in sys.modules, 'twisted' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, input="")
    assert done.stdout.split() == ["2", "False", "False"]
