"""Records of running processes: another configuration on a port or in a runtime folder is found."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from warmside.config import folders, running
from warmside.config.running import FOLDER, OtherConfiguration, ProcessRecord, Running, read_records

ONE = Running(1, "/etc/one.toml", ("tcp:127.0.0.1:5281",), "/run/one", None, None, 7)
"""A process; the tests change its configuration, and what it shares with another one."""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Running:
    """A running process with a runtime folder, and a folder that all runtime folders share."""
    runtime, shared = tmp_path / "runtime", tmp_path / "shared"
    runtime.mkdir(mode=0o750)
    shared.mkdir(mode=0o700)
    monkeypatch.setattr(folders, "shared_folder", lambda: shared)
    return replace(ONE, process=os.getpid(), runtime=str(runtime))


@pytest.mark.parametrize(
    ("mine", "theirs", "shared"),
    [
        ("tcp:127.0.0.1:5281", "tcp:127.0.0.1:5281", True),
        ("tcp:127.0.0.1:5281", "tcp:127.0.0.1:5282", False),
        ("tcp:127.0.0.1:5281", "tcp:127.0.0.2:5281", False),
        ("tcp::5281", "tcp:127.0.0.1:5281", True),
        ("tcp:::1:5281", "tcp:0.0.0.0:5281", True),
        ("tcp:::1:5281", "tcp:::1:5281", True),
        ("unix:/a", "unix:/a", True),
        ("unix:/a", "unix:/b", False),
    ],
)
def test_an_address_that_both_listen_on_is_a_conflict(mine: str, theirs: str, shared: bool) -> None:
    one = replace(ONE, listens=(mine,))
    other = replace(ONE, configuration="/etc/other.toml", runtime="/run/other", listens=(theirs,))
    assert one.conflict(other) == (f"on {mine}" if shared else None)
    assert replace(one, network=8).conflict(other) is None
    assert replace(one, configuration=other.configuration).conflict(other) is None


def test_one_runtime_folder_is_a_conflict(own: Running) -> None:
    first, second = ProcessRecord(), ProcessRecord()
    first.claim(own)
    other = replace(own, configuration="/etc/other.toml", listens=(), network=8)
    with pytest.raises(
        OtherConfiguration, match=r"process \d+ serves another configuration, /etc/one\.toml, in the run"
    ):
        second.claim(other)
    # The record of the rejected process stays, and rejects nothing.
    found = read_records([Path(own.runtime, FOLDER)])
    assert sorted((each.configuration, each.serves) for each in found) == [
        ("/etc/one.toml", True),
        ("/etc/other.toml", False),
    ]
    first.claim(own)
    first.withdraw()
    second.claim(other)
    assert [each.serves for each in read_records([Path(own.runtime, FOLDER)])] == [True]
    second.withdraw()
    assert list(Path(own.runtime, FOLDER).iterdir()) == [Path(own.runtime, FOLDER, running.LOCK)]


def test_one_port_with_two_runtime_folders_is_a_conflict(own: Running, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir(mode=0o750)
    other = replace(own, configuration="/etc/other.toml", runtime=str(tmp_path / "second"))
    first, second, third = ProcessRecord(), ProcessRecord(), ProcessRecord()
    first.claim(own)
    with pytest.raises(OtherConfiguration, match=r"on tcp:127\.0\.0\.1:5281: stop that process"):
        second.claim(other)
    third.claim(replace(other, listens=("tcp:127.0.0.1:5283",)))
    for each in (first, second, third):
        each.withdraw()


def test_the_record_ends_with_its_process(own: Running) -> None:
    code = (
        "import sys; from warmside.config import folders; from warmside.config.running import *; "
        "from pathlib import Path; folders.shared_folder = lambda: None; record = ProcessRecord(); "
        "listens = ['tcp:5281:interface=127.0.0.1']; "
        "record.claim(describe(Path('/etc/other.toml'), listens, Path(sys.argv[1]), None, None)); "
        "print('claimed', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, own.runtime], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin and child.stdout
    with child:
        assert child.stdout.readline() == "claimed\n"
        record = ProcessRecord()
        with pytest.raises(OtherConfiguration, match=f"process {child.pid} serves another"):
            record.claim(own)
        child.send_signal(signal.SIGKILL)
        child.wait()
    record.claim(own)
    assert [each.configuration for each in read_records([Path(own.runtime, FOLDER)])] == [own.configuration]
    assert len(list(Path(own.runtime, FOLDER).glob("*.json"))) == 1
    record.withdraw()


def test_a_fork_keeps_the_record_and_changes_its_process(own: Running) -> None:
    record = ProcessRecord()
    record.claim(replace(own, process=1))
    record.renew()
    assert [each.process for each in read_records([Path(own.runtime, FOLDER)])] == [os.getpid()]
    record.renew()
    record.withdraw()
    assert read_records([Path(own.runtime, FOLDER)]) == []


def test_a_file_that_is_no_record_is_ignored(own: Running, tmp_path: Path) -> None:
    record, elsewhere = ProcessRecord(), ProcessRecord()
    record.claim(own)
    place = Path(own.runtime, FOLDER)
    (tmp_path / "elsewhere").mkdir(mode=0o750)
    elsewhere.claim(replace(own, configuration="/etc/other.toml", runtime=str(tmp_path / "elsewhere"), listens=()))
    (held,) = (tmp_path / "elsewhere" / FOLDER).glob("*.json")
    (place / "link.json").symlink_to(held)
    (place / "other.json").write_text("{}")
    assert read_records([place]) == [own]
    record.claim(own)
    record.withdraw()
    elsewhere.withdraw()
