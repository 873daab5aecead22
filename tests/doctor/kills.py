"""Kill ``warmside setup`` at its N-th filesystem call, for each N: ``python -m tests.doctor.kills FOLDER``.

After each kill every file has to be old or new, whole. A second run has to finish the work of the killed one.
"""

import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from tests.doctor.setups import STOCK, SetUp, this_user
from warmside.doctor import plan, processes, setup

CALLS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chown", "os.chmod", "os.setxattr"}
HASH = "webapp:$2b$04$kyJsznY2X3rSJNsUrhJ7hO0rMy82dkH52dfbwD.zBH6cFziE94EKG"


def killed(action: Callable[[], object], at: int, folder: Path) -> bool:
    """Run an action in a child process that is killed at a filesystem call. Return False if it ended before."""
    child = os.fork()
    if child == 0:
        left = [at]

        def step() -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event not in CALLS or (event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)):
                return
            if isinstance(arguments[0], int) or str(arguments[0]).startswith(str(folder)):
                step()

        fsync = os.fsync

        def counted(fd: int) -> None:
            step()
            fsync(fd)
            step()

        os.fsync = counted  # type: ignore[assignment]
        sys.addaudithook(hook)
        action()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFSIGNALED(status)


def whole(site: SetUp, new: bytes) -> None:
    """Check that each file is old or new."""
    assert site.yml.read_bytes() in (STOCK.encode(), new), "ejabberd.yml is neither old nor new"
    for path in (site.included, site.config, site.admins, site.places.tmpfiles):
        assert not path.exists() or plan.is_own(path.read_bytes()), path
    if site.yml.read_bytes() == new:
        assert site.included.exists(), "ejabberd.yml includes a file that is missing"


def main(folder: Path) -> None:
    """Print how many kills there were while applying and while removing."""
    setattr(processes, "account_named", this_user)  # noqa: B010 - a private replacement
    setattr(setup, "hash_line", lambda password, name: HASH)  # noqa: B010 - bcrypt takes its time
    (folder / "model").mkdir()
    model = SetUp(folder / "model")
    clean = model.tree()
    model.apply()
    for kind in ("apply", "remove"):
        for at in count(1):
            each = folder / f"{kind}{at}"
            each.mkdir()
            site = SetUp(each)
            new = model.yml.read_bytes().replace(bytes(model.folder), bytes(each))
            if kind == "remove":
                site.apply()
            if not killed(getattr(site, kind), at, each):
                break
            whole(site, new)
            if kind == "apply":
                site.apply()
                assert site.yml.read_bytes() == new
                assert not list(each.rglob(".*warmside-setup")), "a temporary file is left"
            site.remove()
            assert site.tree() == clean, f"{kind} {at}: {site.tree().keys() ^ clean.keys()}"
        assert at > 10
        print(f"{kind}: {at - 1} kills")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
