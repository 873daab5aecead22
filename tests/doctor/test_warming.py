"""Stores of another user are opened with that user's rights, or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from warmside.doctor.warming import as_owner

OWNER, GROUP = 4321, 4322


class Rights:
    """Record changes of the effective user and group, in place of the system."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, user: int) -> None:
        self.changes: list[tuple[str, int]] = []
        monkeypatch.setattr(os, "geteuid", lambda: user)
        monkeypatch.setattr(os, "getegid", lambda: user)
        for name in ("seteuid", "setegid"):
            monkeypatch.setattr(os, name, self._recorder(name))
        status = os.stat_result((0o100600, 0, 0, 1, OWNER, GROUP, 0, 0, 0, 0))
        monkeypatch.setattr(Path, "stat", lambda path: status)

    def _recorder(self, name: str) -> Callable[[int], None]:
        return lambda number: self.changes.append((name, number))


def test_root_acts_as_the_owner_and_is_root_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rights = Rights(monkeypatch, 0)
    with pytest.raises(KeyError), as_owner(Path("/store")):
        assert rights.changes == [("setegid", GROUP), ("seteuid", OWNER)]
        raise KeyError
    assert rights.changes[2:] == [("seteuid", 0), ("setegid", 0)]


def test_the_owner_needs_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    rights = Rights(monkeypatch, OWNER)
    with as_owner(Path("/store")):
        assert rights.changes == []


def test_another_user_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    rights = Rights(monkeypatch, 1234)
    with pytest.raises(PermissionError, match="run this as root, or as the user of warmside"), as_owner(Path("/store")):
        raise AssertionError("not reached")
    assert rights.changes == []
