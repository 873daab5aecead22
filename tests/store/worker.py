"""Connections to a store of one-time passwords, in this process and in a child process.

Run as a program, this module executes the commands that `ChildWorker` sends, one JSON array a line.
"""

import json
import mmap
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from tests.store.backends import Backend, open_backend
from warmside.otp import OneTimePassword
from warmside.store.interface import StoreError

PAUSED = "paused"
"""The child's line between two steps, after which it waits for a line."""
LOCKSTEP_TIMEOUT = 60.0
"""Seconds to wait for the other process in all."""


class Worker(Protocol):
    """One connection. Each command sets the connection's clock first: ``time`` is in seconds."""

    def mint(self, time: float, jid: str, lifetime: float) -> str:
        """Create a password, and return its text."""

    def redeem(self, time: float, jid: str, text: str) -> bool:
        """Return True if the password was redeemed."""

    def redeem_with_pause(self, time: float, jid: str, text: str, step: int, meanwhile: Callable[[], None]) -> bool:
        """Redeem, and call ``meanwhile`` before the step of this number (from 1). With fewer steps it is not called."""

    def revoke(self, time: float, text: str) -> str:
        """Revoke a password, and return the value of its `RevocationStatus`."""

    def revoke_all(self, time: float, jid: str) -> int:
        """Revoke a JID's passwords, and return how many were stored."""

    def sweep(self, time: float) -> int:
        """Remove expired passwords, and return how many were removed."""

    def open(self, backend: Backend) -> None:
        """Close the connection, and open one to the data of a backend."""

    def close(self) -> None:
        """Close the connection."""


class LocalWorker:
    """A connection of this process."""

    def __init__(self) -> None:
        self._time = 0.0
        self._close: Callable[[], object] = lambda: None

    def open(self, backend: Backend) -> None:
        """See `Worker.open`."""
        self.close()
        self._backend = backend
        self._store = store = backend.passwords(lambda: self._time)
        self._close = lambda: backend.result(store.close())

    def close(self) -> None:
        """See `Worker.close`."""
        self._close()
        self._close = lambda: None

    def mint(self, time: float, jid: str, lifetime: float) -> str:
        """See `Worker.mint`."""
        self._time = time
        minted: OneTimePassword = self._backend.result(self._store.mint(jid, lifetime))
        return minted.text

    def redeem(self, time: float, jid: str, text: str) -> bool:
        """See `Worker.redeem`."""
        self._time = time
        return bool(self._backend.result(self._store.redeem(jid, text.encode())))

    def redeem_with_pause(self, time: float, jid: str, text: str, step: int, meanwhile: Callable[[], None]) -> bool:
        """See `Worker.redeem_with_pause`."""
        steps = 0

        def count_step() -> None:
            nonlocal steps
            steps += 1
            if steps == step:
                meanwhile()

        self._backend.on_step(self._store, count_step)
        try:
            return self.redeem(time, jid, text)
        finally:
            self._backend.on_step(self._store, None)

    def redeem_in_lockstep(self, time: float, jid: str, texts: list[str], steps: str, side: int) -> list[bool]:
        """Redeem passwords one after the other, each at the same time as the process of the other side.

        A `StoreError` counts as rejected, since the store may be locked.

        :param steps: a file that both processes map to memory, two bytes of 0 for each password.
        :param side: 0 or 1.
        """
        redeemed = []
        deadline = monotonic() + LOCKSTEP_TIMEOUT
        with open(steps, "r+b") as file, mmap.mmap(file.fileno(), 0) as reached:
            for number, text in enumerate(texts):
                reached[2 * number + side] = 1
                while not reached[2 * number + 1 - side]:
                    os.sched_yield()
                    assert monotonic() < deadline, "the other process has stopped"
                try:
                    redeemed.append(self.redeem(time, jid, text))
                except StoreError:
                    redeemed.append(False)
        return redeemed

    def revoke(self, time: float, text: str) -> str:
        """See `Worker.revoke`."""
        self._time = time
        return str(self._backend.result(self._store.revoke(OneTimePassword(text))).value)

    def revoke_all(self, time: float, jid: str) -> int:
        """See `Worker.revoke_all`."""
        self._time = time
        return int(self._backend.result(self._store.revoke_all(jid)))

    def sweep(self, time: float) -> int:
        """See `Worker.sweep`."""
        self._time = time
        return int(self._backend.result(self._store.sweep()))


class ChildWorker:
    """A connection of a child process, which lives until `stop`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def open(self, backend: Backend) -> None:
        """See `Worker.open`."""
        self._call("open", backend.kind, backend.where)

    def close(self) -> None:
        """See `Worker.close`."""
        self._call("close")

    def mint(self, time: float, jid: str, lifetime: float) -> str:
        """See `Worker.mint`."""
        return str(self._call("mint", time, jid, lifetime))

    def redeem(self, time: float, jid: str, text: str) -> bool:
        """See `Worker.redeem`."""
        return bool(self._call("redeem", time, jid, text))

    def redeem_with_pause(self, time: float, jid: str, text: str, step: int, meanwhile: Callable[[], None]) -> bool:
        """See `Worker.redeem_with_pause`."""
        return bool(self._call("redeem_with_pause", time, jid, text, step, meanwhile=meanwhile))

    def start_redeem_in_lockstep(
        self, time: float, jid: str, texts: list[str], steps: str, side: int
    ) -> Callable[[], list[bool]]:
        """Start `LocalWorker.redeem_in_lockstep`, and return a function that waits for its result."""
        self._send("redeem_in_lockstep", time, jid, texts, steps, side)
        return lambda: list(self._receive())

    def revoke(self, time: float, text: str) -> str:
        """See `Worker.revoke`."""
        return str(self._call("revoke", time, text))

    def revoke_all(self, time: float, jid: str) -> int:
        """See `Worker.revoke_all`."""
        return int(self._call("revoke_all", time, jid))

    def sweep(self, time: float) -> int:
        """See `Worker.sweep`."""
        return int(self._call("sweep", time))

    def kill(self) -> None:
        """End the child process without giving it time to close anything."""
        self._process.kill()
        self._process.communicate()

    def stop(self) -> None:
        """End the child process."""
        self._process.communicate(timeout=60)

    def _call(self, name: str, *arguments: object, meanwhile: Callable[[], None] | None = None) -> Any:
        self._send(name, *arguments)
        reply = self._receive()
        if reply == PAUSED and meanwhile is not None:
            try:
                meanwhile()
            finally:
                self._send("continue")
                reply = self._receive()
        return reply

    def _send(self, *command: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        outcome = json.loads(self._process.stdout.readline() or '{"error": "the child process ended"}')
        if "error" in outcome:
            raise StoreError(outcome["error"])
        return outcome["result"]


def _execute_commands() -> None:
    """Execute commands from stdin until it ends."""

    def reply(outcome: dict[str, Any]) -> None:
        print(json.dumps(outcome), flush=True)

    def pause() -> None:
        reply({"result": PAUSED})
        sys.stdin.readline()

    worker = LocalWorker()
    while line := sys.stdin.readline():
        name, *arguments = json.loads(line)
        if name == "open":
            arguments = [open_backend(*arguments)]
        elif name == "redeem_with_pause":
            arguments.append(pause)
        try:
            reply({"result": getattr(worker, name)(*arguments)})
        except StoreError as error:
            reply({"error": str(error)})
    worker.close()


if __name__ == "__main__":
    _execute_commands()
